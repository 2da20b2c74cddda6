import type { Bytes } from "../base/bytes.js";
import type { Clock } from "../base/clock.js";
import type { SubrosaError } from "../base/errors.js";
import type { Change, StoreSession } from "../stores/store.js";
import type { Conversation } from "./conversation/conversation.js";
import type { AccountWatch } from "./conversation/gossip/account-watch.js";
import type { Gossip } from "./conversation/gossip/gossip.js";
import type { Journal } from "./conversation/repair/journal.js";
import type { Outbox } from "./conversation/sending/outbox.js";
import type { Delivery } from "./delivery/delivery.js";
import type { Expiries } from "./delivery/expiries.js";
import type { Failures } from "./delivery/failures.js";
import type { History } from "./delivery/history.js";
import type { Removal } from "./delivery/removal.js";
import type { EventName, RaisedEvents } from "./events.js";
import type { Contacts } from "./identity/contacts.js";
import type { KeyPackages } from "./identity/key-packages.js";
import type { OwnIdentity } from "./identity/own-identity.js";
import type { RelaySession } from "./session/relay-session.js";
import type { Signals } from "./signals/signals.js";

/**
 * A change of the store with what follows from it in memory. Memory changes only once the store has: a write that
 * fails, or that is never made, leaves both as they were.
 */
export type Effect = Change & { readonly applied?: () => void };

/** What all parts of one opened client share. */
export interface Context {
  readonly store: StoreSession;
  /** Writes durably in one transaction, then carries out what follows in memory. A failure ends the client. */
  readonly write: (changes: readonly Effect[]) => Promise<void>;
  readonly clock: Clock;
  /** Random bytes for ids, injected so that a simulation owns them. */
  readonly randomId: (length: number) => Bytes;
  /** From 0 up to, not including, 1; for jitter. */
  readonly random: () => number;
  readonly identity: OwnIdentity;
  readonly contacts: Contacts;
  readonly keyPackages: KeyPackages;
  readonly outbox: Outbox;
  readonly journal: Journal;
  readonly delivery: Delivery;
  readonly failures: Failures;
  readonly history: History;
  readonly removal: Removal;
  readonly expiries: Expiries;
  /** What stands for these bytes in the store's keys, which are not encrypted. */
  readonly privateTag: (bytes: Bytes) => Promise<string>;
  readonly relay: RelaySession;
  /** Which receipts this client sends. */
  readonly ack: { readonly direct: boolean; readonly group: boolean };
  /** After how many milliseconds of silence an admin's client removes a member. */
  readonly evictIdleAfter: number;
  readonly gossip: Gossip;
  readonly accounts: AccountWatch;
  readonly signals: Signals;
  readonly emit: <Name extends EventName>(name: Name, event: RaisedEvents[Name]) => void;
  /** Whether this device is stranded in a group of the name, of which another takes the place. */
  readonly isBegunAnew: (name: string) => boolean;
  /** Whether another group than this one has the name here. */
  readonly isNameBound: (name: string, groupId: Bytes) => boolean;
  readonly conversationEnded: (conversation: Conversation) => void;
  /** The keys of a group are of use again: what was asked of its members is not wanted any more. */
  readonly repaired: (conversation: Conversation) => void;
  /** The keys of a group are of no use any more: its members are asked to add this device anew. */
  readonly repair: (groupId: Bytes) => void;
  /** A group was closed in which this device waits to be repaired. */
  readonly closedWhileRepairing: (groupId: Bytes, isDeleted?: boolean) => void;
  /** Work that nobody waits for: its failure is reported, unless the session ended, which the next one mends. */
  readonly background: (work: Promise<unknown>) => void;
  /** Members, roles or status of a group have changed: whether its request box is followed may have too. */
  readonly groupChanged: (groupId: Bytes) => void;
  /** The store is an older copy: the client ends, and this state never connects again. */
  readonly outdated: (error: SubrosaError) => void;
  /** Reports what went wrong in work that nobody waits for. */
  readonly report: (error: unknown) => void;
}
