/** What the page itself remembers of one user at one relay, beside the client's encrypted store. */
export class Memory {
  #key;
  #kinds;

  constructor(relay, userId) {
    this.#key = `subrosa-demo ${relay} ${userId}`;
    let stored;
    try {
      stored = JSON.parse(localStorage.getItem(this.#key));
    } catch {
      // Something else wrote it: begin anew.
    }
    const kinds = ["joining", "identities", "notices", "timers"];
    this.#kinds = Object.fromEntries(kinds.map((kind) => [kind, new Map(stored?.[kind])]));
  }

  /** What is remembered of a kind: pairs of a name and its value. */
  all(kind) {
    return [...this.#kinds[kind]];
  }

  /** Remembers a value, which undefined forgets. */
  set(kind, name, value) {
    if (value === undefined) this.#kinds[kind].delete(name);
    else this.#kinds[kind].set(name, value);
    const entries = Object.entries(this.#kinds).map(([one, values]) => [one, [...values]]);
    localStorage.setItem(this.#key, JSON.stringify(Object.fromEntries(entries)));
  }
}
