import { type Bytes, equalBytes } from "../../../base/bytes.js";
import { toUtf8 } from "../../../base/encoding.js";
import { SubrosaError } from "../../../base/errors.js";
import { decode, type Reader } from "../../../codec/reader.js";
import { encode, type Writer } from "../../../codec/writer.js";
import { sha256 } from "../../../crypto/hash.js";
import type { Change, StoreSession } from "../../../stores/store.js";
import { decodeName, encodeName } from "../../../wire/identifiers.js";
import { encodeSignedDeviceList } from "../../../wire/identity.js";
import { DIGEST_LENGTH, PUBLIC_KEY_LENGTH } from "../../../wire/protocol.js";
import type { Context, Effect } from "../../context.js";
import type { OwnIdentity } from "../../identity/own-identity.js";
import { layout } from "../../layout.js";
import { isOwnTrouble } from "../../own-trouble.js";
import { within } from "../../waiting.js";
import type { Leaf } from "../membership/leaves.js";
import type { Step } from "../step.js";
import { noteClaims, notedClaims } from "./equivocations.js";

/** Between two looks at accounts, in milliseconds; longer by chance, since all members hear of a new list at once. */
const LOOK_DELAY = 500;
const LOOK_SPREAD = 1_500;
/** After how long without an answer the relay has none, in milliseconds. */
const ANSWER_WITHIN = 60_000;
/** How many users there may be something to find out about at a time, and how many members' claims on each. */
const MAX_QUESTIONS = 1_024;
const MAX_CLAIMS = 64;

type Account = Pick<Leaf, "userId" | "accountKey">;

/** A member says that a user has this device list. */
interface Claim {
  readonly from: string;
  readonly version: number;
  readonly hash: Bytes;
}

/** What is to be found out about a user. */
interface Question extends Account {
  /** The relay says that there is something new. */
  readonly hinted: boolean;
  /** About the account of this key; one of each member, its last. */
  readonly claims: readonly Claim[];
}

function encodeQuestion(writer: Writer, { userId, accountKey, hinted, claims }: Question): void {
  encodeName(writer.u8(1), userId);
  writer.fixed(accountKey).u8(hinted ? 1 : 0);
  writer.vector(claims, (w, { from, version, hash }) => {
    encodeName(w, from);
    w.uint53(version).fixed(hash);
  });
}

function decodeQuestion(reader: Reader): Question {
  if (reader.u8() !== 1) reader.fail("unknown version of question");
  const userId = decodeName(reader);
  const accountKey = reader.fixed(PUBLIC_KEY_LENGTH);
  const hinted = reader.u8() === 1;
  const claims = reader.vector(
    (r) => ({ from: decodeName(r), version: r.uint53(), hash: r.fixed(DIGEST_LENGTH) }),
    MAX_CLAIMS,
  );
  return { userId, accountKey, hinted, claims };
}

/**
 * Looks again at the accounts of users of whom a member names a device list that is not known here, or of whom the relay
 * says that they have changed. Neither is believed: what counts is what the account's key has signed, and a list that
 * the relay does not show is one that it withholds, or that the member made up.
 */
export class AccountWatch {
  readonly #context: () => Context;
  /** This account's own list. */
  readonly #own: { readonly version: number; readonly hash: Bytes };
  /** By user, and durable, so that no relay gets rid of one by ending the session, or waiting for the process to. */
  readonly #questions = new Map<string, Question>();
  #cancel: (() => void) | undefined;
  #looking = false;
  #stopped = false;

  private constructor(context: () => Context, own: { version: number; hash: Bytes }) {
    this.#context = context;
    this.#own = own;
  }

  static async load(
    store: StoreSession,
    { account }: OwnIdentity,
    context: () => Context,
  ): Promise<AccountWatch> {
    const hash = await sha256(encode(encodeSignedDeviceList, account.deviceList));
    const watch = new AccountWatch(context, { version: account.deviceList.list.version, hash });
    for (const [, value] of await store.list(layout.questions)) {
      const question = decode(decodeQuestion, value);
      watch.#questions.set(question.userId, question);
    }
    return watch;
  }

  /** The newest list known of an account; nothing of one that is not the user's by its pin. */
  known({ userId, accountKey }: Account): { readonly version: number; readonly hash?: Bytes } | undefined {
    const { identity, contacts } = this.#context();
    if (userId === identity.userId)
      return equalBytes(accountKey, identity.account.accountKey) ? this.#own : undefined;
    const contact = contacts.get(userId);
    if (contact === undefined || !equalBytes(contact.pinnedKey, accountKey)) return undefined;
    const { listVersion: version, listHash: hash } = contact;
    return { version, ...(hash && { hash }) };
  }

  /** The changes with which it is not forgotten that the relay says that a user has another account. */
  async hinted(userId: string): Promise<Change[]> {
    const contact = this.#context().contacts.get(userId);
    if (contact === undefined) return [];
    return this.#put({ userId, accountKey: contact.pinnedKey, hinted: true, claims: [] });
  }

  /** A member names another list of an account than the one known. Once found to be so, it is not looked into again. */
  async claimed(step: Step, { userId, accountKey }: Account, claim: Claim): Promise<void> {
    const context = this.#context();
    const { contacts, identity } = context;
    const known = this.known({ userId, accountKey });
    // Somebody new may not be known yet; who is known by another key is somebody else.
    if (known === undefined) {
      if (userId === identity.userId || contacts.get(userId) !== undefined) return;
      // Nor may it ever be: there is room left for those who are.
      if (this.#questions.size >= MAX_QUESTIONS / 2) return;
    }
    if (known?.hash !== undefined) {
      const noted = await notedClaims(context, await this.#evidence(known.hash));
      if (noted.some(({ from }) => from === claim.from)) return;
    }
    step.change(...(await this.#put({ userId, accountKey, hinted: false, claims: [claim] })));
  }

  /** Sets about what is open: with a session, when somebody has become known, or when there is something new. */
  resume(): void {
    if (this.#stopped || this.#looking || this.#cancel !== undefined || this.#next() === undefined) return;
    const { clock, random } = this.#context();
    this.#cancel = clock.after(LOOK_DELAY + random() * LOOK_SPREAD, () => {
      this.#cancel = undefined;
      const question = this.#next();
      if (question === undefined || !this.#context().relay.isReady) return;
      this.#looking = true;
      this.#questions.delete(question.userId);
      const looked = this.#look(question).catch((error: unknown) => {
        // Taken up again with the next session, or with what is heard next.
        this.#looking = false;
        this.#add(question);
        throw error;
      });
      this.#context().background(
        looked.then(() => {
          this.#looking = false;
          this.resume();
        }),
      );
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  /** The oldest question about somebody who is known. */
  #next(): Question | undefined {
    const { contacts, identity } = this.#context();
    return [...this.#questions.values()].find(
      ({ userId }) => userId === identity.userId || contacts.get(userId) !== undefined,
    );
  }

  /** In memory at once, so that what comes in one transaction adds up. */
  #add(question: Question): boolean {
    const { userId } = question;
    const open = this.#questions.get(userId);
    const isSame = open !== undefined && equalBytes(open.accountKey, question.accountKey);
    if (open === undefined && this.#questions.size >= MAX_QUESTIONS) return false;
    const claims = new Map((isSame ? open.claims : []).map((claim) => [claim.from, claim]));
    for (const claim of question.claims) {
      if (claims.size < MAX_CLAIMS || claims.has(claim.from)) claims.set(claim.from, claim);
    }
    const hinted = question.hinted || (open?.hinted ?? false);
    this.#questions.set(userId, { ...question, hinted, claims: [...claims.values()] });
    return true;
  }

  async #put(question: Question): Promise<Change[]> {
    const key = await this.#name(question.userId);
    if (!this.#add(question)) return [];
    this.resume();
    return [{ put: key, value: encode(encodeQuestion, this.#questions.get(question.userId) as Question) }];
  }

  async #name(userId: string): Promise<string> {
    return layout.question(await this.#context().privateTag(toUtf8(userId)));
  }

  async #evidence(listHash: Bytes): Promise<string> {
    return layout.listEquivocation(await this.#context().privateTag(listHash));
  }

  async #look(question: Question): Promise<void> {
    const context = this.#context();
    const { userId, claims } = question;
    const isAnother = await this.#refresh(question);
    const { version: ownVersion = 0, hash: own } = this.known(question) ?? {};
    const changes: Effect[] = [];
    let tell = () => {};
    // What is of the key before, or what there is no own one of, cannot be compared.
    if (own !== undefined && !isAnother) {
      const differing = claims.filter(
        ({ version, hash }) => version > ownVersion || (version === ownVersion && !equalBytes(hash, own)),
      );
      const noted = await noteClaims(
        context,
        await this.#evidence(own),
        { list: { userId, version: ownVersion }, own },
        differing.map(({ from, version, hash }) => ({ from, at: version, theirs: hash })),
      );
      changes.push(...noted.changes);
      tell = noted.tell;
    }
    const name = await this.#name(userId);
    // What was heard meanwhile has taken its place.
    if (!this.#questions.has(userId)) changes.push({ delete: name });
    await context.write(changes);
    tell();
  }

  /** Asks the relay, where that can tell more than is known; true if it names another account key. */
  async #refresh(question: Question): Promise<boolean> {
    const { identity, contacts, relay, clock } = this.#context();
    const { userId, hinted, claims } = question;
    const version = this.known(question)?.version ?? 0;
    // One's own list nobody knows better.
    if (userId === identity.userId || !(hinted || claims.some((claim) => claim.version > version)))
      return false;
    try {
      const answer = within(relay.request("fetchAccount", { userId }), clock, ANSWER_WITHIN);
      await contacts.checkAccount(await answer, userId);
    } catch (error) {
      if (!SubrosaError.is(error) || isOwnTrouble(error)) throw error;
      // Without an answer, or with one that does not hold, it does not show the list.
      return error.code === "identity-changed";
    }
    return false;
  }
}
