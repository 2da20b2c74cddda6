import { fromHex, toHex } from "../../../src/base/encoding.js";
import { encode } from "../../../src/codec/writer.js";
import { exportFrom } from "../../../src/mls/schedule/exporter.js";
import {
  deriveEpoch,
  deriveExternalKeyPair,
  deriveJoinerSecret,
  deriveWelcomeSecret,
} from "../../../src/mls/schedule/key-schedule.js";
import { encodeGroupContext } from "../../../src/mls/structs/group-context.js";
import { MLS10 } from "../../../src/mls/structs/registry.js";

type EpochField =
  | "tree_hash"
  | "commit_secret"
  | "psk_secret"
  | "confirmed_transcript_hash"
  | "group_context"
  | "joiner_secret"
  | "welcome_secret"
  | "init_secret"
  | "sender_data_secret"
  | "encryption_secret"
  | "exporter_secret"
  | "epoch_authenticator"
  | "external_secret"
  | "confirmation_key"
  | "membership_key"
  | "resumption_psk"
  | "external_pub";

export interface Entry {
  readonly cipher_suite: number;
  readonly group_id: string;
  readonly initial_init_secret: string;
  readonly epochs: readonly (Readonly<Record<EpochField, string>> & {
    readonly exporter: {
      readonly label: string;
      readonly context: string;
      readonly length: number;
      readonly secret: string;
    };
  })[];
}

/** key-schedule.json: the secrets of consecutive epochs. */
export async function check(entry: Entry): Promise<void> {
  let initSecret = fromHex(entry.initial_init_secret);
  for (const [i, epoch] of entry.epochs.entries()) {
    const groupContext = {
      version: MLS10,
      cipherSuite: entry.cipher_suite,
      groupId: fromHex(entry.group_id),
      epoch: BigInt(i),
      treeHash: fromHex(epoch.tree_hash),
      confirmedTranscriptHash: fromHex(epoch.confirmed_transcript_hash),
      extensions: [],
    };
    const joinerSecret = await deriveJoinerSecret(initSecret, fromHex(epoch.commit_secret), groupContext);
    const pskSecret = fromHex(epoch.psk_secret);
    const { secrets, encryptionSecret, welcomeSecret } = await deriveEpoch(
      joinerSecret,
      pskSecret,
      groupContext,
    );
    const { label, context, length, secret } = epoch.exporter;
    const actual: [string, Uint8Array, string][] = [
      ["group_context", encode(encodeGroupContext, groupContext), epoch.group_context],
      ["joiner_secret", joinerSecret, epoch.joiner_secret],
      ["welcome_secret", welcomeSecret, epoch.welcome_secret],
      ["welcome_secret", await deriveWelcomeSecret(joinerSecret, pskSecret), epoch.welcome_secret],
      ["init_secret", secrets.initSecret, epoch.init_secret],
      ["sender_data_secret", secrets.senderDataSecret, epoch.sender_data_secret],
      ["encryption_secret", encryptionSecret, epoch.encryption_secret],
      ["exporter_secret", secrets.exporterSecret, epoch.exporter_secret],
      ["epoch_authenticator", secrets.epochAuthenticator, epoch.epoch_authenticator],
      ["external_secret", secrets.externalSecret, epoch.external_secret],
      ["confirmation_key", secrets.confirmationKey, epoch.confirmation_key],
      ["membership_key", secrets.membershipKey, epoch.membership_key],
      ["resumption_psk", secrets.resumptionPsk, epoch.resumption_psk],
      ["external_pub", (await deriveExternalKeyPair(secrets.externalSecret)).publicKey, epoch.external_pub],
      ["exporter", await exportFrom(secrets.exporterSecret, label, fromHex(context), length), secret],
    ];
    for (const [name, bytes, expected] of actual) {
      if (toHex(bytes) !== expected) throw new Error(`epoch ${i}: ${name}: ${toHex(bytes)}, not ${expected}`);
    }
    initSecret = secrets.initSecret;
  }
}
