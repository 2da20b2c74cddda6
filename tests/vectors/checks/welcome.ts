import { EMPTY } from "../../../src/base/bytes.js";
import { fromHex, toHex } from "../../../src/base/encoding.js";
import { decode } from "../../../src/codec/reader.js";
import { aeadOpen } from "../../../src/crypto/aead.js";
import { decryptWithLabel, makeKeyPackageRef, verifyWithLabel } from "../../../src/mls/labels.js";
import {
  deriveEpoch,
  deriveWelcomeKey,
  deriveWelcomeSecret,
} from "../../../src/mls/schedule/key-schedule.js";
import { derivePskSecret } from "../../../src/mls/schedule/psk-secret.js";
import { verifyConfirmationTag } from "../../../src/mls/schedule/transcript.js";
import { decodeMlsMessage } from "../../../src/mls/structs/message.js";
import { decodeGroupInfo, decodeGroupSecrets, groupInfoTbs } from "../../../src/mls/structs/welcome.js";
import { same } from "./same.js";

interface Entry {
  init_priv: string;
  signer_pub: string;
  key_package: string;
  welcome: string;
}

/** test-vectors.md, "Welcome". */
export async function check(entry: Entry): Promise<void> {
  const package_ = decode(decodeMlsMessage, fromHex(entry.key_package));
  const message = decode(decodeMlsMessage, fromHex(entry.welcome));
  if (package_.wireFormat !== "key_package" || message.wireFormat !== "welcome")
    throw new Error("wrong kind");
  const { keyPackage } = package_;
  const { welcome } = message;
  const ref = toHex(await makeKeyPackageRef(keyPackage));
  const item = welcome.secrets.find(({ newMember }) => toHex(newMember) === ref);
  if (item === undefined) throw new Error("no secrets for the key package");
  const keyPair = { privateKey: fromHex(entry.init_priv), publicKey: keyPackage.initKey };
  const { encryptedGroupInfo } = welcome;
  const secrets = decode(
    decodeGroupSecrets,
    await decryptWithLabel(keyPair, "Welcome", encryptedGroupInfo, item.encryptedGroupSecrets),
  );
  same([secrets.pathSecret ?? null, secrets.psks.length], [null, 0], "path secret and PSKs");
  const noPsk = await derivePskSecret([]);
  const { key, nonce } = await deriveWelcomeKey(await deriveWelcomeSecret(secrets.joinerSecret, noPsk));
  const info = decode(decodeGroupInfo, await aeadOpen(key, nonce, EMPTY, encryptedGroupInfo));
  const signer = fromHex(entry.signer_pub);
  const isSigned = await verifyWithLabel(signer, "GroupInfoTBS", groupInfoTbs(info), info.signature);
  same(isSigned, true, "signature of the GroupInfo");
  const { groupContext, confirmationTag } = info;
  const epoch = await deriveEpoch(secrets.joinerSecret, noPsk, groupContext);
  const { confirmationKey } = epoch.secrets;
  const confirmed = groupContext.confirmedTranscriptHash;
  same(await verifyConfirmationTag(confirmationKey, confirmed, confirmationTag), true, "confirmation tag");
}
