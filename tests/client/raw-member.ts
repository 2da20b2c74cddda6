import { type Bytes, equalBytes } from "../../src/base/bytes.js";
import { toHex } from "../../src/base/encoding.js";
import { type Content, contentBytes } from "../../src/client/conversation/content.js";
import {
  accessChanges,
  applyAccess,
  commitAuthenticatedData,
  messageAuthenticatedData,
  proposalAuthenticatedData,
  wantedAccess,
} from "../../src/client/conversation/membership/access.js";
import { readdedDevices } from "../../src/client/conversation/membership/commit-rules.js";
import { authenticate, leafAt, leavesOf } from "../../src/client/conversation/membership/leaves.js";
import {
  type DirectPolicy,
  type GroupPolicy,
  POLICY_EXTENSION,
  type Policy,
  policyExtension,
} from "../../src/client/conversation/membership/policy.js";
import type { AccessList } from "../../src/client/conversation/record.js";
import { paddedLength } from "../../src/client/conversation/sending/padding.js";
import { policyIn } from "../../src/client/conversation/state.js";
import { credentialIdentity } from "../../src/client/identity/credential.js";
import { decode } from "../../src/codec/reader.js";
import { randomBytes } from "../../src/crypto/random.js";
import { sign } from "../../src/crypto/signature.js";
import {
  type CommitOptions,
  createCommit,
  epochAuthenticator,
  type GroupState,
  generateKeyPackage,
  joinGroup,
  type KeyPackageBundle,
  makeCapabilities,
  merge,
  processMessage,
  propose,
  protectApplication,
  type StagedCommit,
} from "../../src/mls/group/index.js";
import type { Proposal } from "../../src/mls/structs/proposal.js";
import { type AccessChange, decodePointer, type LogEntry } from "../../src/wire/entries.js";
import { type Cursor, START } from "../../src/wire/identifiers.js";
import { certificateToBeSigned } from "../../src/wire/identity.js";
import { EntryKind, isHandshake } from "../../src/wire/protocol.js";
import type { NewEntry } from "../../src/wire/requests.js";
import { chain, groupLog, inboxOf, makeUser, RawClient, type TestUser } from "../relay/raw-client.js";
import { eventually } from "./harness.js";

const now = () => BigInt(Math.floor(Date.now() / 1000));

/** A key package of a user's device, as it should be unless `alter` says otherwise. */
export async function keyPackageOf(
  user: TestUser,
  alter: Partial<Parameters<typeof generateKeyPackage>[0]> & { certificate?: Bytes; userId?: string } = {},
): Promise<KeyPackageBundle> {
  const { certificate: given, userId = user.userId, ...options } = alter;
  const { deviceId } = user;
  const certified = certificateToBeSigned({
    userId: user.userId,
    deviceId,
    deviceKey: user.device.publicKey,
  });
  const certificate = given ?? (await sign(user.account.privateKey, certified));
  const identity = credentialIdentity({ userId, deviceId, accountKey: user.account.publicKey, certificate });
  return generateKeyPackage({
    credential: { kind: "basic", identity },
    signer: user.device,
    lifetime: { notBefore: now() - 3600n, notAfter: now() + 86_400n },
    capabilities: makeCapabilities({ extensions: [POLICY_EXTENSION] }),
    ...options,
  });
}

/** An entry to be appended; `merges`: what it makes of the group if the members take it. */
export type RawEntry = Omit<NewEntry, "entryId"> & { readonly merges?: StagedCommit };

export interface CommitChange {
  readonly proposals?: readonly Proposal[];
  /** Instead of the access changes that the proposals ask for, in the bundle only. */
  readonly access?: (right: AccessChange[]) => AccessChange[];
  /** The authenticated data covers the changed ones too. */
  readonly consistent?: boolean;
  readonly merge?: boolean;
  readonly options?: Partial<CommitOptions>;
  readonly payload?: (commit: Bytes) => Bytes;
  readonly welcome?: (welcome: Bytes) => Bytes;
}

/**
 * A member that speaks MLS and the wire protocol by itself, bound to no rule: what it is told to say, it says. It
 * follows the group as an honest member does.
 */
export class RawMember {
  readonly user: TestUser;
  client: RawClient;
  readonly #bundles: KeyPackageBundle[] = [];
  readonly #own = new Map<string, RawEntry>();
  group!: GroupState;
  access: AccessList = new Map();
  /** Behind the last entry followed; and behind the last handshake entry. */
  cursor: Cursor = START;
  handshake: Cursor = START;
  /** Texts it could read. */
  readonly read: string[] = [];
  /** Everything it could read, as it stood in the messages. */
  readonly contents: Bytes[] = [];

  private constructor(user: TestUser, client: RawClient) {
    this.user = user;
    this.client = client;
  }

  /** Connected, with key packages at the relay. */
  static async connect(
    relay: { url: string },
    userId: string,
    bundles?: KeyPackageBundle[],
  ): Promise<RawMember> {
    const user = await makeUser(userId);
    const member = new RawMember(user, await RawClient.connect(relay.url, user));
    await member.publish(bundles ?? [await keyPackageOf(user)]);
    return member;
  }

  /** On a new connection, with what it knows. */
  async reconnect({ url }: { url: string }): Promise<void> {
    this.client = await RawClient.connect(url, this.user);
  }

  async publish(bundles: readonly KeyPackageBundle[]): Promise<void> {
    this.#bundles.push(...bundles);
    await this.client.request("publishKeyPackages", {
      oneTime: bundles.map(({ bytes }) => ({ keyPackage: bytes, notAfter: Number(now()) + 3600 })),
    });
  }

  /** Joins by the newest pointer in the inbox, and follows the group. */
  async join(count = 1): Promise<void> {
    const inbox = inboxOf(this.user);
    if (this.client.entriesOf(inbox).length === 0) await this.client.subscribe(inbox);
    const entries = await this.client.untilEntries(inbox, count);
    const entry = entries[count - 1] as LogEntry & { form: "full" };
    const { groupId, at } = decode(decodePointer, entry.content.payload);
    const { welcome } = await this.client.request("fetchBundle", { groupId, seq: at.seq });
    let joined: GroupState | undefined;
    for (const bundle of this.#bundles) {
      joined ??= await joinGroup(welcome, bundle, { signer: this.user.device, authenticate }).catch(
        () => undefined,
      );
    }
    if (joined === undefined) throw new Error("no key package fits the welcome");
    this.group = joined;
    this.access = wantedAccess(leavesOf(joined), policyIn(joined));
    this.cursor = at;
    this.handshake = at;
    await this.client.subscribe(this.log, at);
  }

  get log() {
    return groupLog(this.group.groupContext.groupId);
  }

  /** Follows the log up to its end, as an honest member would; what it cannot read it passes over. */
  async follow(): Promise<void> {
    const { head } = await this.client.subscribe(this.log, this.cursor);
    await this.client.until(
      () => this.#log().some(({ seq }) => seq >= head.seq) || head.seq <= this.cursor.seq,
    );
    for (const entry of this.#log()) {
      if (entry.seq !== this.cursor.seq + 1) continue;
      this.cursor = await chain(this.log, [entry], this.cursor);
      const kind = entry.form === "full" ? entry.content.kind : entry.kind;
      if (isHandshake(kind)) this.handshake = this.cursor;
      if (entry.form === "full") await this.#take(entry);
      else await this.#takeOwn(toHex(entry.entryId));
    }
  }

  async #takeOwn(entryId: string): Promise<void> {
    const own = this.#own.get(entryId);
    if (own?.bundle !== undefined) this.access = applyAccess(this.access, own.bundle.access);
    if (own?.merges) this.group = merge(own.merges);
  }

  #log(): LogEntry[] {
    return this.client.entriesOf(this.log);
  }

  async #take({ content }: LogEntry & { form: "full" }): Promise<void> {
    try {
      const result = await processMessage(this.group, content.payload, { authenticate });
      if (result.kind === "commit") {
        if (!result.staged.selfRemoved && this.accepts(content.kind)) this.group = merge(result.staged);
      } else {
        this.group = result.state;
        if (result.kind === "application") {
          this.contents.push(result.content);
          this.read.push(new TextDecoder().decode(result.content).replaceAll("\u0000", ""));
        }
      }
    } catch {
      // Not for us, or void.
    } finally {
      if (content.bundle !== undefined) this.access = applyAccess(this.access, content.bundle.access);
    }
  }

  /** Whether commits are merged; a test may say no. */
  accepts(kind: EntryKind): boolean {
    return kind === EntryKind.commit;
  }

  append({ merges, ...entry }: RawEntry, after: Cursor = this.handshake): Promise<Cursor> {
    const entryId = randomBytes(16);
    this.#own.set(toHex(entryId), { ...entry, ...(merges && { merges }) });
    return this.client.append(this.log, after, { ...entry, entryId });
  }

  /** What somebody said, once it stands in the log. */
  async hears(text: string): Promise<void> {
    await eventually(async () => {
      await this.follow();
      return this.read.some((one) => one.includes(text));
    }, `mallory hears ${text}`);
  }

  text(text: string, id = randomBytes(16)): Content {
    return { type: "text", id, sentAt: Date.now(), text };
  }

  /** An application message with any content and authenticated data. */
  async message(content: Content | Bytes, data?: Bytes): Promise<Bytes> {
    const bytes = content instanceof Uint8Array ? content : contentBytes(content);
    const { message, state } = await protectApplication(this.group, bytes, {
      signer: this.user.device,
      authenticatedData: data ?? messageAuthenticatedData(epochAuthenticator(this.group)),
      padding: paddedLength,
    });
    this.group = state;
    return message;
  }

  /** Says something that is in order. */
  async say(text: string): Promise<void> {
    await this.append({ kind: EntryKind.application, payload: await this.message(this.text(text)) });
  }

  async proposal(proposal: Proposal, data = proposalAuthenticatedData()): Promise<Bytes> {
    const { message, state } = await propose(this.group, proposal, {
      signer: this.user.device,
      authenticatedData: data,
      padding: paddedLength,
    });
    this.group = { ...state, pendingProposals: this.group.pendingProposals };
    return message;
  }

  /** A proposal of another policy. */
  policy(change: Partial<GroupPolicy> | Partial<DirectPolicy>): Proposal {
    const policy = { ...policyIn(this.group), ...change } as Policy;
    return { kind: "groupContextExtensions", extensions: [policyExtension(policy)] } as Proposal;
  }

  leaf(userId: string): number {
    const leaf = leavesOf(this.group).find((one) => one.userId === userId);
    if (leaf === undefined) throw new Error(`${userId} is no leaf`);
    return leaf.leafIndex;
  }

  /** A commit that is in order but for what `change` says. */
  async commit(change: CommitChange = {}): Promise<RawEntry & { bundle: NonNullable<NewEntry["bundle"]> }> {
    const make = (data: Bytes) =>
      createCommit(this.group, {
        proposals: change.proposals ?? [],
        forcePath: true,
        authenticatedData: data,
        padding: paddedLength,
        signer: this.user.device,
        authenticate,
        now: now(),
        welcome: { ratchetTree: true },
        ...change.options,
      });
    const draft = await make(new Uint8Array(0));
    const after = draft.staged.state;
    const right = accessChanges(
      this.access,
      wantedAccess(
        leavesOf(after),
        after.groupContext.extensions.length > 0 ? policyIn(after) : policyIn(this.group),
      ),
      readdedDevices(this.group, after, draft.staged.added),
    );
    const access = change.access?.(right) ?? right;
    const data = await commitAuthenticatedData(change.consistent ? access : right);
    const { commit, welcome, staged, state } = await make(data);
    this.group = state;
    const made = welcome ?? new Uint8Array(0);
    return {
      ...((Object.keys(change).length === 0 || change.merge) && { merges: staged }),
      kind: EntryKind.commit,
      payload: change.payload?.(commit) ?? commit,
      bundle: { access, welcome: made.length > 0 ? (change.welcome?.(made) ?? made) : made },
    };
  }

  /** The user of a device, by leaf. */
  userOf(leafIndex: number): string {
    return leafAt(this.group, leafIndex as never).userId;
  }

  /** Whether two hold the same epoch. */
  agreesWith(other: RawMember): boolean {
    return equalBytes(epochAuthenticator(this.group), epochAuthenticator(other.group));
  }
}
