import { type Bytes, EMPTY } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { aeadSeal } from "../../crypto/aead.js";
import { encryptWithLabel, makeKeyPackageRef } from "../labels.js";
import { deriveWelcomeKey } from "../schedule/key-schedule.js";
import type { LeafIndex, NodeIndex } from "../structs/indices.js";
import type { KeyPackage } from "../structs/key-package.js";
import { encodeMlsMessage } from "../structs/message.js";
import type { PreSharedKeyId } from "../structs/psk.js";
import { CIPHER_SUITE } from "../structs/registry.js";
import {
  type EncryptedGroupSecrets,
  encodeGroupInfo,
  encodeGroupSecrets,
  type GroupInfo,
} from "../structs/welcome.js";
import { commonAncestor, leafToNode } from "../tree/math.js";

/** What a committer knows that the new members need. */
export interface WelcomeParts {
  readonly groupInfo: GroupInfo;
  readonly joinerSecret: Bytes;
  readonly welcomeSecret: Bytes;
  readonly committer: LeafIndex;
  readonly added: readonly { readonly leafIndex: LeafIndex; readonly keyPackage: KeyPackage }[];
  /** Undefined when the commit has no path. */
  readonly pathSecrets: ReadonlyMap<NodeIndex, Bytes> | undefined;
  readonly psks: readonly PreSharedKeyId[];
}

/** RFC 9420 §12.4.3.1. One Welcome, an MLSMessage, for all members added by a commit. */
export async function makeWelcome(parts: WelcomeParts): Promise<Bytes> {
  const { key, nonce } = await deriveWelcomeKey(parts.welcomeSecret);
  const encryptedGroupInfo = await aeadSeal(key, nonce, EMPTY, encode(encodeGroupInfo, parts.groupInfo));
  const { joinerSecret, pathSecrets, psks } = parts;
  const secrets = await Promise.all(
    parts.added.map(async ({ leafIndex, keyPackage }): Promise<EncryptedGroupSecrets> => {
      const ancestor = commonAncestor(leafToNode(parts.committer), leafToNode(leafIndex));
      const pathSecret = pathSecrets?.get(ancestor);
      const groupSecrets = encode(encodeGroupSecrets, { joinerSecret, pathSecret, psks });
      const [newMember, encryptedGroupSecrets] = await Promise.all([
        makeKeyPackageRef(keyPackage),
        encryptWithLabel(keyPackage.initKey, "Welcome", encryptedGroupInfo, groupSecrets),
      ]);
      return { newMember, encryptedGroupSecrets };
    }),
  );
  const welcome = { cipherSuite: CIPHER_SUITE, secrets, encryptedGroupInfo };
  return encode(encodeMlsMessage, { wireFormat: "welcome", welcome });
}
