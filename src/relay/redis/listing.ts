import type { Bytes } from "../../base/bytes.js";
import { fromHex, fromUtf8 } from "../../base/encoding.js";
import type { Account } from "../../wire/identity.js";
import { accountRecord } from "../embedded/accounts.js";
import { groupLog } from "../embedded/groups.js";
import { keys } from "../embedded/keys.js";
import { groupInfo, membersIn } from "../embedded/listing.js";
import { EMPTY_HEAD, headRecord } from "../embedded/records.js";
import { refuse } from "../embedded/transaction.js";
import type { GroupInfo, Page, PageCommand, Sender } from "../storage.js";
import type { Groups } from "./groups.js";
import type { ScanPlace } from "./link.js";
import { globEscape, partsOf } from "./places.js";
import type { RecordsLink } from "./records-link.js";

/** Fewer keys than this are not worth a round trip. */
const MIN_COUNT = 100;

/** Lists of all there is: by going through Redis' keys, which needs no list that many writers would have to keep. */
export class Listing {
  readonly #records: RecordsLink;
  readonly #groups: Groups;

  constructor(records: RecordsLink, groups: Groups) {
    this.#records = records;
    this.#groups = groups;
  }

  users(page: PageCommand): Promise<Page<Account>> {
    return this.#page("a", "u", page, async (id) => {
      const bytes = await this.#records.get(keys.account(fromUtf8(id)));
      return bytes && accountRecord.decode(bytes);
    });
  }

  groups(page: PageCommand): Promise<Page<GroupInfo>> {
    return this.#page("g", "g", page, async (groupId) => {
      const [group, head] = await Promise.all([
        this.#groups.get(groupId),
        this.#records.get(keys.head(groupLog(groupId))),
      ]);
      return group && groupInfo(groupId, group, head === undefined ? EMPTY_HEAD : headRecord.decode(head));
    });
  }

  async members(groupId: Bytes): Promise<Sender[]> {
    const prefix = keys.accesses(groupId);
    return membersIn(await this.#records.range(prefix), prefix.length);
  }

  /** Items of the slots whose tags begin with `owner`, from their keys of the kind. */
  async #page<T>(
    kind: string,
    owner: string,
    { after, limit }: PageCommand,
    read: (id: Bytes) => Promise<T | undefined>,
  ): Promise<Page<T>> {
    const { link, names } = this.#records;
    const pattern = `${globEscape(names.prefix)}${kind}{${owner}:*`;
    const count = Math.max(MIN_COUNT, limit);
    let place = after === undefined ? undefined : placeIn(after);
    for (;;) {
      const { keys: found, next } = await link.scan(pattern, place, count);
      const ids = found.map((key) => fromHex(partsOf(key, names.prefix).tag.slice(2)));
      const items = (await Promise.all(ids.map(read))).filter((item) => item !== undefined);
      if (next === undefined) return { items };
      if (items.length > 0) return { items, next: `${next.server}:${next.cursor}` };
      place = next;
    }
  }
}

function placeIn(text: string): ScanPlace {
  const [, server, cursor] =
    /^(\d{1,4}):(\d{1,20})$/.exec(text) ?? refuse("malformed", "no place in this list");
  // Redis counts in 64 bits and fails for more.
  if (BigInt(cursor as string) >= 2n ** 64n) refuse("malformed", "no place in this list");
  return { server: Number(server), cursor: cursor as string };
}
