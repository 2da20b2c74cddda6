import type { Bytes } from "../../../base/bytes.js";
import { decode, type Reader } from "../../../codec/reader.js";
import { encode, type Writer } from "../../../codec/writer.js";
import type { Change } from "../../../stores/store.js";
import { decodeName, encodeName } from "../../../wire/identifiers.js";
import { DIGEST_LENGTH } from "../../../wire/protocol.js";
import type { Context, Effect } from "../../context.js";
import { DAY, layout } from "../../layout.js";

/** How long it is kept that a member named something else. */
const EVIDENCE_KEPT_FOR = 400 * DAY;

/** What a member said that is not what this device has. */
export interface NotedClaim {
  readonly from: string;
  /** The epoch, or the version of a device list, that it said it of. */
  readonly at: number;
  readonly theirs: Bytes;
  /** Milliseconds since 1970 when it was found. */
  readonly time: number;
}

/** That members named another history of a group, or another device list of a user, than this device has. */
export interface Equivocation {
  /** The device list known here; absent where the record is of a group's epoch, which names it. */
  readonly list?: { readonly userId: string; readonly version: number };
  /** What it is here; 32 bytes each. */
  readonly own: Bytes;
  readonly claims: readonly NotedClaim[];
}

export function encodeEquivocation(writer: Writer, { list, own, claims }: Equivocation): void {
  writer.u8(1).optional(list, (w, { userId, version }) => {
    encodeName(w, userId);
    w.uint53(version);
  });
  writer.fixed(own).vector(claims, (w, { from, at, theirs, time }) => {
    encodeName(w, from);
    w.uint53(at).fixed(theirs).uint53(time);
  });
}

export function decodeEquivocation(reader: Reader): Equivocation {
  if (reader.u8() !== 1) reader.fail("unknown version of equivocation");
  const list = reader.optional((r) => ({ userId: decodeName(r), version: r.uint53() }));
  const own = reader.fixed(DIGEST_LENGTH);
  const claims = reader.vector((r) => ({
    from: decodeName(r),
    at: r.uint53(),
    theirs: r.fixed(DIGEST_LENGTH),
    time: r.uint53(),
  }));
  return { ...(list && { list }), own, claims };
}

/** What members have said of the same. */
export async function notedClaims({ store }: Context, key: string): Promise<readonly NotedClaim[]> {
  const stored = await store.get(key);
  return stored === undefined ? [] : decode(decodeEquivocation, stored).claims;
}

/** Whether a member has named another history of a group within a day. */
export async function hasClaimed(
  { store, clock }: Context,
  groupId: Bytes,
  member: string,
): Promise<boolean> {
  const now = clock.now();
  const isRecent = ({ from, time }: NotedClaim) => from === member && Math.abs(now - time) < DAY;
  const noted = await store.list(layout.equivocationsOf(groupId));
  return noted.some(([, value]) => decode(decodeEquivocation, value).claims.some(isRecent));
}

/**
 * What keeps claims beside those that are there, and what tells the app, once that is durable, of those that are new: there is
 * one of each member.
 */
export async function noteClaims(
  context: Context,
  key: string,
  of: Omit<Equivocation, "claims">,
  claims: readonly Omit<NotedClaim, "time">[],
  group?: string,
): Promise<{ readonly changes: Effect[]; readonly tell: () => void }> {
  const known = await notedClaims(context, key);
  const time = context.clock.now();
  const byMember = new Map(claims.map((claim) => [claim.from, { ...claim, time }]));
  for (const { from } of known) byMember.delete(from);
  const news = [...byMember.values()];
  const alarms = news.map((claim) => context.failures.alarm(of, claim, group));
  const evidence = { put: key, value: encode(encodeEquivocation, { ...of, claims: [...known, ...news] }) };
  return {
    changes: alarms.length === 0 ? [] : [evidence, ...alarms.flatMap(({ changes }) => changes)],
    tell: () => alarms.forEach(({ tell }) => void tell()),
  };
}

/** Forgets evidence that is old. */
export async function pruneEquivocations({ store, clock, write }: Context): Promise<void> {
  const oldest = clock.now() - EVIDENCE_KEPT_FOR;
  const old: Change[] = [];
  for (const [key, value] of await store.list(layout.equivocations)) {
    const { claims } = decode(decodeEquivocation, value);
    if (claims.every(({ time }) => time < oldest)) old.push({ delete: key });
  }
  if (old.length > 0) await write(old);
}
