import { equalBytes } from "../../../src/base/bytes.js";
import { fromHex, toHex } from "../../../src/base/encoding.js";
import { decode } from "../../../src/codec/reader.js";
import { encode } from "../../../src/codec/writer.js";
import { publicKeyOf } from "../../../src/crypto/p256.js";
import { importSignaturePrivateKey, sign, verify } from "../../../src/crypto/signature.js";
import { encodeKeyPackage } from "../../../src/mls/structs/key-package.js";
import { decodeMlsMessage } from "../../../src/mls/structs/message.js";
import {
  decodeGroup,
  encodeEpoch,
  encodeRatchets,
  epochAuthenticator,
  type GroupState,
  joinGroup,
  type KeyPackageBundle,
  makeKeyPackageRef,
  merge,
  type PskSource,
  processMessage,
} from "../../../src/mls.js";
import { same } from "./same.js";

interface Entry {
  external_psks: { psk_id: string; psk: string }[];
  key_package: string;
  signature_priv: string;
  encryption_priv: string;
  init_priv: string;
  welcome: string;
  ratchet_tree: string | null;
  initial_epoch_authenticator: string;
  epochs: { proposals: string[]; commit: string; epoch_authenticator: string }[];
}

async function readBundle(entry: Entry): Promise<KeyPackageBundle> {
  const message = decode(decodeMlsMessage, fromHex(entry.key_package));
  if (message.wireFormat !== "key_package") throw new Error("not a key package");
  const { keyPackage } = message;
  return {
    keyPackage,
    bytes: encode(encodeKeyPackage, keyPackage),
    ref: await makeKeyPackageRef(keyPackage),
    initPrivateKey: fromHex(entry.init_priv),
    encryptionPrivateKey: fromHex(entry.encryption_priv),
  };
}

/** A state as it comes back from a store. */
function reload(state: GroupState): GroupState {
  const records = encodeRatchets(state.secretTree).map(
    ({ key, value }) => [key, value as NonNullable<typeof value>] as const,
  );
  return decodeGroup(encodeEpoch(state), records);
}

/** test-vectors.md, "Passive Client Scenarios"; the state goes through its stored form between epochs. */
export async function check(entry: Entry): Promise<void> {
  const bundle = await readBundle(entry);
  const { leafNode, initKey } = bundle.keyPackage;
  same(toHex(await publicKeyOf(bundle.initPrivateKey)), toHex(initKey), "init key");
  same(
    toHex(await publicKeyOf(bundle.encryptionPrivateKey)),
    toHex(leafNode.encryptionKey),
    "encryption key",
  );
  const privateKey = await importSignaturePrivateKey(fromHex(entry.signature_priv));
  const data = fromHex("00");
  same(await verify(leafNode.signatureKey, await sign(privateKey, data), data), true, "signature key");

  const psks: PskSource = (id) => {
    if (id.pskType !== "external") return undefined;
    const known = entry.external_psks.find(({ psk_id }) => equalBytes(fromHex(psk_id), id.pskId));
    return known && fromHex(known.psk);
  };
  const authenticate = async () => {};
  let state = await joinGroup(fromHex(entry.welcome), bundle, {
    signer: { privateKey, publicKey: leafNode.signatureKey },
    authenticate,
    psks,
    ...(entry.ratchet_tree === null ? {} : { ratchetTree: fromHex(entry.ratchet_tree) }),
  });
  same(toHex(epochAuthenticator(state)), entry.initial_epoch_authenticator, "initial epoch authenticator");
  for (const [i, epoch] of entry.epochs.entries()) {
    for (const proposal of epoch.proposals) {
      const processed = await processMessage(state, fromHex(proposal), { authenticate, psks });
      if (processed.kind !== "proposal") throw new Error(`a proposal of epoch ${i} is a ${processed.kind}`);
      state = reload(processed.state);
    }
    const processed = await processMessage(state, fromHex(epoch.commit), { authenticate, psks });
    if (processed.kind !== "commit") throw new Error(`the commit of epoch ${i} is a ${processed.kind}`);
    state = reload(merge(processed.staged));
    same(toHex(epochAuthenticator(state)), epoch.epoch_authenticator, `epoch authenticator ${i}`);
  }
}
