import type { Actor, Change, CommitRequest, Framing } from "./actor.js";
import { TsMlsActor } from "./ts-mls-actor.js";
import { hex, isTooStrict, writeMessage } from "./ts-mls-tools.js";
import { suite } from "./webcrypto-provider.js";

export const CIPHER_SUITE = 2;
export const utf8 = (text: string) => new TextEncoder().encode(text);
export const PSKS = ["one", "two"].map((name, i) => {
  return { id: utf8(name), psk: Uint8Array.from(suite.rng.randomBytes(16 + 16 * i)) };
});

interface Epoch {
  proposals: string[];
  commit: string;
  epoch_authenticator: string;
}

async function newActor(name: string): Promise<TsMlsActor> {
  const actor = await TsMlsActor.create(name);
  for (const { id, psk } of PSKS) actor.psks.set(hex(id), psk);
  return actor;
}

/**
 * A group of ts-mls clients alone, recorded as one of them, which never sends, sees it. ts-mls follows too, so that
 * what the entry says was computed by a sender and by a reader.
 */
export class Scenario {
  readonly #passive: TsMlsActor;
  #members: TsMlsActor[];
  #count = 0;
  #entry: Record<string, unknown> = {};
  readonly #epochs: Epoch[] = [];
  #proposals: string[] = [];
  readonly #leaving = new Set<number>();

  private constructor(passive: TsMlsActor, members: TsMlsActor[]) {
    this.#passive = passive;
    this.#members = members;
  }

  /** A group of `count`, in which everybody has committed once if `isWarm`. */
  static async of(count: number, isWarm: boolean): Promise<Scenario> {
    const creator = await newActor("member 0");
    await creator.createGroup(suite.rng.randomBytes(16));
    const scenario = new Scenario(await newActor("passive"), [creator]);
    for (scenario.#count = 1; scenario.#count < count; ) await scenario.commit(creator, {}, 1);
    if (isWarm) for (const member of scenario.members) await scenario.commit(member);
    return scenario;
  }

  /** The others. */
  get members(): TsMlsActor[] {
    return [...this.#members];
  }

  get passive(): TsMlsActor {
    return this.#passive;
  }

  get #followers(): TsMlsActor[] {
    return this.#passive.isMember ? [...this.#members, this.#passive] : this.#members;
  }

  member(position: number): TsMlsActor {
    const found = this.#members[position];
    if (found === undefined) throw new Error(`no member ${position}`);
    return found;
  }

  async propose(by: TsMlsActor, change: Change, framing: Framing = {}): Promise<void> {
    this.#leave([change]);
    await this.deliver(await by.propose(change, framing), by);
  }

  async deliver(proposal: Uint8Array, from?: Actor): Promise<void> {
    for (const other of this.#followers) if (other !== from) await other.receive(proposal);
    this.#proposals.push(hex(proposal));
  }

  async proposeOwnAddition(): Promise<TsMlsActor> {
    const outside = await newActor(`member ${this.#count++}`);
    await outside.renewKeyPackage();
    await this.deliver(await outside.proposeOwnAddition(await this.member(0).groupInfo(true)));
    return outside;
  }

  /** Adds the passive client. */
  async addPassive(by: TsMlsActor, request: CommitRequest = {}): Promise<void> {
    const keyPackage = await this.#passive.renewKeyPackage();
    this.#leave(request.changes ?? []);
    const sent = await by.commit({
      ...request,
      changes: [...(request.changes ?? []), { kind: "add", keyPackage }],
    });
    if (sent.welcome === undefined) throw new Error("no welcome");
    const isInside = request.treeInside !== false;
    await this.#passive.join(sent.welcome, isInside ? undefined : sent.tree());
    await this.#follow(by, sent.commit);
    sent.accept();
    this.#agree();
    const { init, encryption, signature } = this.#passive.privateKeys;
    this.#entry = {
      cipher_suite: CIPHER_SUITE,
      external_psks: PSKS.map(({ id, psk }) => ({ psk_id: hex(id), psk: hex(psk) })),
      key_package: hex(writeMessage({ wireformat: "mls_key_package", keyPackage: this.#passive.keyPackage })),
      signature_priv: hex(signature),
      encryption_priv: hex(encryption),
      init_priv: hex(init),
      welcome: hex(sent.welcome),
      ratchet_tree: isInside ? null : hex(sent.tree()),
      initial_epoch_authenticator: this.#passive.authenticator(),
    };
    this.#epochs.length = 0;
    this.#proposals = [];
  }

  #leave(changes: readonly Change[]): void {
    for (const change of changes) if (change.kind === "remove") this.#leaving.add(change.leaf);
  }

  async #follow(by: TsMlsActor | undefined, commit: Uint8Array): Promise<void> {
    // ts-mls does not notice its own removal when somebody gets its leaf in the same commit.
    this.#members = this.#members.filter(({ leaf }) => !this.#leaving.has(leaf));
    this.#leaving.clear();
    for (const other of this.#members) if (other !== by) await other.receive(commit);
  }

  #agree(): void {
    const seen = new Set(this.#followers.map((member) => `${member.epoch} ${member.authenticator()}`));
    if (seen.size !== 1) throw new Error("ts-mls does not agree with itself");
  }

  async commit(
    by: TsMlsActor,
    request: CommitRequest = {},
    additions = 0,
    known: TsMlsActor[] = [],
  ): Promise<void> {
    const joiners = [...known];
    const changes = [...(request.changes ?? [])];
    this.#leave(changes);
    for (let i = 0; i < additions; i++) {
      const joiner = await newActor(`member ${this.#count++}`);
      changes.push({ kind: "add", keyPackage: await joiner.renewKeyPackage() });
      joiners.push(joiner);
    }
    const sent = await by.commit({ ...request, changes });
    try {
      if (sent.welcome !== undefined) for (const joiner of joiners) await joiner.join(sent.welcome);
    } catch (error) {
      if (!isTooStrict(error)) throw error;
      return this.commit(by, request);
    }
    await this.#inForce(sent.commit, by, sent.accept, joiners);
  }

  async joinByCommit(): Promise<void> {
    const joiner = await newActor(`member ${this.#count++}`);
    await joiner.renewKeyPackage();
    const joining = joiner.joinByCommit(await this.member(0).groupInfo(true));
    const sent = await joining.catch((error) => {
      if (!isTooStrict(error)) throw error;
    });
    if (sent === undefined) return;
    await this.#inForce(sent.commit, undefined, sent.accept, [joiner]);
  }

  async #inForce(commit: Uint8Array, by: TsMlsActor | undefined, accept: () => void, joiners: TsMlsActor[]) {
    if (this.#passive.isMember) await this.#passive.receive(commit);
    await this.#follow(by, commit);
    accept();
    this.#members.push(...joiners);
    this.#agree();
    const epoch_authenticator = this.member(0).authenticator();
    this.#epochs.push({ proposals: this.#proposals, commit: hex(commit), epoch_authenticator });
    this.#proposals = [];
  }

  entry() {
    return { ...this.#entry, epochs: this.#epochs };
  }
}
