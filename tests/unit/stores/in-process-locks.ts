type Callback = (lock: object | null) => unknown;
interface Options {
  ifAvailable?: boolean;
  signal?: AbortSignal;
}

/** Web Locks among the callers of one process: exclusive ones, granted in order. */
export class InProcessLocks {
  readonly #tails = new Map<string, Promise<unknown>>();

  async request(
    name: string,
    { ifAvailable = false, signal }: Options,
    callback: Callback,
  ): Promise<unknown> {
    const before = this.#tails.get(name);
    if (before !== undefined && ifAvailable) return callback(null);
    let aborted = false;
    const abortion = new Promise<void>((resolve) => {
      signal?.addEventListener("abort", () => {
        aborted = true;
        resolve();
      });
    });
    const held = Promise.resolve(before).then(() => (aborted ? undefined : callback({ name })));
    const tail: Promise<unknown> = held
      .catch(() => {})
      .then(() => this.#tails.get(name) === tail && this.#tails.delete(name));
    this.#tails.set(name, tail);
    let granted = false;
    await Promise.race([Promise.resolve(before).then(() => (granted = !aborted)), abortion]);
    if (!granted) throw new DOMException("The request was aborted", "AbortError");
    return held;
  }
}
