import { copyBytes } from "../../src/base/bytes.js";
import { fromUtf8, toHex, toUtf8 } from "../../src/base/encoding.js";
import * as mls from "../../src/mls.js";
import type {
  Actor,
  Change,
  CommitRequest,
  Framing,
  GroupExtension,
  Psks,
  Received,
  SentCommit,
} from "./actor.js";

export const NOW = BigInt(Math.floor(Date.now() / 1000));
export const LIFETIME = { notBefore: NOW - 3600n, notAfter: NOW + 30n * 86_400n };

const policy = { authenticate: async () => {}, now: NOW };
/** Messages of 96, 192 … bytes. */
const padding: mls.Padding = (length) => Math.ceil((length + 1) / 96) * 96;

function extensionOf({ type, data }: GroupExtension): mls.Extension {
  return { extensionType: type, data };
}

/** A client on this engine. */
export class SubrosaActor implements Actor {
  readonly name: string;
  readonly psks: Psks = new Map();
  readonly #signer: mls.Signer;
  readonly #credential: mls.Credential;
  #bundle: mls.KeyPackageBundle;
  #state: mls.GroupState | undefined;

  private constructor(name: string, signer: mls.Signer, bundle: mls.KeyPackageBundle) {
    this.name = name;
    this.#signer = signer;
    this.#credential = bundle.keyPackage.leafNode.credential;
    this.#bundle = bundle;
  }

  static async create(name: string): Promise<SubrosaActor> {
    const signer = await mls.generateSignatureKeyPair();
    const credential: mls.Credential = { kind: "basic", identity: toUtf8(name) };
    const bundle = await mls.generateKeyPackage({ credential, signer, lifetime: LIFETIME });
    return new SubrosaActor(name, signer, bundle);
  }

  /** The engine's own state. */
  get state(): mls.GroupState {
    if (this.#state === undefined) throw new Error(`${this.name} is in no group`);
    return this.#state;
  }

  get isMember(): boolean {
    return this.#state !== undefined;
  }

  get leaf(): number {
    return this.state.ownLeafIndex;
  }

  get epoch(): bigint {
    return this.state.groupContext.epoch;
  }

  readonly #findPsk: mls.PskSource = (id) => {
    return id.pskType === "external" ? this.psks.get(toHex(id.pskId)) : undefined;
  };

  get #common() {
    return { ...policy, signer: this.#signer, psks: this.#findPsk };
  }

  async renewKeyPackage(): Promise<Uint8Array> {
    const signer = this.#signer;
    this.#bundle = await mls.generateKeyPackage({ credential: this.#credential, signer, lifetime: LIFETIME });
    return this.#bundle.bytes;
  }

  async createGroup(groupId: Uint8Array, extensions: readonly GroupExtension[] = []): Promise<void> {
    this.#state = await mls.createGroup({
      groupId,
      credential: this.#credential,
      signer: this.#signer,
      lifetime: LIFETIME,
      extensions: extensions.map(extensionOf),
    });
  }

  async join(welcome: Uint8Array, tree?: Uint8Array): Promise<void> {
    const ratchetTree = tree && { ratchetTree: tree };
    this.#state = await mls.joinGroup(welcome, this.#bundle, { ...this.#common, ...ratchetTree });
  }

  async joinSuccessor(welcome: Uint8Array, tree?: Uint8Array): Promise<void> {
    const options = { ...this.#common, previous: this.state, ...(tree && { ratchetTree: tree }) };
    this.#state = await mls.joinGroup(welcome, this.#bundle, options);
  }

  async joinByCommit(
    groupInfo: Uint8Array,
    { tree, isResync = false }: { tree?: Uint8Array; isResync?: boolean } = {},
  ): Promise<SentCommit> {
    const { staged, commit } = await mls.createExternalCommit(groupInfo, {
      ...this.#common,
      credential: this.#credential,
      ...(tree && { ratchetTree: tree }),
      ...(isResync && { replaces: this.state.ownLeafIndex }),
    });
    return this.#sent(commit, undefined, staged);
  }

  #sent(commit: Uint8Array, welcome: Uint8Array | undefined, staged: mls.StagedCommit): SentCommit {
    const accept = () => {
      this.#state = mls.merge(staged);
    };
    return { commit, welcome, accept, tree: () => mls.exportRatchetTree(staged.state) };
  }

  async groupInfo(treeInside: boolean): Promise<Uint8Array> {
    const options = { signer: this.#signer, externalPub: true, ratchetTree: treeInside };
    return mls.exportGroupInfo(this.state, options);
  }

  encodedTree(): Uint8Array {
    return mls.exportRatchetTree(this.state);
  }

  #proposal(change: Exclude<Change, { kind: "update" }>): mls.Proposal {
    switch (change.kind) {
      case "add":
        return { kind: "add", keyPackage: mls.readKeyPackage(change.keyPackage) };
      case "remove":
        return { kind: "remove", removed: mls.toLeafIndex(change.leaf) };
      case "psk":
        return mls.externalPskProposal(change.id);
      case "resumption":
        return mls.resumptionPskProposal(change.groupId, change.epoch);
      case "extensions":
        return { kind: "groupContextExtensions", extensions: change.extensions.map(extensionOf) };
      case "reinit":
        return mls.reInitProposal(change.groupId);
    }
  }

  async propose(change: Change, { isPublic = false, ...rest }: Framing = {}): Promise<Uint8Array> {
    const wireFormat = isPublic ? "public" : "private";
    const options: mls.ProposeOptions = { signer: this.#signer, now: NOW, padding, wireFormat, ...rest };
    const sent =
      change.kind === "update"
        ? await mls.proposeUpdate(this.state, options)
        : await mls.propose(this.state, this.#proposal(change), options);
    this.#state = sent.state;
    return sent.message;
  }

  async proposeOwnAddition(groupInfo: Uint8Array): Promise<Uint8Array> {
    return mls.proposeOwnAddition(viewOf(groupInfo), this.#bundle.keyPackage, { signer: this.#signer });
  }

  async commit(request: CommitRequest = {}): Promise<SentCommit> {
    const { changes = [], isPublic = false, treeInside = true, authenticatedData } = request;
    const proposals = changes.map((change) => {
      if (change.kind === "update") throw new Error("an update by value");
      return this.#proposal(change);
    });
    const created = await mls.createCommit(this.state, {
      ...this.#common,
      proposals,
      padding,
      wireFormat: isPublic ? "public" : "private",
      welcome: { ratchetTree: treeInside },
      ...(authenticatedData && { authenticatedData }),
    });
    this.#state = created.state;
    return this.#sent(created.commit, created.welcome, created.staged);
  }

  async receive(message: Uint8Array): Promise<Received> {
    const processed = await mls.processMessage(this.state, message, { ...policy, psks: this.#findPsk });
    this.#state = processed.state;
    if (processed.kind === "application")
      return { kind: "application", content: fromUtf8(processed.content) };
    if (processed.kind === "proposal") return { kind: "proposal" };
    const isRemoved = processed.staged.selfRemoved;
    this.#state = isRemoved ? undefined : mls.merge(processed.staged);
    return { kind: "commit", isRemoved };
  }

  async send(text: string, authenticatedData?: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
    const options = { signer: this.#signer, padding, ...(authenticatedData && { authenticatedData }) };
    const sealed = await mls.protectApplication(this.state, toUtf8(text), options);
    this.#state = sealed.state;
    return sealed.message;
  }

  authenticator(): string {
    return toHex(mls.epochAuthenticator(this.state));
  }

  async exportSecret(label: string, context: Uint8Array, length: number): Promise<string> {
    return toHex(await mls.exportSecret(this.state, label, context, length));
  }

  members(): Map<number, string> {
    return new Map(
      mls.members(this.state).map(({ leafIndex, credential }) => {
        return [leafIndex, credential.kind === "basic" ? fromUtf8(credential.identity) : ""];
      }),
    );
  }

  async reinitialize(keyPackages: readonly Uint8Array[]): Promise<Uint8Array> {
    const options = { ...this.#common, keyPackages: keyPackages.map(mls.readKeyPackage) };
    return this.#begin(await mls.reinitializeGroup(this.state, options));
  }

  async branch(keyPackages: readonly Uint8Array[], groupId: Uint8Array): Promise<Uint8Array> {
    const options = { ...this.#common, keyPackages: keyPackages.map(mls.readKeyPackage) };
    return this.#begin(await mls.branchGroup(this.state, groupId, options));
  }

  #begin({ staged, welcome }: mls.Successor): Uint8Array {
    this.#state = mls.merge(staged);
    if (welcome === undefined) throw new Error("no welcome");
    return welcome;
  }
}

/** Group id and epoch in an MLSMessage(GroupInfo): version, wire format, version, suite, opaque<V>, uint64. */
function viewOf(groupInfo: Uint8Array): mls.OutsideView {
  const length = groupInfo[8] as number;
  const epoch = new DataView(copyBytes(groupInfo).buffer).getBigUint64(9 + length);
  return { groupId: groupInfo.slice(9, 9 + length), epoch };
}
