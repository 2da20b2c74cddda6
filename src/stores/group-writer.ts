interface Entry<T> {
  readonly preparing: Promise<T>;
  prepared: boolean;
  resolve(): void;
  reject(error: unknown): void;
}

/** How many entries one commit takes at most. */
const MAX_GROUP = 64;

/**
 * Commits entries in the order in which they were added, as many at once as are prepared when the one before has
 * finished. An entry whose preparation fails fails alone; a commit that fails takes along everything added so far.
 */
export class GroupWriter<T> {
  readonly #commit: (group: readonly T[]) => Promise<void>;
  #queue: Entry<T>[] = [];
  #running: Promise<void> | undefined;

  constructor(commit: (group: readonly T[]) => Promise<void>) {
    this.#commit = commit;
  }

  /** Resolves when the entry has been committed. */
  add(preparing: Promise<T>): Promise<void> {
    return new Promise((resolve, reject) => {
      const entry: Entry<T> = { preparing, prepared: false, resolve, reject };
      const settled = () => {
        entry.prepared = true;
      };
      preparing.then(settled, settled);
      this.#queue.push(entry);
      this.#running ??= this.#run();
    });
  }

  /** Resolves when everything added so far has been committed or has failed. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#queue[0] !== undefined) {
      await this.#queue[0].preparing.catch(() => {});
      const group: Entry<T>[] = [];
      const items: T[] = [];
      while (this.#queue[0]?.prepared && group.length < MAX_GROUP) {
        const entry = this.#queue.shift() as Entry<T>;
        try {
          items.push(await entry.preparing);
          group.push(entry);
        } catch (error) {
          entry.reject(error);
        }
      }
      if (group.length === 0) continue;
      try {
        await this.#commit(items);
        for (const entry of group) entry.resolve();
      } catch (error) {
        for (const entry of [...group, ...this.#queue.splice(0)]) entry.reject(error);
      }
    }
    this.#running = undefined;
  }
}
