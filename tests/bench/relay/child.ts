import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Numbered } from "./protocol.js";

/** A process of this benchmark, which answers commands one by one. */
export class Child {
  readonly process: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (value: any) => void; reject: (error: Error) => void }>();
  #next = 1;

  constructor(name: string, args: readonly string[] = []) {
    const path = fileURLToPath(new URL(`./${name}.mjs`, import.meta.url));
    this.process = fork(path, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.process.on("message", ({ id, body }: Numbered<any>) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (body?.error !== undefined) waiting?.reject(new Error(`${name}: ${body.error}`));
      else waiting?.resolve(body);
    });
    this.process.on("exit", (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${name} ended: ${signal ?? code}`));
    });
  }

  ask<T>(body: unknown): Promise<T> {
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.process.send({ id, body });
    });
  }

  async end(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGTERM");
    await ended;
  }
}

/** In a child: answers each command by what `handle` resolves to. */
export function serve(handle: (body: any) => Promise<unknown>): void {
  process.on("message", ({ id, body }: Numbered<unknown>) => {
    handle(body).then(
      (result) => process.send?.({ id, body: result ?? null }),
      (error) => process.send?.({ id, body: { error: String(error?.stack ?? error) } }),
    );
  });
  process.on("disconnect", () => process.exit());
  process.on("SIGTERM", () => process.exit());
}
