import type { Bytes } from "../../base/bytes.js";
import { asBytes } from "../../base/bytes.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import { decodeEntryContent, type EntryContent, encodeEntryContent } from "../../wire/entries.js";
import { DEVICE_ID_LENGTH, DIGEST_LENGTH, GROUP_ID_LENGTH } from "../../wire/protocol.js";

/**
 * What a change in a group's slot asks of other slots. It is kept with the change until it is done, and may be done
 * several times and by several nodes.
 */
export type Errand =
  /** An entry of the relay's own, in a device's inbox. */
  | {
      readonly type: "entry";
      readonly deviceId: Bytes;
      readonly time: number;
      readonly content: EntryContent;
    }
  /** Whether the device is to find the group in its list, as of the group's entry `seq`. */
  | {
      readonly type: "membership";
      readonly deviceId: Bytes;
      readonly groupId: Bytes;
      readonly seq: number;
      readonly member: boolean;
      /** See `MembershipRecord`. */
      readonly made: boolean;
    }
  /** The group's name is free. */
  | { readonly type: "name"; readonly nameHash: Bytes; readonly groupId: Bytes };

export function encodeErrand(errand: Errand): Buffer {
  const bytes = encode((writer, value: Errand) => {
    switch (value.type) {
      case "entry":
        writer.u8(1).fixed(value.deviceId).uint53(value.time);
        encodeEntryContent(writer, value.content);
        break;
      case "membership":
        writer.u8(2).fixed(value.deviceId).fixed(value.groupId).uint53(value.seq);
        writer.u8(value.member ? 1 : 0).u8(value.made ? 1 : 0);
        break;
      case "name":
        writer.u8(3).fixed(value.nameHash).fixed(value.groupId);
    }
  }, errand);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function read(reader: Reader): Errand {
  const type = reader.u8();
  if (type === 1) {
    const deviceId = reader.fixed(DEVICE_ID_LENGTH);
    return { type: "entry", deviceId, time: reader.uint53(), content: decodeEntryContent(reader) };
  }
  if (type === 2) {
    const ids = { deviceId: reader.fixed(DEVICE_ID_LENGTH), groupId: reader.fixed(GROUP_ID_LENGTH) };
    const seq = reader.uint53();
    return { type: "membership", ...ids, seq, member: reader.u8() === 1, made: reader.u8() === 1 };
  }
  if (type !== 3) return reader.fail("unknown kind of errand");
  return { type: "name", nameHash: reader.fixed(DIGEST_LENGTH), groupId: reader.fixed(GROUP_ID_LENGTH) };
}

export const decodeErrand = (item: Buffer): Errand => decode(read, asBytes(new Uint8Array(item)));
