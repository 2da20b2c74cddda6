import { type Profiler, Session } from "node:inspector";

/** Where a process spends its time: the functions with the largest share of their own. */
export class CpuProfile {
  readonly #session = new Session();

  async start(): Promise<void> {
    this.#session.connect();
    await this.#post("Profiler.enable");
    await this.#post("Profiler.start");
  }

  async stop(): Promise<[string, number][]> {
    const { profile } = (await this.#post("Profiler.stop")) as { profile: Profiler.Profile };
    this.#session.disconnect();
    return summary(profile);
  }

  #post(method: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#session.post(method, (error, result) => (error ? reject(error) : resolve(result)));
    });
  }
}

/** Shares of the time in which the process was not idle, 0 to 1, largest first. */
function summary({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): [string, number][] {
  const names = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
      const file = url.split("/").slice(-2).join("/");
      return [id, file === "" ? functionName : `${functionName || "(anonymous)"} ${file}:${lineNumber + 1}`];
    }),
  );
  const times = new Map<string, number>();
  let total = 0;
  samples.forEach((sample, at) => {
    const name = names.get(sample) ?? "?";
    if (name === "(idle)") return;
    const time = timeDeltas[at] ?? 0;
    total += time;
    times.set(name, (times.get(name) ?? 0) + time);
  });
  return [...times]
    .map(([name, time]): [string, number] => [name, time / total])
    .sort((a, b) => b[1] - a[1])
    .slice(0, 25);
}
