import type { Bytes } from "../../base/bytes.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import type { Change, StoreSession } from "../../stores/store.js";
import { DEVICE_ID_LENGTH } from "../../wire/protocol.js";
import { layout } from "../layout.js";

/** Of how many devices is remembered that their place was taken. */
const MAX_REPLACED = 16;

/** Devices of this account that are no more, of which it has not been asked yet what they were in. */
export async function replacedDevices(store: StoreSession): Promise<Bytes[]> {
  const stored = await store.get(layout.replaced);
  return stored === undefined
    ? []
    : decode((reader) => reader.vector((r) => r.fixed(DEVICE_ID_LENGTH)), stored);
}

/** The change that notes that the place of this one was taken. */
export async function replacedChange(store: StoreSession, device: Bytes): Promise<Change> {
  const devices = [...(await replacedDevices(store)), device].slice(-MAX_REPLACED);
  const value = encode(
    (writer) => void writer.vector(devices, (w, deviceId) => w.fixed(deviceId)),
    undefined,
  );
  return { put: layout.replaced, value };
}
