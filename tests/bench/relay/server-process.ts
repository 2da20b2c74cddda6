import { serve } from "./child.js";
import { CpuProfile } from "./profile.js";
import type { ServerCommand, ServerStats } from "./protocol.js";

/** What every server of this benchmark answers: its URL, its figures, and where its time goes. */
export function serveCommands(
  url: string,
  counts: () => Pick<ServerStats, "commits" | "commitMs" | "entries"> = () => ({
    ...{ commits: 0, commitMs: 0, entries: 0 },
  }),
): void {
  let profile: CpuProfile | undefined;
  serve(async (command: ServerCommand | { type: "url" }) => {
    switch (command.type) {
      case "url":
        return url;
      case "stats": {
        const { user, system } = process.cpuUsage();
        const { rss, heapUsed, external } = process.memoryUsage();
        return { cpuMicros: user + system, rss, heapUsed, external, ...counts() } satisfies ServerStats;
      }
      case "profile": {
        if (command.on) {
          profile = new CpuProfile();
          return profile.start();
        }
        return profile?.stop();
      }
    }
  });
}
