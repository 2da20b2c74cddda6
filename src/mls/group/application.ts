import { type Bytes, EMPTY } from "../../base/bytes.js";
import { encode } from "../../codec/writer.js";
import { signFramedContent } from "../framing/authentication.js";
import { type Padding, protectPrivate } from "../framing/private-message.js";
import { ensure } from "../rules.js";
import { exportFrom } from "../schedule/exporter.js";
import type { RatchetChange } from "../schedule/secret-tree.js";
import { encodeMlsMessage } from "../structs/message.js";
import { framedByMember } from "./framing-out.js";
import { ensureActive, ensureSigner, type GroupState } from "./state.js";
import type { Signer } from "./types.js";

export interface ProtectOptions {
  readonly signer: Signer;
  /** In the clear, signed. */
  readonly authenticatedData?: Bytes;
  readonly padding?: Padding;
}

/** An application message that is ready to be sent. */
export interface ProtectedApplication {
  readonly state: GroupState;
  /** An MLSMessage for the members. */
  readonly message: Bytes;
  /** To be stored before the message leaves. */
  readonly changes: RatchetChange[];
}

/**
 * RFC 9420 §15. Encrypts application data. Its cost does not depend on the size of the group. Throws `invalid-message`
 * while proposals wait for a commit, which must come first (§12.4).
 */
export async function protectApplication(
  state: GroupState,
  content: Uint8Array<ArrayBuffer>,
  options: ProtectOptions,
): Promise<ProtectedApplication> {
  ensureActive(state);
  ensureSigner(state, options.signer);
  ensure(state.pendingProposals.length === 0, "RFC 9420 §12.4: pending proposals before application data");
  const { groupContext, secrets, secretTree } = state;
  const data = options.authenticatedData ?? EMPTY;
  const framed = framedByMember(state, { contentType: "application", applicationData: content }, data);
  const wireFormat = "private_message";
  const auth = signFramedContent(wireFormat, framed, groupContext, options.signer.privateKey).then(
    (signature) => ({ signature, confirmationTag: undefined }),
  );
  const { senderDataSecret } = secrets;
  const sealed = await protectPrivate(framed, auth, { senderDataSecret, secretTree }, options.padding);
  const message = encode(encodeMlsMessage, { wireFormat, privateMessage: sealed.message });
  return { state: { ...state, secretTree: sealed.secretTree }, message, changes: sealed.changes };
}

/** RFC 9420 §8.5. A secret that only the members of the current epoch can derive; `length` at most 8160 bytes. */
export function exportSecret(
  state: GroupState,
  label: string,
  context: Uint8Array,
  length: number,
): Promise<Bytes> {
  return exportFrom(state.secrets.exporterSecret, label, context, length);
}
