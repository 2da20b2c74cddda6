import type { RelaySession } from "../session/relay-session.js";

/** The unencrypted channels that this device's tabs have subscribed to in the present session. */
export class FollowedChannels {
  readonly #relay: RelaySession;
  /** By channel, the clients that want it. */
  readonly #holders = new Map<string, Set<string>>();

  constructor(relay: RelaySession) {
    this.#relay = relay;
  }

  /** A session ended: the clients come again with the next. */
  ended(): void {
    this.#holders.clear();
  }

  async follow(holder: string, channel: string): Promise<void> {
    const known = this.#holders.get(channel);
    if (known !== undefined) return void known.add(holder);
    await this.#relay.request("subscribeChannel", { channel });
    this.#holders.set(channel, (this.#holders.get(channel) ?? new Set()).add(holder));
  }

  async leave(holder: string, channel: string): Promise<void> {
    const holders = this.#holders.get(channel);
    if (!holders?.delete(holder) || holders.size > 0) return;
    this.#holders.delete(channel);
    await this.#relay.request("unsubscribeChannel", { channel });
  }
}
