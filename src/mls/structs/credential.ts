import type { Bytes } from "../../base/bytes.js";
import type { Reader } from "../../codec/reader.js";
import type { Writer } from "../../codec/writer.js";
import { CredentialType } from "./registry.js";

/** RFC 9420 §5.3. `unknown` keeps what another credential type carries, read as one byte string. */
export type Credential =
  | { readonly kind: "basic"; readonly identity: Bytes }
  | { readonly kind: "x509"; readonly certificates: readonly Bytes[] }
  | { readonly kind: "unknown"; readonly credentialType: number; readonly data: Bytes };

/** The registered number of a credential's type. */
export function credentialTypeOf(credential: Credential): number {
  return credential.kind === "unknown" ? credential.credentialType : CredentialType[credential.kind];
}

export function encodeCredential(writer: Writer, credential: Credential): void {
  writer.u16(credentialTypeOf(credential));
  if (credential.kind === "basic") writer.opaque(credential.identity);
  else if (credential.kind === "x509") writer.vector(credential.certificates, (w, cert) => w.opaque(cert));
  else writer.opaque(credential.data);
}

export function decodeCredential(reader: Reader): Credential {
  const credentialType = reader.u16();
  if (credentialType === CredentialType.basic) return { kind: "basic", identity: reader.opaque() };
  if (credentialType === CredentialType.x509) {
    return { kind: "x509", certificates: reader.vector((r) => r.opaque()) };
  }
  return { kind: "unknown", credentialType, data: reader.opaque() };
}
