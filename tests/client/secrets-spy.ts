import { copyBytes } from "../../src/base/bytes.js";
import { fromHex } from "../../src/base/encoding.js";
import { decodeEpochRecord } from "../../src/client/conversation/record.js";
import { KeyPackages } from "../../src/client/identity/key-packages.js";
import type { OwnIdentity } from "../../src/client/identity/own-identity.js";
import { decode } from "../../src/codec/reader.js";
import { decodeGroup } from "../../src/mls/group/index.js";
import type { Store, StoreSession } from "../../src/stores/store.js";
import type { Needle } from "./secrets-search.js";

/** A store that notes every secret on its way into another one. */
export class Spy {
  readonly needles = new Map<string, Needle>();
  /** Every value as the client wrote it. */
  readonly values: Uint8Array[] = [];
  readonly #owner: string;
  readonly #ratchets = new Map<string, Uint8Array<ArrayBuffer>>();

  constructor(owner: string) {
    this.#owner = owner;
  }

  #note(kind: string, bytes: Uint8Array | undefined): void {
    if (bytes === undefined || bytes.length === 0) return;
    const name = `${kind} of ${this.#owner}`;
    this.needles.set(`${name} ${Buffer.from(bytes).toString("hex")}`, { name, bytes: copyBytes(bytes) });
  }

  over(store: Store): Store {
    return {
      open: async (name, options) => {
        const session = await store.open(name, options);
        const write = session.write.bind(session);
        session.write = async (changes) => {
          for (const change of changes) {
            if ("putKey" in change) this.#note("device scalar", await scalarOf(change.privateKey));
            if ("put" in change) await this.#value(change.put, copyBytes(change.value));
          }
          for (const change of changes) if ("put" in change) this.#epoch(change.put, copyBytes(change.value));
          await write(changes);
        };
        return session;
      },
    };
  }

  async #value(key: string, value: Uint8Array<ArrayBuffer>): Promise<void> {
    this.values.push(value);
    if (key === "account-key") {
      this.#note("account key as PKCS #8", value);
      const algorithm = { name: "ECDSA", namedCurve: "P-256" };
      this.#note(
        "account scalar",
        await scalarOf(await crypto.subtle.importKey("pkcs8", value, algorithm, true, ["sign"])),
      );
    }
    if (key.startsWith("key-package/")) {
      const one = { list: async () => [[key, value]] } as unknown as StoreSession;
      const packages = await KeyPackages.load(one, async () => {}, {} as OwnIdentity);
      const bundle = packages.find(fromHex(key.slice("key-package/".length)));
      this.#note("init key", bundle?.initPrivateKey);
      this.#note("key package's leaf key", bundle?.encryptionPrivateKey);
    }
    if (key.startsWith("ratchet/")) {
      const [, group, ...rest] = key.split("/");
      this.#ratchets.set(`${group}/${rest.join("/")}`, value);
      // A secret of the tree stands alone, that of a ratchet behind its generation and its own length.
      this.#note(
        value.length === 32 ? "tree secret" : "ratchet secret",
        value.length === 32 ? value : value.subarray(5, 37),
      );
    }
  }

  #epoch(key: string, value: Uint8Array<ArrayBuffer>): void {
    if (!key.startsWith("epoch/")) return;
    const group = key.slice("epoch/".length);
    const ratchets = [...this.#ratchets].flatMap(([name, bytes]) =>
      name.startsWith(`${group}/`) ? [[name.slice(group.length + 1), bytes] as const] : [],
    );
    const state = decodeGroup(decode(decodeEpochRecord, value).epoch, ratchets);
    for (const [name, secret] of Object.entries(state.secrets)) this.#note(name, secret);
    for (const secret of state.privateKeys.values()) this.#note("tree's private key", secret);
    for (const { psk } of state.resumptionPsks) this.#note("resumption psk", psk);
  }
}

async function scalarOf(key: CryptoKey): Promise<Uint8Array> {
  const { d } = await crypto.subtle.exportKey("jwk", key);
  return copyBytes(Buffer.from(d as string, "base64url"));
}
