import { expect } from "vitest";
import { fromUtf8, toHex, toUtf8 } from "../../../src/base/encoding.js";
import { generateSignatureKeyPair } from "../../../src/crypto/signature.js";
import * as mls from "../../../src/mls.js";

export const NOW = 1_800_000_000n;
export const LIFETIME: mls.Lifetime = { notBefore: NOW - 3600n, notAfter: NOW + 90n * 86400n };

/** Everybody is who they say. */
export const trusting = { authenticate: async () => {}, now: NOW };

/** One client: its key, its key package and its state of one group. */
export class Actor {
  readonly name: string;
  readonly signer: mls.Signer;
  readonly credential: mls.Credential;
  bundle: mls.KeyPackageBundle;
  #state: mls.GroupState | undefined;

  private constructor(
    name: string,
    signer: mls.Signer,
    credential: mls.Credential,
    bundle: mls.KeyPackageBundle,
  ) {
    this.name = name;
    this.signer = signer;
    this.credential = credential;
    this.bundle = bundle;
  }

  static async create(name: string, options: Partial<mls.KeyPackageOptions> = {}): Promise<Actor> {
    const signer = await generateSignatureKeyPair();
    const credential: mls.Credential = { kind: "basic", identity: toUtf8(name) };
    const bundle = await mls.generateKeyPackage({ credential, signer, lifetime: LIFETIME, ...options });
    return new Actor(name, signer, credential, bundle);
  }

  static async createAll(count: number): Promise<Actor[]> {
    return Promise.all(Array.from({ length: count }, (_, i) => Actor.create(`member ${i}`)));
  }

  get state(): mls.GroupState {
    if (this.#state === undefined) throw new Error(`${this.name} is in no group`);
    return this.#state;
  }

  set state(state: mls.GroupState) {
    this.#state = state;
  }

  leaveBehind(): void {
    this.#state = undefined;
  }

  get isMember(): boolean {
    return this.#state !== undefined;
  }

  get add(): mls.Proposal {
    return { kind: "add", keyPackage: this.bundle.keyPackage };
  }

  async renewKeyPackage(options: Partial<mls.KeyPackageOptions> = {}): Promise<void> {
    const { credential, signer } = this;
    this.bundle = await mls.generateKeyPackage({ credential, signer, lifetime: LIFETIME, ...options });
  }

  async createGroup(options: Partial<mls.CreateGroupOptions> = {}): Promise<void> {
    const { credential, signer } = this;
    this.state = await mls.createGroup({ groupId: toUtf8("group"), credential, signer, ...options });
  }

  async commit(options: Partial<mls.CommitOptions> = {}): Promise<mls.CreatedCommit> {
    const created = await mls.createCommit(this.state, { signer: this.signer, ...trusting, ...options });
    this.state = created.state;
    return created;
  }

  async join(welcome: Uint8Array, options: Partial<mls.JoinOptions> = {}): Promise<void> {
    this.state = await mls.joinGroup(welcome, this.bundle, { signer: this.signer, ...trusting, ...options });
  }

  async process(
    message: Uint8Array,
    options: Partial<mls.ProcessOptions> = {},
  ): Promise<mls.ProcessedMessage> {
    const processed = await mls.processMessage(this.state, message, { ...trusting, ...options });
    this.state = processed.state;
    if (processed.kind !== "commit") return processed;
    if (processed.staged.selfRemoved) this.leaveBehind();
    else this.state = mls.merge(processed.staged);
    return processed;
  }

  async send(text: string): Promise<Uint8Array> {
    const sealed = await mls.protectApplication(this.state, toUtf8(text), { signer: this.signer });
    this.state = sealed.state;
    return sealed.message;
  }
}

/** Commits by one, processed by all others that are members, joined by those who are added. */
export async function commitBy(
  actor: Actor,
  all: readonly Actor[],
  options: Partial<mls.CommitOptions> = {},
  joiners: readonly Actor[] = [],
): Promise<mls.CreatedCommit> {
  const created = await actor.commit(options);
  const others = all.filter((other) => other !== actor && other.isMember && !joiners.includes(other));
  await Promise.all(others.map((other) => other.process(created.commit)));
  actor.state = mls.merge(created.staged);
  const tree = options.welcome?.ratchetTree === false ? mls.exportRatchetTree(actor.state) : undefined;
  const { welcome } = created;
  if (welcome !== undefined) {
    await Promise.all(joiners.map((joiner) => joiner.join(welcome, tree ? { ratchetTree: tree } : {})));
  }
  return created;
}

/** A group of all actors, made by the first in one commit. */
export async function groupOf(
  actors: readonly Actor[],
  options: Partial<mls.CreateGroupOptions> = {},
): Promise<void> {
  const [first, ...others] = actors as [Actor, ...Actor[]];
  await first.createGroup(options);
  if (others.length > 0) {
    await commitBy(first, [first], { proposals: others.map((other) => other.add) }, others);
  }
}

/** All are in the same epoch. */
export function agree(actors: readonly Actor[]): void {
  const seen = actors.map((actor) => toHex(mls.epochAuthenticator(actor.state)));
  expect(new Set(seen).size).toBe(1);
}

/** Everybody sends, everybody else reads. */
export async function talk(actors: readonly Actor[]): Promise<void> {
  for (const sender of actors) {
    const message = await sender.send(`from ${sender.name}`);
    for (const reader of actors) {
      if (reader === sender) continue;
      const received = await reader.process(message);
      if (received.kind !== "application") throw new Error(`received a ${received.kind}`);
      expect(fromUtf8(received.content)).toBe(`from ${sender.name}`);
      expect(received.sender).toBe(sender.state.ownLeafIndex);
    }
  }
}
