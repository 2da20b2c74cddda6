import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { EMPTY } from "../base/bytes.js";
import { fromBase64Url, fromUtf8, toBase64Url, toHex, toUtf8 } from "../base/encoding.js";
import { SubrosaError } from "../base/errors.js";
import { placeFile } from "../base/node-new-file.js";
import { importAeadKey } from "../crypto/aead.js";
import { deriveStoreKey, MAX_ITERATIONS, openAtRest, sealAtRest } from "../crypto/keys-at-rest.js";
import { randomBytes } from "../crypto/random.js";

/** What protects the key of a store: a passphrase, else the bytes of a key file. */
export type Secret = { readonly passphrase: string } | { readonly keyFile: string };

/** OWASP's figure for PBKDF2 with HMAC-SHA-256. */
const ITERATIONS = 600_000;
const KEY_LENGTH = 32;
const SALT_LENGTH = 16;
/** In the folder; says how the key is protected, and proves that a key is the right one. */
const HEADER_FILE = "store.json";
const FORMAT = 1;
const checkContext = () => toUtf8("Subrosa 1 store check");

interface Header {
  readonly format: number;
  readonly protection: "passphrase" | "key-file";
  readonly salt?: string;
  readonly iterations?: number;
  /** Nothing, sealed under the key. */
  readonly check: string;
}

/** The AES-256 key of the store in `folder`, made with the first call. Throws `store-locked` for a wrong secret. */
export async function openStoreKey(folder: string, secret: Secret): Promise<CryptoKey> {
  const path = join(folder, HEADER_FILE);
  const header = await readHeader(path);
  if (header !== undefined) return unlock(path, header, secret);
  const [made, key] = await makeHeader(secret);
  if (await createFile(path, toUtf8(`${JSON.stringify(made)}\n`))) return key;
  return unlock(path, (await readHeader(path)) as Header, secret); // Another process was faster.
}

async function makeHeader(secret: Secret): Promise<[Header, CryptoKey]> {
  if ("keyFile" in secret) {
    await createFile(secret.keyFile, randomBytes(KEY_LENGTH));
    const key = await readKeyFile(secret.keyFile);
    return [{ format: FORMAT, protection: "key-file", check: await makeCheck(key) }, key];
  }
  const salt = randomBytes(SALT_LENGTH);
  const key = await deriveStoreKey(secret.passphrase, salt, ITERATIONS);
  const protection = "passphrase";
  const check = await makeCheck(key);
  return [{ format: FORMAT, protection, salt: toBase64Url(salt), iterations: ITERATIONS, check }, key];
}

async function makeCheck(key: CryptoKey): Promise<string> {
  return toBase64Url(await sealAtRest(key, checkContext(), EMPTY));
}

async function unlock(path: string, header: Header, secret: Secret): Promise<CryptoKey> {
  const wanted = header.protection === "passphrase" ? "a passphrase" : "a key file";
  if ((header.protection === "passphrase") !== "passphrase" in secret) {
    throw new SubrosaError("store-locked", `the store in ${dirname(path)} is protected by ${wanted}`);
  }
  const key =
    "passphrase" in secret
      ? await deriveStoreKey(secret.passphrase, fromBase64Url(header.salt ?? ""), header.iterations ?? 0)
      : await readKeyFile(secret.keyFile);
  try {
    await openAtRest(key, checkContext(), fromBase64Url(header.check));
  } catch {
    throw new SubrosaError(
      "store-locked",
      `not ${wanted.replace("a ", "the ")} of the store in ${dirname(path)}`,
    );
  }
  return key;
}

async function readHeader(path: string): Promise<Header | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new SubrosaError("store-failed", `cannot read ${path}`, { cause });
  }
  let header: Partial<Header> | null | undefined;
  try {
    header = JSON.parse(fromUtf8(bytes));
  } catch {}
  if (typeof header?.format === "number" && header.format > FORMAT) {
    throw new SubrosaError("store-outdated", "a newer version of this package wrote this store");
  }
  const { format, protection, salt = "", iterations = 1, check } = header ?? {};
  const valid =
    format === FORMAT &&
    (protection === "key-file" || (protection === "passphrase" && salt !== "")) &&
    typeof salt === "string" &&
    Number.isInteger(iterations) &&
    iterations > 0 &&
    iterations <= MAX_ITERATIONS &&
    typeof check === "string";
  if (!valid) throw new SubrosaError("store-damaged", `${path} is damaged`);
  return header as Header;
}

async function readKeyFile(path: string): Promise<CryptoKey> {
  const file = await open(path, constants.O_RDONLY).catch((cause) => {
    throw new SubrosaError("store-locked", `cannot read the key file ${path}`, { cause });
  });
  try {
    const { mode, size } = await file.stat();
    if (process.platform !== "win32" && (mode & 0o077) !== 0) {
      throw new SubrosaError("store-locked", `others can read the key file ${path}: chmod 600 is required`);
    }
    if (size !== KEY_LENGTH) throw new SubrosaError("store-locked", `${path} is not a key file`);
    const bytes = await file.readFile();
    const key = await importAeadKey(bytes);
    bytes.fill(0);
    return key;
  } finally {
    await file.close();
  }
}

/** Creates a file of mode 0600, whole or not at all, durably. False if there is one already. */
async function createFile(path: string, content: Uint8Array): Promise<boolean> {
  const temporary = `${path}.${toHex(randomBytes(8))}`;
  const file = await open(temporary, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  return placeFile(temporary, path);
}
