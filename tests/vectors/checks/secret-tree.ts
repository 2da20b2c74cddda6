import { fromHex, toHex } from "../../../src/base/encoding.js";
import { deriveSenderDataKey } from "../../../src/mls/framing/sender-data.js";
import { decodeRatchets, encodeRatchets, SecretTree } from "../../../src/mls/schedule/secret-tree.js";
import { toLeafIndex } from "../../../src/mls/structs/indices.js";

type GenerationField = "handshake_key" | "handshake_nonce" | "application_key" | "application_nonce";

export interface Entry {
  readonly encryption_secret: string;
  readonly sender_data: Readonly<Record<"sender_data_secret" | "ciphertext" | "key" | "nonce", string>>;
  readonly leaves: readonly (readonly (Readonly<Record<GenerationField, string>> & {
    readonly generation: number;
  })[])[];
}

/** secret-tree.json: sender data keys, and keys of chosen generations of every leaf. */
export async function check(entry: Entry): Promise<void> {
  const { sender_data_secret, ciphertext, key, nonce } = entry.sender_data;
  const senderData = await deriveSenderDataKey(fromHex(sender_data_secret), fromHex(ciphertext));
  if (toHex(senderData.key) !== key || toHex(senderData.nonce) !== nonce) throw new Error("sender data key");

  let tree = SecretTree.create(fromHex(entry.encryption_secret), entry.leaves.length, { maxForward: 1e6 });
  const stored = new Map<string, Uint8Array<ArrayBuffer>>();
  const store = (changes: ReturnType<typeof encodeRatchets>) => {
    for (const change of changes) {
      if (change.value === undefined) stored.delete(change.key);
      else stored.set(change.key, change.value);
    }
  };
  store(encodeRatchets(tree));
  for (const [leaf, generations] of entry.leaves.entries()) {
    for (const expected of generations) {
      for (const kind of ["handshake", "application"] as const) {
        const taken = await tree.at(toLeafIndex(leaf), kind, expected.generation);
        const { messageKey } = taken;
        if (
          toHex(messageKey.key) !== expected[`${kind}_key`] ||
          toHex(messageKey.nonce) !== expected[`${kind}_nonce`]
        ) {
          throw new Error(`${kind} key of leaf ${leaf}, generation ${expected.generation}`);
        }
        store(taken.changes);
        tree = taken.tree;
      }
    }
    // The records that the changes left say the same as the tree.
    tree = decodeRatchets(stored, entry.leaves.length, { maxForward: 1e6 });
  }
}
