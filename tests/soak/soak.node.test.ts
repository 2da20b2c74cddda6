import { expect, it } from "vitest";
import { runSoak, type SoakOptions } from "./soak.js";

/** `npm run soak` sets SOAK to "full". */
const isFull = process.env.SOAK === "full";
const SHORT: SoakOptions = { users: 4, processes: 2, messages: 400, groupEvery: 4, killEvery: 2_500 };
const FULL: SoakOptions = {
  users: 10,
  processes: 2,
  messages: Number(process.env.SOAK_MESSAGES ?? 100_000),
  groupEvery: Number(process.env.SOAK_GROUP_EVERY ?? 10),
  killEvery: Number(process.env.SOAK_KILL_EVERY ?? 10_000),
  log: (line) => console.log(line),
};
const MAX_HEAP_RATIO = 1.1;

const megabytes = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MB`;

it("messages over real sockets to a relay that is killed every few seconds: each once, in order", {
  timeout: isFull ? 60 * 60_000 : 240_000,
}, async () => {
  const options = isFull ? FULL : SHORT;
  const result = await runSoak(options);
  const { heap, code, external, seconds } = result;
  console.log(
    `soak: ${options.users} clients in ${options.processes} processes, ${result.sent} messages sent, ` +
      `${result.received} received of ${result.expected}, in ${seconds.toFixed(0)} s: ` +
      `${(result.sent / seconds).toFixed(0)} sent and ${(result.received / seconds).toFixed(0)} received per second; ` +
      `relay killed ${result.kills} times, ${result.disconnects} disconnects; ` +
      `heap ${megabytes(heap.first)} in the first third, ${megabytes(heap.last)} in the last, ratio ${heap.ratio.toFixed(3)}; ` +
      `of it code ${megabytes(code.first)} and ${megabytes(code.last)}; ` +
      `external ${megabytes(external.first)} and ${megabytes(external.last)}, ratio ${external.ratio.toFixed(3)}; ` +
      `errors ${JSON.stringify(result.errors)}`,
  );
  expect(result.violations).toEqual([]);
  expect(result.received).toBe(result.expected);
  expect(result.kills).toBeGreaterThan(0);
  expect(result.errors).toEqual({});
  // In a short run the heap is still warming up.
  if (isFull) expect(heap.ratio).toBeLessThanOrEqual(MAX_HEAP_RATIO);
});
