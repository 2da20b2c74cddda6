import { encodeCommit } from "ts-mls/commit.js";
import { encodeGroupSecrets } from "ts-mls/groupSecrets.js";
import type { LeafNodeUpdate } from "ts-mls/leafNode.js";
import { decodeMlsMessage, type MlsPublicMessage } from "ts-mls/message.js";
import {
  encodeAdd,
  encodeExternalInit,
  encodeGroupContextExtensions,
  encodePSK,
  encodeReinit,
  encodeRemove,
  encodeUpdate,
} from "ts-mls/proposal.js";
import type { Change, Framing } from "./actor.js";
import { CIPHER_SUITE, PSKS, Scenario, utf8 } from "./frozen-scenario.js";
import { Random } from "./random.js";
import { hex, read, writeMessage } from "./ts-mls-tools.js";
import { SUITE, suite } from "./webcrypto-provider.js";

const psk = (position: number): Change => ({
  kind: "psk",
  id: PSKS[position]?.id ?? new Uint8Array(),
});

export async function passiveClientWelcome() {
  const entries = [];
  for (const treeInside of [true, false]) {
    for (const psks of [[], [psk(0)], [psk(1), psk(0)]]) {
      for (const hasPath of [true, false]) {
        const scenario = await Scenario.of(hasPath ? 5 : 3, hasPath);
        const remove: Change[] = hasPath ? [{ kind: "remove", leaf: scenario.member(2).leaf }] : [];
        await scenario.addPassive(scenario.member(1), { treeInside, changes: [...psks, ...remove] });
        entries.push(scenario.entry());
      }
    }
  }
  return entries;
}

type Step = (scenario: Scenario, framing: Framing) => Promise<void>;

/** Each kind of commit by itself, first of what is by value, then of what is by reference. */
const STEPS: Step[] = [
  (s, framing) => s.commit(s.member(1), framing),
  (s, framing) => s.commit(s.member(1), framing, 1),
  (s, framing) => s.commit(s.member(1), framing, 3),
  (s, framing) =>
    s.commit(s.member(1), { ...framing, changes: [{ kind: "remove", leaf: s.member(2).leaf }] }),
  (s, framing) => s.commit(s.member(2), { ...framing, changes: [psk(0), psk(1)] }),
  async (s, framing) => {
    const { epoch, state } = s.member(1);
    const { groupId } = state.groupContext;
    await s.commit(s.member(1), { ...framing, changes: [{ kind: "resumption", groupId, epoch }] });
    await s.commit(s.member(2), { ...framing, changes: [{ kind: "resumption", groupId, epoch }] });
  },
  async (s, framing) => {
    for (const position of [0, 2, 3]) await s.propose(s.member(position), { kind: "update" }, framing);
    await s.commit(s.member(1), framing);
  },
  async (s, framing) => {
    await s.propose(s.member(2), { kind: "remove", leaf: s.member(3).leaf }, framing);
    await s.propose(s.member(0), psk(1), framing);
    await s.commit(s.member(1), framing, 1);
  },
  async (s, framing) => {
    const outside = await s.proposeOwnAddition();
    await s.commit(s.member(1), framing, 0, [outside]);
  },
  (s) => s.joinByCommit(),
  (s, framing) =>
    s.commit(s.member(1), { ...framing, changes: [{ kind: "reinit", groupId: utf8("the next group") }] }),
];

export async function passiveClientHandlingCommit() {
  const entries = [];
  for (const isPublic of [false, true]) {
    for (const step of STEPS) {
      const scenario = await Scenario.of(5, true);
      await scenario.addPassive(scenario.member(0), { treeInside: isPublic });
      await step(scenario, { isPublic });
      entries.push(scenario.entry());
    }
  }
  return entries;
}

/**
 * Not in it: commits of group context extensions (without a path, against RFC 9420 §12.4), and trees with an empty
 * left half (where the commit secret is wrong), as ts-mls makes them.
 */
async function randomHistory(seed: number, length: number) {
  const random = new Random(seed);
  const scenario = await Scenario.of(2 + random.below(6), random.chance(50));
  await scenario.addPassive(random.pick(scenario.members), { treeInside: random.chance(50) });
  for (let i = 0; i < length; i++) {
    const framing = () => ({ isPublic: random.chance(40) });
    if (random.chance(10)) {
      await scenario.joinByCommit();
      continue;
    }
    const all = random.some(scenario.members, 20);
    const committer = all.shift();
    if (committer === undefined) throw new Error("nobody");
    const leaver = all.find(({ leaf }) => leaf !== 0);
    const changes: Change[] = [];
    let additions = 0;
    if (leaver !== undefined && random.chance(35)) {
      all.splice(all.indexOf(leaver), 1);
      const change: Change = { kind: "remove", leaf: leaver.leaf };
      if (random.chance(50)) changes.push(change);
      else await scenario.propose(committer, change, framing());
    } else if (scenario.members.length < 10) additions = random.below(3);
    for (const updater of random.some(all, random.below(3))) {
      await scenario.propose(updater, { kind: "update" }, framing());
    }
    if (random.chance(20)) changes.push(psk(random.below(2)));
    await scenario.commit(committer, { ...framing(), changes }, additions);
  }
  return scenario.entry();
}

export async function passiveClientRandom() {
  const entries = [];
  for (const seed of [1, 2, 3, 4]) entries.push(await randomHistory(seed, 8));
  return entries;
}

/** "Welcome" entries: no PSK, no path. */
export async function welcome() {
  const entries = [];
  for (const count of [1, 3]) {
    const scenario = await Scenario.of(count, false);
    const signer = scenario.member(count - 1);
    await scenario.addPassive(signer);
    const { key_package, welcome: bytes, init_priv } = scenario.entry() as Record<string, unknown>;
    const leaf = signer.state.ratchetTree[signer.leaf * 2];
    if (leaf?.nodeType !== "leaf") throw new Error("no leaf");
    entries.push({
      cipher_suite: CIPHER_SUITE,
      init_priv,
      signer_pub: hex(leaf.leaf.signaturePublicKey),
      key_package,
      welcome: bytes,
    });
  }
  return entries;
}

/** "Messages" entries. */
export async function messages() {
  const scenario = await Scenario.of(4, true);
  const [alice, bob] = [scenario.member(0), scenario.member(1)];
  const groupInfo = await alice.groupInfo(true);
  const { passive } = scenario;
  const keyPackage = await passive.renewKeyPackage();
  const proposed = await bob.propose({ kind: "update" }, { isPublic: true });
  await alice.receive(proposed);
  const sent = await alice.commit({ isPublic: true, changes: [{ kind: "add", keyPackage }] });
  if (sent.welcome === undefined) throw new Error("no welcome");
  const opened = <M extends MlsPublicMessage>(bytes: Uint8Array) =>
    read(decodeMlsMessage, bytes) as unknown as M;
  const proposal = opened<MlsPublicMessage>(proposed).publicMessage;
  const commit = opened<MlsPublicMessage>(sent.commit).publicMessage;
  if (proposal.content.contentType !== "proposal" || commit.content.contentType !== "commit") {
    throw new Error("other contents");
  }
  const update = proposal.content.proposal as { update: { leafNode: LeafNodeUpdate } };
  const application = { contentType: "application", applicationData: utf8("hello") } as const;
  const { groupId, epoch, sender, authenticatedData } = proposal.content;
  const { signature } = proposal.auth;
  const pskNonce = suite.rng.randomBytes(32);
  const preSharedKeyId = { psktype: "external", pskId: utf8("psk"), pskNonce } as const;
  const extension = { extensionType: 0xf00d, extensionData: utf8("data") };
  const carol = scenario.member(2);
  return [
    {
      mls_welcome: hex(sent.welcome),
      mls_group_info: hex(groupInfo),
      mls_key_package: hex(writeMessage({ wireformat: "mls_key_package", keyPackage: passive.keyPackage })),
      ratchet_tree: hex(alice.encodedTree()),
      group_secrets: hex(
        encodeGroupSecrets({ joinerSecret: pskNonce, pathSecret: pskNonce, psks: [preSharedKeyId] }),
      ),
      add_proposal: hex(encodeAdd({ keyPackage: passive.keyPackage })),
      update_proposal: hex(encodeUpdate(update.update)),
      remove_proposal: hex(encodeRemove({ removed: 3 })),
      pre_shared_key_proposal: hex(encodePSK({ preSharedKeyId })),
      re_init_proposal: hex(
        encodeReinit({ groupId, version: "mls10", cipherSuite: SUITE, extensions: [extension] }),
      ),
      external_init_proposal: hex(encodeExternalInit({ kemOutput: suite.rng.randomBytes(65) })),
      group_context_extensions_proposal: hex(encodeGroupContextExtensions({ extensions: [extension] })),
      commit: hex(encodeCommit(commit.content.commit)),
      public_message_application: hex(
        writeMessage({
          wireformat: "mls_public_message",
          publicMessage: {
            content: { groupId, epoch, sender, authenticatedData, ...application },
            auth: { contentType: "application", signature },
            senderType: "member",
            membershipTag: suite.rng.randomBytes(32),
          },
        }),
      ),
      public_message_proposal: hex(proposed),
      public_message_commit: hex(sent.commit),
      private_message: hex(await carol.send("hello")),
    },
  ];
}
