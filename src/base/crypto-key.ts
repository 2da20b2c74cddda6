/** A `CryptoKey`, by DOM's types or Node's, whichever a program is compiled with. */
export type PlatformCryptoKey = Awaited<ReturnType<typeof globalThis.crypto.subtle.importKey>>;
