import { SubrosaError } from "../base/errors.js";
import { checkName, endOfPrefix, type Records, Space } from "./records.js";
import { plainSealing } from "./sealing.js";
import { RecordSession } from "./session.js";
import { SortedMap } from "./sorted-map.js";
import type { Store } from "./store.js";

interface Place {
  readonly values: SortedMap<unknown>;
  readonly keys: SortedMap<unknown>;
  owner: number;
  open: boolean;
}

/**
 * A store in this process's memory: what one session wrote is there for the next one of the same store object and
 * name, and gone when the process ends.
 */
export function memoryStore(): Store {
  const places = new Map<string, Place>();
  return {
    async open(name, options = {}) {
      checkName(name);
      if (options.signal?.aborted) throw new SubrosaError("aborted", "opening the store was aborted");
      let place = places.get(name);
      if (place === undefined) {
        place = { values: new SortedMap(), keys: new SortedMap(), owner: 0, open: false };
        places.set(name, place);
      }
      if (place.open) throw new SubrosaError("store-in-use", "another client has this store open");
      place.open = true;
      place.owner++;
      const firstUse = place.values.size === 0 && place.keys.size === 0;
      const records = placeRecords(place);
      return new RecordSession({ owner: place.owner, firstUse, records, sealing: plainSealing });
    },
  };
}

function placeRecords(place: Place): Records {
  const of = (space: Space) => (space === Space.values ? place.values : place.keys);
  return {
    read: async (space, key) => of(space).get(key),
    range: async (range) => place.values.range(range),
    async commit(changes) {
      for (const change of changes) {
        if (change.kind === "put") of(change.space).set(change.key, change.record);
        for (const map of [place.values, place.keys]) {
          if (change.kind === "delete") map.delete(change.key);
          else if (change.kind === "deletePrefix") map.deleteRange(change.prefix, endOfPrefix(change.prefix));
        }
      }
    },
    async close() {
      place.open = false;
    },
  };
}
