import { encodeAuthenticatedContent } from "ts-mls/authenticatedContent.js";
import { lengthEncoder } from "ts-mls/codec/variableLength.js";
import { encodeCommit } from "ts-mls/commit.js";
import { refhash } from "ts-mls/crypto/hash.js";
import { encryptWithLabel } from "ts-mls/crypto/hpke.js";
import { deriveSecret, deriveTreeSecret, expandWithLabel } from "ts-mls/crypto/kdf.js";
import { signWithLabel } from "ts-mls/crypto/signature.js";
import { createConfirmationTag, createContentCommitSignature } from "ts-mls/framedContent.js";
import { encodeGroupContext, type GroupContext } from "ts-mls/groupContext.js";
import { initializeEpoch, mlsExporter } from "ts-mls/keySchedule.js";
import { protect, protectApplicationData, protectProposal } from "ts-mls/messageProtection.js";
import { protectProposalPublic, protectPublicMessage } from "ts-mls/messageProtectionPublic.js";
import { computePskSecret, type PreSharedKeyID } from "ts-mls/presharedkey.js";
import { encodeProposal, type Proposal } from "ts-mls/proposal.js";
import { consumeRatchet, createSecretTree, deriveKey, deriveNonce } from "ts-mls/secretTree.js";
import { expandSenderDataKey, expandSenderDataNonce } from "ts-mls/sender.js";
import { createConfirmedHash, createInterimHash } from "ts-mls/transcriptHash.js";
import * as treemath from "ts-mls/treemath.js";
import { hex, writeMessage } from "./ts-mls-tools.js";
import { SUITE, scalarOf, suite } from "./webcrypto-provider.js";

const CIPHER_SUITE = 2;
const EMPTY = new Uint8Array();
const { kdf, hpke, hash, signature, rng } = suite;
const random = (length = 32) => rng.randomBytes(length);

/** Vector entries by ts-mls alone, in the formats of mlswg/mls-implementations, test-vectors.md. */
export async function cryptoBasics() {
  const [value, secret, context, content, plaintext] = [random(), random(), random(50), random(80), random()];
  const keys = await signature.keygen();
  const pair = await hpke.generateKeyPair();
  const priv = await hpke.exportPrivateKey(pair.privateKey);
  const pub = await hpke.exportPublicKey(pair.publicKey);
  const sealed = await encryptWithLabel(pair.publicKey, "EncryptWithLabel", context, plaintext, hpke);
  return [
    {
      cipher_suite: CIPHER_SUITE,
      ref_hash: { label: "RefHash", value: hex(value), out: hex(await refhash("RefHash", value, hash)) },
      expand_with_label: {
        secret: hex(secret),
        label: "ExpandWithLabel",
        context: hex(context),
        length: 77,
        out: hex(await expandWithLabel(secret, "ExpandWithLabel", context, 77, kdf)),
      },
      derive_secret: {
        secret: hex(secret),
        label: "DeriveSecret",
        out: hex(await deriveSecret(secret, "DeriveSecret", kdf)),
      },
      derive_tree_secret: {
        secret: hex(secret),
        label: "DeriveTreeSecret",
        generation: 0x89abcdef,
        length: 12,
        out: hex(await deriveTreeSecret(secret, "DeriveTreeSecret", 0x89abcdef, 12, kdf)),
      },
      sign_with_label: {
        priv: hex(scalarOf(keys.signKey)),
        pub: hex(keys.publicKey),
        content: hex(content),
        label: "SignWithLabel",
        signature: hex(await signWithLabel(keys.signKey, "SignWithLabel", content, signature)),
      },
      encrypt_with_label: {
        priv: hex(priv),
        pub: hex(pub),
        label: "EncryptWithLabel",
        context: hex(context),
        plaintext: hex(plaintext),
        kem_output: hex(sealed.enc),
        ciphertext: hex(sealed.ct),
      },
    },
  ];
}

export function deserialization() {
  return [0, 1, 63, 64, 65, 16_383, 16_384, 1_000_000, 2 ** 30 - 1].map((length) => {
    const [size, fill] = lengthEncoder(length);
    const header = new ArrayBuffer(size);
    fill(0, header);
    return { vlbytes_header: hex(new Uint8Array(header)), length };
  });
}

export function treeMath() {
  return [1, 2, 4, 8, 16, 32].map((leaves) => {
    const nodes = treemath.nodeWidth(leaves);
    const root = treemath.root(leaves);
    const table = (of: (node: treemath.NodeIndex) => number | null) =>
      Array.from({ length: nodes }, (_, node) => of(treemath.toNodeIndex(node)));
    return {
      n_leaves: leaves,
      n_nodes: nodes,
      root,
      left: table((node) => (treemath.isLeaf(node) ? null : treemath.left(node))),
      right: table((node) => (treemath.isLeaf(node) ? null : treemath.right(node))),
      parent: table((node) => (node === root ? null : treemath.parent(node, leaves))),
      sibling: table((node) => (node === root ? null : treemath.sibling(node, leaves))),
    };
  });
}

function contextOf(groupId: Uint8Array, epoch: bigint): GroupContext {
  return {
    version: "mls10",
    cipherSuite: SUITE,
    groupId,
    epoch,
    treeHash: random(),
    confirmedTranscriptHash: random(),
    extensions: [],
  };
}

export async function keySchedule() {
  const groupId = random(20);
  const initial = random();
  let initSecret = initial;
  const epochs = [];
  for (let epoch = 0n; epoch < 4n; epoch++) {
    const context = contextOf(groupId, epoch);
    const commitSecret = random();
    const pskSecret = epoch === 2n ? new Uint8Array(32) : random();
    const made = await initializeEpoch(initSecret, commitSecret, context, pskSecret, kdf);
    const secrets = made.keySchedule;
    const external = await hpke.deriveKeyPair(secrets.externalSecret);
    const exporter = { label: `label ${epoch}`, context: random(40), length: 20 + Number(epoch) * 15 };
    const { exporterSecret } = secrets;
    const exported = await mlsExporter(
      exporterSecret,
      exporter.label,
      exporter.context,
      exporter.length,
      suite,
    );
    epochs.push({
      tree_hash: hex(context.treeHash),
      commit_secret: hex(commitSecret),
      psk_secret: hex(pskSecret),
      confirmed_transcript_hash: hex(context.confirmedTranscriptHash),
      group_context: hex(encodeGroupContext(context)),
      joiner_secret: hex(made.joinerSecret),
      welcome_secret: hex(made.welcomeSecret),
      init_secret: hex(secrets.initSecret),
      sender_data_secret: hex(secrets.senderDataSecret),
      encryption_secret: hex(made.encryptionSecret),
      exporter_secret: hex(exporterSecret),
      epoch_authenticator: hex(secrets.epochAuthenticator),
      external_secret: hex(secrets.externalSecret),
      confirmation_key: hex(secrets.confirmationKey),
      membership_key: hex(secrets.membershipKey),
      resumption_psk: hex(secrets.resumptionPsk),
      external_pub: hex(await hpke.exportPublicKey(external.publicKey)),
      exporter: { ...exporter, context: hex(exporter.context), secret: hex(exported) },
    });
    initSecret = secrets.initSecret;
  }
  return [{ cipher_suite: CIPHER_SUITE, group_id: hex(groupId), initial_init_secret: hex(initial), epochs }];
}

export async function pskSecret() {
  return Promise.all(
    [0, 1, 2, 5].map(async (count) => {
      const psks = Array.from({ length: count }, (_, i): [PreSharedKeyID, Uint8Array] => [
        { psktype: "external", pskId: random(4 + i), pskNonce: random() },
        random(16 + i),
      ]);
      return {
        cipher_suite: CIPHER_SUITE,
        psks: psks.map(([id, psk]) => ({
          psk_id: id.psktype === "external" ? hex(id.pskId) : "",
          psk: hex(psk),
          psk_nonce: hex(id.pskNonce),
        })),
        psk_secret: hex(await computePskSecret(psks, suite)),
      };
    }),
  );
}

export async function secretTree() {
  return Promise.all(
    [1, 8].map(async (leafCount) => {
      const encryptionSecret = random();
      const leaves = [];
      // Of each leaf, the first generations and a later one.
      const wanted = [0, 1, 7];
      for (let leaf = 0; leaf < leafCount; leaf++) {
        const index = treemath.leafToNodeIndex(treemath.toLeafIndex(leaf));
        let tree = await createSecretTree(leafCount, encryptionSecret, kdf);
        const generations = [];
        for (let generation = 0; generation <= 7; generation++) {
          const node = tree[index];
          if (node === undefined) throw new Error("no ratchets");
          const handshake = node.handshake.secret;
          const application = node.application.secret;
          if (wanted.includes(generation)) {
            generations.push({
              generation,
              handshake_key: hex(await deriveKey(handshake, generation, suite)),
              handshake_nonce: hex(await deriveNonce(handshake, generation, suite)),
              application_key: hex(await deriveKey(application, generation, suite)),
              application_nonce: hex(await deriveNonce(application, generation, suite)),
            });
          }
          tree = (await consumeRatchet(tree, index, "application", suite)).newTree;
          tree = (await consumeRatchet(tree, index, "commit", suite)).newTree;
        }
        leaves.push(generations);
      }
      const [secret, ciphertext] = [random(), random(77)];
      const sender_data = {
        sender_data_secret: hex(secret),
        ciphertext: hex(ciphertext),
        key: hex(await expandSenderDataKey(suite, secret, ciphertext)),
        nonce: hex(await expandSenderDataNonce(suite, secret, ciphertext)),
      };
      return { cipher_suite: CIPHER_SUITE, sender_data, encryption_secret: hex(encryptionSecret), leaves };
    }),
  );
}

export async function transcriptHashes() {
  const context = contextOf(random(5), 0x1234n);
  const keys = await signature.keygen();
  const [before, confirmationKey] = [random(), random()];
  const wireformat = "mls_private_message";
  const { framedContent, signature: made } = await createContentCommitSignature(
    context,
    wireformat,
    {
      proposals: [
        { proposalOrRefType: "proposal", proposal: { proposalType: "remove", remove: { removed: 5 } } },
      ],
      path: undefined,
    },
    { senderType: "member", leafIndex: 3 },
    random(9),
    keys.signKey,
    signature,
  );
  const input = { wireformat, content: framedContent, signature: made } as const;
  const confirmed = await createConfirmedHash(before, input, hash);
  const confirmationTag = await createConfirmationTag(confirmationKey, confirmed, hash);
  const auth = { contentType: "commit", signature: made, confirmationTag } as const;
  return [
    {
      cipher_suite: CIPHER_SUITE,
      confirmation_key: hex(confirmationKey),
      authenticated_content: hex(encodeAuthenticatedContent({ wireformat, content: framedContent, auth })),
      interim_transcript_hash_before: hex(before),
      confirmed_transcript_hash_after: hex(confirmed),
      interim_transcript_hash_after: hex(await createInterimHash(confirmed, confirmationTag, hash)),
    },
  ];
}

export async function messageProtection() {
  const context = contextOf(random(12), 0x1234_5678n);
  const keys = await signature.keygen();
  const { signKey } = keys;
  const [encryptionSecret, senderDataSecret, membershipKey] = [random(), random(), random()];
  const ratchets = () => createSecretTree(2, encryptionSecret, kdf);
  const proposal: Proposal = { proposalType: "remove", remove: { removed: 7 } };
  const padding = { kind: "padUntilLength", padUntilLength: 160 } as const;
  const framing = [context, await ratchets(), 1, padding, suite] as const;
  const commit = { proposals: [{ proposalOrRefType: "proposal", proposal }], path: undefined } as const;
  const bareCommit = { ...commit, proposals: [...commit.proposals] };
  const committed = async (wireformat: "mls_public_message" | "mls_private_message") => {
    const sender = { senderType: "member", leafIndex: 1 } as const;
    const made = await createContentCommitSignature(
      context,
      wireformat,
      bareCommit,
      sender,
      EMPTY,
      signKey,
      signature,
    );
    const auth = { contentType: "commit", signature: made.signature, confirmationTag: random() } as const;
    return { wireformat, content: made.framedContent, auth };
  };
  const inPublic = await committed("mls_public_message");
  const inPrivate = await committed("mls_private_message");
  const application = random(45);
  const publicMessage = (message: Awaited<ReturnType<typeof protectPublicMessage>>) =>
    hex(writeMessage({ wireformat: "mls_public_message", publicMessage: message }));
  const privateMessage = (message: Awaited<ReturnType<typeof protect>>["privateMessage"]) =>
    hex(writeMessage({ wireformat: "mls_private_message", privateMessage: message }));
  const proposed = await protectProposalPublic(signKey, membershipKey, context, EMPTY, proposal, 1, suite);
  const { content, auth } = inPrivate;
  return [
    {
      cipher_suite: CIPHER_SUITE,
      group_id: hex(context.groupId),
      epoch: Number(context.epoch),
      tree_hash: hex(context.treeHash),
      confirmed_transcript_hash: hex(context.confirmedTranscriptHash),
      signature_priv: hex(scalarOf(signKey)),
      signature_pub: hex(keys.publicKey),
      encryption_secret: hex(encryptionSecret),
      sender_data_secret: hex(senderDataSecret),
      membership_key: hex(membershipKey),
      proposal: hex(encodeProposal(proposal)),
      proposal_pub: publicMessage(proposed.publicMessage),
      proposal_priv: privateMessage(
        (await protectProposal(signKey, senderDataSecret, proposal, EMPTY, ...framing)).privateMessage,
      ),
      commit: hex(encodeCommit(bareCommit)),
      commit_pub: publicMessage(await protectPublicMessage(membershipKey, context, inPublic, suite)),
      commit_priv: privateMessage(
        (
          await protect(
            senderDataSecret,
            EMPTY,
            context,
            await ratchets(),
            { ...content, auth },
            1,
            padding,
            suite,
          )
        ).privateMessage,
      ),
      application: hex(application),
      application_priv: privateMessage(
        (await protectApplicationData(signKey, senderDataSecret, application, EMPTY, ...framing))
          .privateMessage,
      ),
    },
  ];
}
