/** Runs tasks one after the other, in the order in which they were added. A task that fails stops no other. */
export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve();
  #length = 0;

  /** Tasks that have not finished yet. */
  get length(): number {
    return this.#length;
  }

  /** Runs `task` after all that were added before it; resolves or rejects as it does. */
  run<T>(task: () => Promise<T> | T): Promise<T> {
    this.#length++;
    const result = this.#tail.then(task);
    this.#tail = result.then(
      () => void this.#length--,
      () => void this.#length--,
    );
    return result;
  }

  /** Resolves when everything added so far has finished. */
  async idle(): Promise<void> {
    await this.#tail;
  }
}
