import type { Bytes } from "../../base/bytes.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { decodeEntryContent, decodeEntryKind, encodeEntryContent } from "../../wire/entries.js";
import {
  type Cursor,
  decodeCursor,
  decodeName,
  encodeCursor,
  encodeName,
  START,
} from "../../wire/identifiers.js";
import {
  DEVICE_ID_LENGTH,
  DIGEST_LENGTH,
  ENTRY_ID_LENGTH,
  GROUP_ID_LENGTH,
  PUBLIC_KEY_LENGTH,
  type Role,
} from "../../wire/protocol.js";
import type { DirectBinding, KeyPackageUpload } from "../../wire/requests.js";
import type { Access, LogHead, StoredEntry } from "../storage.js";

/** How one kind of record is kept. Records begin with a format number so that later versions can read them. */
export interface RecordType<T> {
  encode(value: T): Bytes;
  decode(bytes: Uint8Array): T;
}

const FORMAT = 1;

function record<T>(write: (writer: Writer, value: T) => void, read: (reader: Reader) => T): RecordType<T> {
  return {
    encode: (value) => encode((writer) => write(writer.u8(FORMAT), value), undefined),
    decode: (bytes) =>
      decode(
        (reader) => (reader.u8() === FORMAT ? read(reader) : reader.fail("unknown format of record")),
        bytes,
      ),
  };
}

const flag = (value: boolean) => (value ? 1 : 0);

/** A log's head with what only the storage needs. */
export interface HeadRecord extends LogHead {
  /** The last handshake entry. */
  readonly handshake: Cursor;
  /** Entries whose content is still there, and the bytes of these contents. */
  readonly count: number;
  readonly bytes: number;
}

export const EMPTY_HEAD: HeadRecord = {
  first: 1,
  tail: START.digest,
  seq: 0,
  digest: START.digest,
  handshake: START,
  closed: false,
  count: 0,
  bytes: 0,
};

export const headRecord = record<HeadRecord>(
  (writer, head) => {
    writer.uint53(head.first).fixed(head.tail).uint53(head.seq).fixed(head.digest);
    encodeCursor(writer, head.handshake);
    writer.u8(flag(head.closed)).uint53(head.count).uint53(head.bytes);
  },
  (reader) => ({
    first: reader.uint53(),
    tail: reader.fixed(DIGEST_LENGTH),
    seq: reader.uint53(),
    digest: reader.fixed(DIGEST_LENGTH),
    handshake: decodeCursor(reader),
    closed: reader.u8() === 1,
    count: reader.uint53(),
    bytes: reader.uint53(),
  }),
);

export const entryRecord = record<StoredEntry>(
  (writer, entry) => {
    writer
      .uint53(entry.seq)
      .u8(entry.kind)
      .fixed(entry.entryId)
      .fixed(entry.digest)
      .fixed(entry.contentDigest);
    writer.fixed(entry.sender).uint53(entry.time).optional(entry.content, encodeEntryContent);
  },
  (reader) => {
    const entry = {
      seq: reader.uint53(),
      kind: decodeEntryKind(reader),
      entryId: reader.fixed(ENTRY_ID_LENGTH),
      digest: reader.fixed(DIGEST_LENGTH),
      contentDigest: reader.fixed(DIGEST_LENGTH),
      sender: reader.fixed(DEVICE_ID_LENGTH),
      time: reader.uint53(),
    };
    const content = reader.optional(decodeEntryContent);
    return content ? { ...entry, content } : entry;
  },
);

/** What an entry id was used for. */
export interface EntryIdRecord {
  readonly cursor: Cursor;
  readonly contentDigest: Bytes;
}

export const entryIdRecord = record<EntryIdRecord>(
  (writer, value) => {
    encodeCursor(writer, value.cursor);
    writer.fixed(value.contentDigest);
  },
  (reader) => ({ cursor: decodeCursor(reader), contentDigest: reader.fixed(DIGEST_LENGTH) }),
);

/** A device's access with what it acked. */
export interface AccessRecord extends Access {
  readonly acked: number;
  /** A device without role `admin` added it, and as no admin, so that any member may remove it. */
  readonly byMember: boolean;
}

export const accessRecord = record<AccessRecord>(
  (writer, access) => {
    encodeName(writer, access.userId);
    encodeCursor(writer.u8(access.role), access.since);
    encodeCursor(writer, access.from);
    writer.optional(access.until, encodeCursor).uint53(access.leavingSince).uint53(access.acked);
    writer.u8(flag(access.byMember)).u8(flag(access.removalAsked));
    writer.vector(access.earlier, (w, { from, until, leavingSince }) => {
      encodeCursor(w, from);
      encodeCursor(w, until);
      w.uint53(leavingSince);
    });
  },
  (reader) => {
    const userId = decodeName(reader);
    const role = reader.u8() as Role;
    const since = decodeCursor(reader);
    const from = decodeCursor(reader);
    const until = reader.optional(decodeCursor);
    const rest = { leavingSince: reader.uint53(), acked: reader.uint53() };
    const flags = { byMember: reader.u8() === 1, removalAsked: reader.u8() === 1 };
    const earlier = reader.vector((r) => {
      return { from: decodeCursor(r), until: decodeCursor(r), leavingSince: r.uint53() };
    });
    return { userId, role, since, from, ...rest, ...flags, earlier, ...(until && { until }) };
  },
);

/** A group: who made it with which request, what it was answered, and which names it took. */
export interface GroupRecord {
  readonly creator: Bytes;
  readonly bodyDigest: Bytes;
  readonly answer: Cursor;
  /** Hashes. */
  readonly names: readonly Bytes[];
  /** How often a name that was claimed for it was taken back, where that is not one step. */
  readonly disowned: number;
  /** Whether there may be devices whose removal members have asked for. */
  readonly removalsAsked: boolean;
  /** The two users of a direct conversation. */
  readonly direct?: readonly [string, string];
}

export const groupRecord = record<GroupRecord>(
  (writer, group) => {
    writer.fixed(group.creator).fixed(group.bodyDigest);
    encodeCursor(writer, group.answer);
    writer.vector(group.names, (w, hash) => w.fixed(hash)).uint53(group.disowned);
    writer.u8(flag(group.removalsAsked));
    writer.optional(group.direct, (w, users) => users.forEach((user) => void encodeName(w, user)));
  },
  (reader) => {
    const group = {
      creator: reader.fixed(DEVICE_ID_LENGTH),
      bodyDigest: reader.fixed(DIGEST_LENGTH),
      answer: decodeCursor(reader),
      names: reader.vector((r) => r.fixed(DIGEST_LENGTH)),
      disowned: reader.uint53(),
      removalsAsked: reader.u8() === 1,
    };
    const direct = reader.optional((r): [string, string] => [decodeName(r), decodeName(r)]);
    return direct === undefined ? group : { ...group, direct };
  },
);

/** A device id and whose it is. It stays taken when its user is removed. */
export interface DeviceRecord {
  readonly userId: string;
  /** The account's that first listed it. */
  readonly accountKey: Bytes;
  readonly removed: boolean;
  readonly incarnation: number;
  /** Empty before the device's first session. */
  readonly incarnationTag: Bytes;
}

export const deviceRecord = record<DeviceRecord>(
  (writer, device) => {
    encodeName(writer, device.userId);
    writer
      .fixed(device.accountKey)
      .u8(flag(device.removed))
      .uint53(device.incarnation)
      .opaque(device.incarnationTag);
  },
  (reader) => ({
    userId: decodeName(reader),
    accountKey: reader.fixed(PUBLIC_KEY_LENGTH),
    removed: reader.u8() === 1,
    incarnation: reader.uint53(),
    incarnationTag: reader.opaque(),
  }),
);

export const keyPackageRecord = record<KeyPackageUpload>(
  (writer, upload) => void writer.uint53(upload.notAfter).opaque(upload.keyPackage),
  (reader) => ({ notAfter: reader.uint53(), keyPackage: reader.opaque() }),
);

export const directRecord = record<DirectBinding>(
  (writer, binding) => void writer.uint53(binding.generation).fixed(binding.groupId),
  (reader) => ({ generation: reader.uint53(), groupId: reader.fixed(GROUP_ID_LENGTH) }),
);

export const groupIdRecord = record<Bytes>(
  (writer, groupId) => void writer.fixed(groupId),
  (reader) => reader.fixed(GROUP_ID_LENGTH),
);

/** That a device finds a group in its list. */
export interface MembershipRecord {
  /** The group's entry as of which it does. */
  readonly seq: number;
  /** The device made the group and has not left it: it counts against what a device may make. */
  readonly made: boolean;
}

export const membershipRecord = record<MembershipRecord>(
  (writer, { seq, made }) => void writer.uint53(seq).u8(flag(made)),
  (reader) => ({ seq: reader.uint53(), made: reader.u8() === 1 }),
);

/** The newest pointer to a group in a device's inbox, of which there is no other. */
export interface PointerRecord {
  /** Its place in the inbox. */
  readonly seq: number;
  /** The commit that it points to. */
  readonly at: number;
}

export const pointerRecord = record<PointerRecord>(
  (writer, { seq, at }) => void writer.uint53(seq).uint53(at),
  (reader) => ({ seq: reader.uint53(), at: reader.uint53() }),
);

export const seqRecord = record<number>(
  (writer, seq) => void writer.uint53(seq),
  (reader) => reader.uint53(),
);

/** A blob without its chunks. */
export interface BlobRecord {
  /** The user who uploads it. */
  readonly owner: string;
  /** Chunks that are there, and the number after the greatest of their indices. */
  readonly chunks: number;
  readonly end: number;
  readonly bytes: number;
  readonly finished: boolean;
  /** When something came last. */
  readonly time: number;
}

export const blobRecord = record<BlobRecord>(
  (writer, blob) => {
    encodeName(writer, blob.owner);
    writer.uint53(blob.chunks).uint53(blob.end).uint53(blob.bytes).u8(flag(blob.finished)).uint53(blob.time);
  },
  (reader) => ({
    owner: decodeName(reader),
    chunks: reader.uint53(),
    end: reader.uint53(),
    bytes: reader.uint53(),
    finished: reader.u8() === 1,
    time: reader.uint53(),
  }),
);

/** A blob that nobody has any more: of its chunks, those from `next` on are still there. */
export const buriedRecord = record<{ readonly next: number; readonly end: number }>(
  (writer, { next, end }) => void writer.uint53(next).uint53(end),
  (reader) => ({ next: reader.uint53(), end: reader.uint53() }),
);

/** What blobs take, of one user or all. */
export const usageRecord = record<{ readonly blobs: number; readonly bytes: number }>(
  (writer, { blobs, bytes }) => void writer.uint53(blobs).uint53(bytes),
  (reader) => ({ blobs: reader.uint53(), bytes: reader.uint53() }),
);
