import type { Bytes } from "../../base/bytes.js";
import type { PlatformCryptoKey } from "../../base/crypto-key.js";
import type { Credential } from "../structs/credential.js";
import type { PreSharedKeyId } from "../structs/psk.js";

/** The key that signs as one member. */
export interface Signer {
  readonly privateKey: PlatformCryptoKey;
  /** The uncompressed point, 65 bytes. */
  readonly publicKey: Bytes;
}

/** What a credential claims: this signature key belongs to this identity. */
export interface Identity {
  readonly credential: Credential;
  readonly signatureKey: Bytes;
}

/**
 * RFC 9420 §5.3.1, the Authentication Service. Called for every leaf that is new to this member and for every external
 * sender; throws a `SubrosaError` to refuse (the message is then refused with rule "RFC 9420 §7.3: credential
 * refused"). Anything else that it throws, and codes that tell of this machine such as `internal` or `store-failed`, is
 * no word about the credential: the engine's call throws the same, and can be repeated. `replaces` is what the same
 * member presented before.
 */
export type AuthService = (identity: Identity, replaces?: Identity) => Promise<void>;

/** Finds a pre-shared key that the group itself does not know; undefined when there is none. */
export type PskSource = (id: PreSharedKeyId) => Promise<Bytes | undefined> | Bytes | undefined;

/** What the application decides about leaves. */
export interface LeafPolicy {
  readonly authenticate: AuthService;
  /** Seconds since 1970; left out, lifetimes are not compared with the time (RFC 9420 §7.3 allows that on receipt). */
  readonly now?: bigint | undefined;
  /** The longest total lifetime of a key package, in seconds (RFC 9420 §7.2); default: any. */
  readonly maxLifetime?: bigint | undefined;
}
