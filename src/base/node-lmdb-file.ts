import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";
import { rm } from "node:fs/promises";
import { endianness } from "node:os";
import { setTimeout } from "node:timers/promises";
import { SubrosaError } from "./errors.js";
import { placeFile, syncPath } from "./node-new-file.js";

/**
 * What LMDB trusts blindly. It maps its file and follows page numbers in it: where the file ends before such a page, or
 * its beginning holds something else, the process dies. The layout is that of data version 2 of the package `lmdb`
 * (mdb.c: MDB_page_header, MDB_meta, MDB_db, MDB_node, MDB_ovpage) on 64-bit little-endian machines; elsewhere nothing is checked.
 */
const IS_KNOWN_LAYOUT = endianness() === "LE" && /64$/.test(process.arch);

const MAGIC = 0xbeefc0de;
const VERSION = 2;
const HEADER_BYTES = 24;
const META_BYTES = 144;
const DB_BYTES = 48;
const MIN_PAGE_BYTES = 256;
const MAX_PAGE_BYTES = 65536;
/** The most levels that LMDB follows. */
const MAX_DEPTH = 32;
/** The root of a tree without pages. */
const NO_PAGE = 2 ** 64;

const BRANCH = 0x01;
const LEAF = 0x02;
const META = 0x08;
const FIXED_LEAF = 0x20;
const IN_OVERFLOW = 0x01;
const IS_TREE = 0x02;

/** Another process may be creating the file, or writing, while it is looked at. */
const LOOKS = 3;
const BETWEEN_LOOKS_MS = 20;

interface Meta {
  readonly pageBytes: number;
  readonly transaction: number;
  readonly lastPage: number;
  /** Of the list of free pages, and of everything else. */
  readonly roots: readonly [number, number];
}

/**
 * Makes an LMDB file without content at `path`, whole or not at all, unless there is one. LMDB itself makes it in steps:
 * after a crash between them it would be as empty as one that lost all that was in it. `unique`: an ending for its name
 * until then that nobody else uses.
 */
export async function createLmdbFile(
  lmdb: { open(options: { path: string; noSubdir: boolean }): { close(): Promise<unknown> } },
  path: string,
  unique: string,
): Promise<void> {
  if (existsSync(path)) return;
  const temporary = `${path}.${unique}`;
  try {
    await lmdb.open({ path: temporary, noSubdir: true }).close();
    await syncPath(temporary);
    await placeFile(temporary, path);
  } finally {
    for (const left of [temporary, `${temporary}-lock`]) await rm(left, { force: true });
  }
}

/**
 * Throws `store-damaged` where the LMDB file at `path` lacks pages that belong to it, or does not begin as such a file does.
 * One that is not there is a new one. Damage within the pages behind the first two is not looked for.
 */
export async function checkLmdbFile(path: string, pauseMs = BETWEEN_LOOKS_MS): Promise<void> {
  if (!IS_KNOWN_LAYOUT) return;
  for (let look = 1; ; look++) {
    const damage = damageOf(path);
    if (damage === undefined) return;
    if (look === LOOKS) throw new SubrosaError("store-damaged", `${path} ${damage}`);
    await setTimeout(pauseMs);
  }
}

function damageOf(path: string): string | undefined {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return undefined; // not there, or LMDB says why it cannot be opened
  }
  try {
    if (!fstatSync(file).isFile()) return undefined;
    const before = newestMeta(file);
    // After the meta pages: what they speak of was in the file before them.
    const { size } = fstatSync(file);
    if (size === 0) return "is empty: what was in it is gone; to begin anew delete it";
    if (before === undefined) return "does not begin as a database: it was overwritten or cut short";
    const pages = Math.floor(size / before.pageBytes);
    if (pages > before.lastPage || hasItsPages(file, before, pages)) return undefined;
    // Pages of a snapshot are written anew once there are later ones.
    if (newestMeta(file)?.transaction !== before.transaction) return undefined;
    return "was cut short: the end of it is missing";
  } finally {
    closeSync(file);
  }
}

/** The meta page that LMDB would begin with; undefined unless both are such pages, which they are in every file. */
function newestMeta(file: number): Meta | undefined {
  const first = readMeta(file, 0, 0);
  const second = first && readMeta(file, 1, first.pageBytes);
  if (first === undefined || second?.pageBytes !== first.pageBytes) return undefined;
  return second.transaction > first.transaction ? second : first;
}

function readMeta(file: number, number: number, offset: number): Meta | undefined {
  const page = read(file, offset, HEADER_BYTES + META_BYTES);
  if (page === undefined || long(page, 0) !== number || (page.getUint16(18, true) & META) === 0)
    return undefined;
  const meta = new DataView(page.buffer, HEADER_BYTES);
  if (meta.getUint32(0, true) !== MAGIC || meta.getUint16(4, true) !== VERSION) return undefined;
  const pageBytes = meta.getUint32(24, true);
  const isPower = (pageBytes & (pageBytes - 1)) === 0;
  if (!isPower || pageBytes < MIN_PAGE_BYTES || pageBytes > MAX_PAGE_BYTES) return undefined;
  const [free, main] = [long(meta, 24 + 40), long(meta, 24 + DB_BYTES + 40)];
  const lastPage = long(meta, 24 + 2 * DB_BYTES);
  const isPlausible = (root: number) => root === NO_PAGE || (root > 1 && root <= lastPage);
  if (lastPage < 1 || !isPlausible(free) || !isPlausible(main)) return undefined;
  return { pageBytes, transaction: long(meta, 24 + 2 * DB_BYTES + 8), lastPage, roots: [free, main] };
}

/**
 * Whether all pages that are in use are among the first `pages`. A whole file can be shorter than its meta page says: pages
 * that a transaction took from the end and gave back were never written.
 */
function hasItsPages(file: number, { pageBytes, roots }: Meta, pages: number): boolean {
  // Every page is reached once, in a file that is whole.
  let left = pages;
  const hasTree = (root: number, depth: number): boolean => {
    if (root === NO_PAGE) return true;
    if (root >= pages || depth > MAX_DEPTH || left-- <= 0) return false;
    const page = read(file, root * pageBytes, pageBytes);
    if (page === undefined) return false;
    const kind = page.getUint16(18, true);
    if ((kind & FIXED_LEAF) !== 0) return true;
    if ((kind & (BRANCH | LEAF)) === 0) return false;
    const count = page.getUint16(20, true) >> 1;
    if (HEADER_BYTES + 2 * count > pageBytes) return false;
    for (let i = 0; i < count; i++) {
      const node = page.getUint16(HEADER_BYTES + 2 * i, true) + HEADER_BYTES;
      if (node + 8 > pageBytes) return false;
      const flags = page.getUint16(node + 4, true);
      if ((kind & BRANCH) !== 0) {
        if (!hasTree(page.getUint32(node, true) + flags * 2 ** 32, depth + 1)) return false;
        continue;
      }
      const data = node + 8 + page.getUint16(node + 6, true);
      if ((flags & IN_OVERFLOW) !== 0) {
        if (data + 24 > pageBytes || long(page, data) + long(page, data + 16) > pages) return false;
      } else if ((flags & IS_TREE) !== 0) {
        if (data + DB_BYTES > pageBytes || !hasTree(long(page, data + 40), depth + 1)) return false;
      }
    }
    return true;
  };
  return roots.every((root) => hasTree(root, 0));
}

/** Above 2^53 not exact, and then greater than any page number. */
function long(view: DataView, offset: number): number {
  return Number(view.getBigUint64(offset, true));
}

function read(file: number, offset: number, length: number): DataView | undefined {
  const bytes = new Uint8Array(length);
  return readSync(file, bytes, 0, length, offset) === length ? new DataView(bytes.buffer) : undefined;
}
