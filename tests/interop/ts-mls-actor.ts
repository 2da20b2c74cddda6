import * as clientState from "ts-mls/clientState.js";
import { varLenDataEncoder } from "ts-mls/codec/variableLength.js";
import {
  createCommit,
  createGroupInfo,
  createGroupInfoWithRatchetTree,
  joinGroupExternal,
} from "ts-mls/createCommit.js";
import { createApplicationMessage, createProposal } from "ts-mls/createMessage.js";
import type { Credential } from "ts-mls/credential.js";
import type { Extension } from "ts-mls/extension.js";
import { proposeAddExternal } from "ts-mls/externalProposal.js";
import type { GroupInfo } from "ts-mls/groupInfo.js";
import type { KeyPackage, PrivateKeyPackage } from "ts-mls/keyPackage.js";
import { decodeKeyPackage, generateKeyPackageWithKey, keyPackageEncoder } from "ts-mls/keyPackage.js";
import { mlsExporter } from "ts-mls/keySchedule.js";
import { decodeMlsMessage, mlsMessageEncoder } from "ts-mls/message.js";
import { updateLeafKey } from "ts-mls/privateKeyPath.js";
import { processPrivateMessage, processPublicMessage } from "ts-mls/processMessages.js";
import type { Proposal } from "ts-mls/proposal.js";
import type { PskIndex } from "ts-mls/pskIndex.js";
import { decodeRatchetTree, ratchetTreeEncoder } from "ts-mls/ratchetTree.js";
import * as resumption from "ts-mls/resumption.js";
import type { ProposalWithSender } from "ts-mls/unappliedProposals.js";
import type { Welcome } from "ts-mls/welcome.js";
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
import { CAPABILITIES, hex, read, readMessage, signUpdate, write, writeMessage } from "./ts-mls-tools.js";
import { SUITE, scalarOf, suite, webCryptoProvider } from "./webcrypto-provider.js";

const NOW = BigInt(Math.floor(Date.now() / 1000));
const LIFETIME = { notBefore: NOW - 3600n, notAfter: NOW + 30n * 86_400n };
const NAMES = {
  1: "application_id",
  2: "ratchet_tree",
  3: "required_capabilities",
  4: "external_pub",
  5: "external_senders",
} as const;

function extensionOf({ type, data }: GroupExtension): Extension {
  return { extensionType: NAMES[type as keyof typeof NAMES] ?? type, extensionData: data };
}

/** The private part of a key package, as the official vectors have it. */
export interface PrivateKeys {
  readonly init: Uint8Array;
  readonly encryption: Uint8Array;
  readonly signature: Uint8Array;
}

/** A client on ts-mls. */
export class TsMlsActor implements Actor {
  readonly name: string;
  readonly psks: Psks = new Map();
  readonly #keys: { publicKey: Uint8Array; signKey: Uint8Array };
  #keyPackage: KeyPackage;
  #private: PrivateKeyPackage;
  #state: clientState.ClientState | undefined;
  #updateKey: Uint8Array | undefined;

  private constructor(
    name: string,
    keys: { publicKey: Uint8Array; signKey: Uint8Array },
    made: { publicPackage: KeyPackage; privatePackage: PrivateKeyPackage },
  ) {
    this.name = name;
    this.#keys = keys;
    this.#keyPackage = made.publicPackage;
    this.#private = made.privatePackage;
  }

  static async create(name: string): Promise<TsMlsActor> {
    const keys = await suite.signature.keygen();
    return new TsMlsActor(name, keys, await TsMlsActor.#generate(name, keys));
  }

  static #generate(name: string, keys: { publicKey: Uint8Array; signKey: Uint8Array }) {
    const credential: Credential = { credentialType: "basic", identity: new TextEncoder().encode(name) };
    return generateKeyPackageWithKey(credential, CAPABILITIES, LIFETIME, [], keys, suite);
  }

  /** The state of ts-mls. */
  get state(): clientState.ClientState {
    if (this.#state === undefined) throw new Error(`${this.name} is in no group`);
    return this.#state;
  }

  get privateKeys(): PrivateKeys {
    const { initPrivateKey, hpkePrivateKey, signaturePrivateKey } = this.#private;
    return { init: initPrivateKey, encryption: hpkePrivateKey, signature: scalarOf(signaturePrivateKey) };
  }

  get keyPackage(): KeyPackage {
    return this.#keyPackage;
  }

  get isMember(): boolean {
    return this.#state !== undefined;
  }

  get leaf(): number {
    return this.state.privatePath.leafIndex;
  }

  get epoch(): bigint {
    return this.state.groupContext.epoch;
  }

  get #pskIndex(): PskIndex {
    return this.#pskIndexOf(this.#state);
  }

  #pskIndexOf(state: clientState.ClientState | undefined): PskIndex {
    const own = clientState.makePskIndex(state, {});
    return {
      findPsk: (id) => (id.psktype === "external" ? this.psks.get(hex(id.pskId)) : own.findPsk(id)),
    };
  }

  async renewKeyPackage(): Promise<Uint8Array> {
    const made = await TsMlsActor.#generate(this.name, this.#keys);
    this.#keyPackage = made.publicPackage;
    this.#private = made.privatePackage;
    return write(keyPackageEncoder, this.#keyPackage);
  }

  async createGroup(groupId: Uint8Array, extensions: readonly GroupExtension[] = []): Promise<void> {
    this.#state = await clientState.createGroup(
      groupId,
      this.#keyPackage,
      this.#private,
      extensions.map(extensionOf),
      suite,
    );
  }

  async #join(welcome: Uint8Array, tree?: Uint8Array, from?: clientState.ClientState): Promise<void> {
    this.#state = await clientState.joinGroup(
      readMessage(welcome, "mls_welcome").welcome,
      this.#keyPackage,
      this.#private,
      this.#pskIndexOf(from),
      suite,
      tree && read(decodeRatchetTree, tree),
      from,
    );
  }

  join(welcome: Uint8Array, tree?: Uint8Array): Promise<void> {
    return this.#join(welcome, tree);
  }

  joinSuccessor(welcome: Uint8Array, tree?: Uint8Array): Promise<void> {
    return this.#join(welcome, tree, this.state);
  }

  async joinByCommit(
    groupInfo: Uint8Array,
    { tree, isResync = false }: { tree?: Uint8Array; isResync?: boolean } = {},
  ): Promise<SentCommit> {
    const { publicMessage, newState } = await joinGroupExternal(
      readMessage(groupInfo, "mls_group_info").groupInfo,
      this.#keyPackage,
      this.#private,
      isResync,
      suite,
      tree && read(decodeRatchetTree, tree),
    );
    const commit = writeMessage({ wireformat: "mls_public_message", publicMessage });
    return this.#sent(commit, undefined, newState);
  }

  #sent(commit: Uint8Array, welcome: Welcome | undefined, next: clientState.ClientState): SentCommit {
    return {
      commit,
      welcome: welcome && writeMessage({ wireformat: "mls_welcome", welcome }),
      accept: () => {
        this.#state = next;
        this.#updateKey = undefined;
      },
      tree: () => write(ratchetTreeEncoder, next.ratchetTree),
    };
  }

  /** Not by ts-mls's own function, which leaves out the length of the key (RFC 9420 §12.4.3.2). */
  async groupInfo(treeInside: boolean): Promise<Uint8Array> {
    const { state } = this;
    const { publicKey } = await suite.hpke.deriveKeyPair(state.keySchedule.externalSecret);
    const key = await suite.hpke.exportPublicKey(publicKey);
    const extensions: Extension[] = [
      { extensionType: "external_pub", extensionData: write(varLenDataEncoder, key) },
    ];
    const { groupContext, confirmationTag, ratchetTree } = state;
    const groupInfo: GroupInfo = treeInside
      ? await createGroupInfoWithRatchetTree(
          groupContext,
          confirmationTag,
          state,
          ratchetTree,
          extensions,
          suite,
        )
      : await createGroupInfo(groupContext, confirmationTag, state, extensions, suite);
    return writeMessage({ wireformat: "mls_group_info", groupInfo });
  }

  encodedTree(): Uint8Array {
    return write(ratchetTreeEncoder, this.state.ratchetTree);
  }

  /** The private key is kept until a commit covers the proposal. */
  async #update(): Promise<Proposal> {
    const { state } = this;
    const own = clientState.getOwnLeafNode(state);
    const position = { groupId: state.groupContext.groupId, leafIndex: this.leaf };
    const { leafNode, privateKey } = await signUpdate(own, position, this.#keys.signKey);
    this.#updateKey = privateKey;
    return { proposalType: "update", update: { leafNode } };
  }

  async #proposal(change: Change): Promise<Proposal> {
    const pskNonce = suite.rng.randomBytes(suite.kdf.size);
    switch (change.kind) {
      case "add":
        return { proposalType: "add", add: { keyPackage: read(decodeKeyPackage, change.keyPackage) } };
      case "remove":
        return { proposalType: "remove", remove: { removed: change.leaf } };
      case "update":
        return this.#update();
      case "psk": {
        const preSharedKeyId = { psktype: "external", pskId: change.id, pskNonce } as const;
        return { proposalType: "psk", psk: { preSharedKeyId } };
      }
      case "resumption": {
        const { groupId: pskGroupId, epoch: pskEpoch } = change;
        const usage = "application";
        const preSharedKeyId = { psktype: "resumption", usage, pskGroupId, pskEpoch, pskNonce } as const;
        return { proposalType: "psk", psk: { preSharedKeyId } };
      }
      case "extensions":
        return {
          proposalType: "group_context_extensions",
          groupContextExtensions: { extensions: change.extensions.map(extensionOf) },
        };
      case "reinit": {
        const { groupId } = change;
        const reinit = { groupId, version: "mls10", cipherSuite: SUITE, extensions: [] } as const;
        return { proposalType: "reinit", reinit: { ...reinit, extensions: [] } };
      }
    }
  }

  async propose(change: Change, { isPublic = false, authenticatedData }: Framing = {}): Promise<Uint8Array> {
    const proposal = await this.#proposal(change);
    const made = await createProposal(this.state, isPublic, proposal, suite, authenticatedData);
    this.#state = made.newState;
    return write(mlsMessageEncoder, made.message);
  }

  async proposeOwnAddition(groupInfo: Uint8Array): Promise<Uint8Array> {
    const info = readMessage(groupInfo, "mls_group_info").groupInfo;
    return write(mlsMessageEncoder, await proposeAddExternal(info, this.#keyPackage, this.#private, suite));
  }

  async commit(request: CommitRequest = {}): Promise<SentCommit> {
    const { changes = [], isPublic = false, treeInside = true, authenticatedData } = request;
    const extraProposals = await Promise.all(changes.map((change) => this.#proposal(change)));
    const { newState, welcome, commit } = await createCommit(
      { state: this.state, cipherSuite: suite, pskIndex: this.#pskIndex },
      {
        extraProposals,
        wireAsPublicMessage: isPublic,
        ratchetTreeExtension: treeInside,
        ...(authenticatedData && { authenticatedData }),
      },
    );
    return this.#sent(write(mlsMessageEncoder, commit), welcome, newState);
  }

  /** Takes in a message; with `peek`, only tells what a commit covers. */
  async #process(
    state: clientState.ClientState,
    bytes: Uint8Array,
    peek?: (p: ProposalWithSender[]) => void,
  ) {
    const message = read(decodeMlsMessage, bytes);
    const callback: Parameters<typeof processPrivateMessage>[4] = (incoming) => {
      if (peek === undefined || incoming.kind !== "commit") return "accept";
      peek(incoming.proposals);
      return "reject";
    };
    if (message.wireformat === "mls_private_message") {
      return processPrivateMessage(state, message.privateMessage, this.#pskIndex, suite, callback);
    }
    if (message.wireformat !== "mls_public_message") throw new Error(`a ${message.wireformat}`);
    const { publicMessage } = message;
    const result = await processPublicMessage(state, publicMessage, this.#pskIndex, suite, callback);
    return { ...result, kind: "newState" as const };
  }

  async receive(bytes: Uint8Array): Promise<Received> {
    let state = this.state;
    const { epoch } = this;
    if (this.#updateKey !== undefined) {
      const { leaf } = this;
      let isCovered = false;
      await this.#process(state, bytes, (proposals) => {
        isCovered = proposals.some(
          ({ proposal, senderLeafIndex }) => proposal.proposalType === "update" && senderLeafIndex === leaf,
        );
      });
      if (isCovered) state = { ...state, privatePath: updateLeafKey(state.privatePath, this.#updateKey) };
    }
    const result = await this.#process(state, bytes);
    if (result.kind === "applicationMessage") {
      this.#state = result.newState;
      return { kind: "application", content: new TextDecoder().decode(result.message) };
    }
    const { newState } = result;
    const isRemoved = newState.groupActiveState.kind === "removedFromGroup";
    if (!isRemoved && newState.groupContext.epoch === epoch) {
      this.#state = newState;
      return { kind: "proposal" };
    }
    this.#state = isRemoved ? undefined : newState;
    this.#updateKey = undefined;
    return { kind: "commit", isRemoved };
  }

  async send(text: string, authenticatedData?: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
    const content = new TextEncoder().encode(text);
    const made = await createApplicationMessage(this.state, content, suite, authenticatedData);
    this.#state = made.newState;
    return writeMessage({ wireformat: "mls_private_message", privateMessage: made.privateMessage });
  }

  authenticator(): string {
    return hex(this.state.keySchedule.epochAuthenticator);
  }

  async exportSecret(label: string, context: Uint8Array, length: number): Promise<string> {
    return hex(await mlsExporter(this.state.keySchedule.exporterSecret, label, context, length, suite));
  }

  members(): Map<number, string> {
    const members = new Map<number, string>();
    for (const [index, node] of this.state.ratchetTree.entries()) {
      if (node?.nodeType !== "leaf") continue;
      const { credential } = node.leaf;
      members.set(
        index / 2,
        credential.credentialType === "basic" ? new TextDecoder().decode(credential.identity) : "",
      );
    }
    return members;
  }

  async reinitialize(keyPackages: readonly Uint8Array[], groupId: Uint8Array): Promise<Uint8Array> {
    await this.renewKeyPackage();
    const made = await resumption.reinitCreateNewGroup(
      this.state,
      this.#keyPackage,
      this.#private,
      keyPackages.map((bytes) => read(decodeKeyPackage, bytes)),
      groupId,
      SUITE,
      [],
      webCryptoProvider,
    );
    return this.#begin(made.newState, made.welcome);
  }

  async branch(keyPackages: readonly Uint8Array[], groupId: Uint8Array): Promise<Uint8Array> {
    await this.renewKeyPackage();
    const members = keyPackages.map((bytes) => read(decodeKeyPackage, bytes));
    const made = await resumption.branchGroup(
      this.state,
      this.#keyPackage,
      this.#private,
      members,
      groupId,
      suite,
    );
    return this.#begin(made.newState, made.welcome);
  }

  #begin(state: clientState.ClientState, welcome: Welcome | undefined): Uint8Array {
    this.#state = state;
    if (welcome === undefined) throw new Error("no welcome");
    return writeMessage({ wireformat: "mls_welcome", welcome });
  }
}
