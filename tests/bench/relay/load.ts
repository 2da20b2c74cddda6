import { START } from "../../../src/wire/identifiers.js";
import { LogKind } from "../../../src/wire/protocol.js";
import { serve } from "./child.js";
import { connectGroup, type Group, inTurns } from "./groups.js";
import { Member } from "./members.js";
import { type LoadCommand, type RunResult, SENDERS } from "./protocol.js";

/** The load, in a process of its own. */
const groups = new Map<string, Group>();

serve(async (command: LoadCommand) => {
  switch (command.type) {
    case "connect": {
      const { competitor, url, readers } = command;
      groups.set(`${competitor} ${readers}`, await connectGroup(competitor, url, readers));
      return undefined;
    }
    case "run": {
      const group = groups.get(`${command.competitor} ${command.readers}`) as Group;
      return run(group, command);
    }
    case "idle":
      return connectIdle(command.url, command.count);
  }
});

/** Keeps `window` messages on their way for so long, waits for the last and looks that nothing is missing. */
async function run(group: Group, { window, ms }: Extract<LoadCommand, { type: "run" }>): Promise<RunResult> {
  const readers = group.readers.length;
  const received = new Uint32Array(readers);
  const sentAt: number[][] = Array.from({ length: SENDERS }, () => []);
  const appendMs: number[] = [];
  let sent = 0;
  let delivered = 0;
  let over = false;
  let drained: () => void = () => {};
  /** More may be sent once so many were delivered. */
  let threshold = 0;
  const pump = () => {
    while (!over && delivered >= (sent - window + 1) * readers) {
      const sender = sent++ % SENDERS;
      sentAt[sender]?.push(performance.now());
      group.send(sender);
    }
    threshold = (sent - window + 1) * readers;
    if (over && delivered >= sent * readers) drained();
  };
  group.onAnswer((sender) => {
    const at = sentAt[sender]?.shift();
    if (at !== undefined) appendMs.push(performance.now() - at);
  });
  group.readers.forEach((socket, reader) => {
    socket.onCount = (length, isText) => {
      const count = group.count(length, isText);
      received[reader] = (received[reader] as number) + count;
      delivered += count;
      if (delivered >= threshold || over) pump();
    };
  });
  const cpu = process.cpuUsage();
  const started = performance.now();
  pump();
  await new Promise((resolve) => setTimeout(resolve, ms));
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const [inTime, messages] = [delivered, sent];
  over = true;
  await new Promise<void>((resolve) => {
    drained = resolve;
    pump();
  });
  if (received.some((count) => count !== sent)) throw new Error("a reader did not get every message once");
  return {
    deliveriesPerSecond: inTime / seconds,
    messagesPerSecond: messages / seconds,
    appendMs,
    loadCpu: (user + system) / 1e6 / seconds,
  };
}

/** Connections that have authenticated and read their inbox, and do nothing. */
async function connectIdle(url: string, count: number): Promise<number> {
  const started = performance.now();
  await inTurns(
    count,
    async () => {
      const member = await Member.connect(url);
      const log = { kind: LogKind.inbox, id: member.deviceId };
      await member.request("subscribe", { log, cursor: START });
      member.socket.onMessage = undefined;
    },
    64,
  );
  return performance.now() - started;
}
