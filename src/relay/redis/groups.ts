import { type Bytes, equalBytes } from "../../base/bytes.js";
import { directSlot } from "../direct-slot.js";
import { bytesOf, keys } from "../embedded/keys.js";
import { NO_SENDER } from "../embedded/logs.js";
import { hasName } from "../embedded/names.js";
import { directRecord, type GroupRecord, groupIdRecord, groupRecord } from "../embedded/records.js";
import type { ClaimedGroups } from "./claims.js";
import { VOID } from "./group-records.js";
import { groupTag } from "./places.js";
import type { RecordsLink } from "./records-link.js";
import type { Slots } from "./slots.js";

/** Groups as their records tell of them. */
export class Groups implements ClaimedGroups {
  readonly #records: RecordsLink;
  readonly #slots: () => Slots;

  constructor(records: RecordsLink, slots: () => Slots) {
    this.#records = records;
    this.#slots = slots;
  }

  async get(groupId: Bytes): Promise<GroupRecord | undefined> {
    const bytes = await this.#records.get(keys.group(groupId));
    const group = bytes && groupRecord.decode(bytes);
    return group === undefined || equalBytes(group.creator, NO_SENDER) ? undefined : group;
  }

  /** Whether the group in a claim's value was made with the name, or the direct slot, that is claimed. */
  async owns(value: Bytes, key: string): Promise<boolean | undefined> {
    const group = await this.get(groupIdIn(value, key));
    if (group === undefined) return undefined;
    if (key.startsWith("n")) return hasName(group, bytesOf(key, 1));
    const owned = group.direct && (await directSlot(...group.direct));
    return owned !== undefined && equalBytes(owned, bytesOf(key, 1));
  }

  /** A group that is not there can never be made; one that is there has to claim the name anew. */
  prevent(value: Bytes, claimed: string): Promise<boolean> {
    const groupId = groupIdIn(value, claimed);
    const key = keys.group(groupId);
    return this.#slots().run(groupTag(groupId), (transaction) => {
      const known = transaction.get(groupRecord, key);
      if (known === undefined) transaction.put(groupRecord, key, VOID);
      if (known === undefined || equalBytes(known.creator, NO_SENDER)) return true;
      if (!claimed.startsWith("n") || hasName(known, bytesOf(claimed, 1))) return false;
      transaction.put(groupRecord, key, { ...known, disowned: known.disowned + 1 });
      return true;
    });
  }
}

function groupIdIn(value: Bytes, key: string): Bytes {
  return key.startsWith("n") ? groupIdRecord.decode(value) : directRecord.decode(value).groupId;
}
