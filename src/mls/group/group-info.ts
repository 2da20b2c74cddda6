import type { Bytes } from "../../base/bytes.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import { signWithLabel, verifyWithLabel } from "../labels.js";
import { ensure } from "../rules.js";
import { deriveExternalKeyPair } from "../schedule/key-schedule.js";
import { type Extension, externalPubExtension, findExtension } from "../structs/extension.js";
import { encodeMlsMessage } from "../structs/message.js";
import { ExtensionType } from "../structs/registry.js";
import { type GroupInfo, type GroupInfoContent, groupInfoTbs } from "../structs/welcome.js";
import { decodeRatchetTree, encodeRatchetTree, type RatchetTree } from "../tree/ratchet-tree.js";
import { ensureSigner, type GroupState } from "./state.js";
import type { Signer } from "./types.js";

/** What a GroupInfo holds besides the group's state. */
export interface GroupInfoOptions {
  /** The whole tree inside (default true), else the reader gets it in another way. */
  readonly ratchetTree?: boolean | undefined;
  /** The key for external commits (default false). */
  readonly externalPub?: boolean | undefined;
  readonly extensions?: readonly Extension[] | undefined;
}

function ratchetTreeExtension(tree: RatchetTree): Extension {
  return { extensionType: ExtensionType.ratchetTree, data: encode(encodeRatchetTree, tree) };
}

/** RFC 9420 §12.4.3. The signed GroupInfo of an epoch. */
export async function makeGroupInfo(
  state: Pick<GroupState, "groupContext" | "tree" | "ownLeafIndex" | "confirmationTag" | "secrets">,
  signer: Signer,
  options: GroupInfoOptions,
): Promise<GroupInfo> {
  const extensions = [...(options.extensions ?? [])];
  if (options.ratchetTree ?? true) extensions.push(ratchetTreeExtension(state.tree));
  if (options.externalPub) {
    const { publicKey } = await deriveExternalKeyPair(state.secrets.externalSecret);
    extensions.push(externalPubExtension(publicKey));
  }
  const { groupContext, confirmationTag, ownLeafIndex } = state;
  const content: GroupInfoContent = { groupContext, extensions, confirmationTag, signer: ownLeafIndex };
  const signature = await signWithLabel(signer.privateKey, "GroupInfoTBS", groupInfoTbs(content));
  return { ...content, signature };
}

/** RFC 9420 §12.4.3. A GroupInfo of the current epoch as an MLSMessage; with `externalPub`, others can join by it. */
export async function exportGroupInfo(
  state: GroupState,
  options: GroupInfoOptions & { readonly signer: Signer },
): Promise<Bytes> {
  ensureSigner(state, options.signer);
  const groupInfo = await makeGroupInfo(state, options.signer, options);
  return encode(encodeMlsMessage, { wireFormat: "group_info", groupInfo });
}

/** The public tree of the group (RFC 9420 §12.4.3.3 `ratchet_tree`), to be handed out beside a Welcome. */
export function exportRatchetTree(state: Pick<GroupState, "tree">): Bytes {
  return encode(encodeRatchetTree, state.tree);
}

/** RFC 9420 §12.4.3.3. The tree of a GroupInfo, or the one that came beside it. */
export function treeOf(info: GroupInfo, beside: Uint8Array | undefined): RatchetTree {
  const inside = findExtension(info.extensions, ExtensionType.ratchetTree);
  const bytes = inside ?? beside;
  ensure(bytes !== undefined, "RFC 9420 §12.4.3.3: no ratchet tree");
  return decode(decodeRatchetTree, bytes);
}

/** RFC 9420 §12.4.3.1. The signature of a GroupInfo, by the leaf that it names. */
export async function verifyGroupInfo(info: GroupInfo, tree: RatchetTree): Promise<void> {
  const leaf = tree.leaf(info.signer);
  ensure(leaf !== undefined, "RFC 9420 §12.4.3.1: signer is not a member");
  const { signature } = info;
  ensure(
    await verifyWithLabel(leaf.signatureKey, "GroupInfoTBS", groupInfoTbs(info), signature),
    "RFC 9420 §12.4.3: GroupInfo signature",
  );
}
