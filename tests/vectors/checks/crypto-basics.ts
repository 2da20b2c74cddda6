import { fromHex, toHex } from "../../../src/base/encoding.js";
import { importDhPrivateKey } from "../../../src/crypto/p256.js";
import { importSignaturePrivateKey } from "../../../src/crypto/signature.js";
import {
  decryptWithLabel,
  deriveSecret,
  deriveTreeSecret,
  encryptWithLabel,
  expandWithLabel,
  refHash,
  signWithLabel,
  verifyWithLabel,
} from "../../../src/mls/labels.js";

type Fields<S extends string, N extends string = never> = Readonly<Record<S, string> & Record<N, number>>;

export interface Entry {
  readonly ref_hash: Fields<"label" | "value" | "out">;
  readonly expand_with_label: Fields<"secret" | "label" | "context" | "out", "length">;
  readonly derive_secret: Fields<"secret" | "label" | "out">;
  readonly derive_tree_secret: Fields<"secret" | "label" | "out", "generation" | "length">;
  readonly sign_with_label: Fields<"priv" | "pub" | "content" | "label" | "signature">;
  readonly encrypt_with_label: Fields<
    "priv" | "pub" | "label" | "context" | "plaintext" | "kem_output" | "ciphertext"
  >;
}

function expectHex(what: string, actual: Uint8Array, expected: string): void {
  if (toHex(actual) !== expected) throw new Error(`${what}: ${toHex(actual)}, not ${expected}`);
}

/** crypto-basics.json: the labelled operations of RFC 9420 §5 and §8. */
export async function check(entry: Entry): Promise<void> {
  const ref = entry.ref_hash;
  expectHex("ref_hash", await refHash(ref.label, fromHex(ref.value)), ref.out);

  const expand = entry.expand_with_label;
  const expanded = expandWithLabel(
    fromHex(expand.secret),
    expand.label,
    fromHex(expand.context),
    expand.length,
  );
  expectHex("expand_with_label", await expanded, expand.out);

  const derive = entry.derive_secret;
  expectHex("derive_secret", await deriveSecret(fromHex(derive.secret), derive.label), derive.out);

  const tree = entry.derive_tree_secret;
  const treeSecret = deriveTreeSecret(fromHex(tree.secret), tree.label, tree.generation, tree.length);
  expectHex("derive_tree_secret", await treeSecret, tree.out);

  const signing = entry.sign_with_label;
  const [publicKey, content] = [fromHex(signing.pub), fromHex(signing.content)];
  const own = await signWithLabel(
    await importSignaturePrivateKey(fromHex(signing.priv)),
    signing.label,
    content,
  );
  for (const signature of [fromHex(signing.signature), own]) {
    const valid = await verifyWithLabel(publicKey, signing.label, content, signature);
    if (!valid) throw new Error("sign_with_label: signature refused");
  }

  const sealing = entry.encrypt_with_label;
  const [recipient, context] = [fromHex(sealing.pub), fromHex(sealing.context)];
  const scalar = fromHex(sealing.priv);
  const given = { kemOutput: fromHex(sealing.kem_output), ciphertext: fromHex(sealing.ciphertext) };
  const sealed = await encryptWithLabel(recipient, sealing.label, context, fromHex(sealing.plaintext));
  for (const privateKey of [scalar, await importDhPrivateKey(scalar)]) {
    for (const ciphertext of [given, sealed]) {
      const opened = decryptWithLabel(
        { privateKey, publicKey: recipient },
        sealing.label,
        context,
        ciphertext,
      );
      expectHex("encrypt_with_label", await opened, sealing.plaintext);
    }
  }
}
