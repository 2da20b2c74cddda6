import type { Bytes } from "../../base/bytes.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import type { Change } from "../../stores/store.js";
import type { Context } from "../context.js";
import type { ConversationRecord } from "../conversation/record.js";
import type { Registry } from "../conversation/registry.js";
import { loseKeys } from "../conversation/repair/repair.js";
import { forgetKeys, placeChange } from "../conversation/state.js";
import { isWholeIdentity, loadIdentity, type OwnIdentity } from "../identity/own-identity.js";
import { layout } from "../layout.js";
import { isOutdated } from "../session/incarnation.js";
import type { LoadedConversations } from "./broken-conversations.js";
import type { GuardedStore } from "./guarded-store.js";
import { countLosses } from "./losses.js";
import { enrolAnew } from "./new-device.js";

/** How long after one device has taken the place of another one the next may do so for being outdated: an hour. */
const ENROL_INTERVAL = 3600 * 1000;

export interface RecoveryOptions {
  readonly userId: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly randomId: (length: number) => Bytes;
  /** The relay, or a group's log, has shown that this state is an older copy. */
  readonly outdated: boolean;
}

/**
 * Puts a store in order that is damaged or outdated, when it is opened: {@link identity} before anything else is
 * loaded, {@link settle} when everything is.
 */
export class Recovery {
  readonly #store: GuardedStore;
  readonly #options: RecoveryOptions;
  #reason: "damaged" | "outdated" | undefined;
  /** Conversations of the device before this one. */
  #moved = 0;

  constructor(store: GuardedStore, options: RecoveryOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** This device; a new one if the one in the store cannot go on. Throws `store-damaged` without the account's key. */
  async identity(): Promise<OwnIdentity> {
    const { userId, randomId, now } = this.#options;
    const reason = this.#store.firstUse ? undefined : await this.#whyAnew();
    if (reason !== undefined) {
      const code = reason === "outdated" ? "store-outdated" : "store-damaged";
      const { changes, conversations } = await enrolAnew(this.#store, {
        userId,
        randomId,
        now,
        reason: code,
      });
      if (reason === "outdated") changes.push({ put: layout.enrolled, value: encode(encodeTime, now) });
      await this.#store.write(changes);
      this.#reason = reason;
      this.#moved = conversations;
    }
    return loadIdentity(this.#store, userId, randomId);
  }

  async #whyAnew(): Promise<"damaged" | "outdated" | undefined> {
    const [isWhole, isOld] = await Promise.all([isWholeIdentity(this.#store), isOutdated(this.#store)]);
    if (!isWhole || this.#store.damaged.has(layout.incarnation)) return "damaged";
    if (!isOld && !this.#options.outdated) return undefined;
    // A relay that says so again and again is not believed.
    const enrolled = await this.#store.get(layout.enrolled);
    const since = enrolled && this.#options.now - decode(decodeTime, enrolled);
    return since !== undefined && since >= 0 && since < ENROL_INTERVAL ? undefined : "outdated";
  }

  /**
   * Gives up what is damaged, starts the repair of conversations, and tells the app what is lost. `askAgain`: asks the
   * members of a group to add this device anew.
   */
  async settle(
    context: Context,
    registry: Registry,
    { broken, unknown }: LoadedConversations,
    askAgain: (record: ConversationRecord) => Promise<void>,
  ): Promise<void> {
    const { damaged } = this.#store;
    const { missing } = context.contacts;
    const newDevice = this.#reason !== undefined;
    const lost = countLosses(damaged, missing, this.#moved + broken.length + unknown.length);
    const isLost = Object.values(lost).some((count) => count > 0);
    const changes: Change[] = this.#store.mending();
    for (const groupId of unknown) changes.push(...forgetKeys({ groupId }));
    if (missing > 0) changes.push(context.contacts.countChange());
    if (changes.length > 0) await context.write(changes);
    for (const { record } of broken) {
      // A device that takes the place of another is in nothing that the relay could name.
      if (record.status === "invited" && record.subject.kind === "group") await askAgain(record);
      await registry.get(record.groupId)?.step((step) => {
        const { groupId } = step.record;
        step.change({ delete: layout.epoch(groupId) }, { deletePrefix: layout.ratchets(groupId) });
        step.change(placeChange(step.record, step.place));
        loseKeys(context, step, "store-damaged");
      });
    }
    damaged.clear();
    if (!newDevice && !isLost) return;
    context.emit("storeRecovered", { reason: this.#reason ?? "damaged", newDevice, lost });
  }
}

const encodeTime = (writer: Writer, time: number): void => void writer.uint53(time);

const decodeTime = (reader: Reader): number => reader.uint53();
