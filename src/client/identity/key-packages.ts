import type { Bytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { makeCapabilities } from "../../mls/group/capabilities.js";
import {
  decodeKeyPackageBundle,
  encodeKeyPackageBundle,
  generateKeyPackage,
  type KeyPackageBundle,
} from "../../mls/group/key-package.js";
import type { Change, StoreSession } from "../../stores/store.js";
import type { Effect } from "../context.js";
import { POLICY_EXTENSION } from "../conversation/membership/policy.js";
import { layout } from "../layout.js";
import type { OwnIdentity } from "./own-identity.js";

/** How many one-time packages the relay should hold, and below how many it gets new ones. */
const POOL_SIZE = 32;
const LOW_WATER = 16;
/** How many are made and published at once, so that a new client is soon reachable. */
const CHUNK = 8;
/** 90 days: how long others may use a package. It is kept a week longer, for a welcome that was under way. */
const LIFETIME_S = 90 * 24 * 3600;
const GRACE_S = 7 * 24 * 3600;
/** An hour: how far clocks may differ. */
const SKEW_S = 3600;
/**
 * How many are kept at most. What was handed out and never used, or published without an answer and perhaps never
 * taken, would grow without end; the relay hands out the oldest first, so those are the ones least likely to come back.
 */
const MAX_HELD = 512;

/** `made`: a last resort of which the relay has not said that it has it; `worn`: one that was used. */
type Kind = "oneTime" | "made" | "published" | "worn";

const KINDS: readonly Kind[] = ["oneTime", "made", "published", "worn"];

interface Held {
  readonly bundle: KeyPackageBundle;
  readonly notAfter: number;
  readonly kind: Kind;
}

function encodeHeld(writer: Writer, held: Held): void {
  writer.u8(1).uint53(held.notAfter).u8(KINDS.indexOf(held.kind)).opaque(encodeKeyPackageBundle(held.bundle));
}

function decodeHeld(reader: Reader): Held {
  if (reader.u8() !== 1) reader.fail("unknown version of key package record");
  const notAfter = reader.uint53();
  const kind = KINDS[reader.u8()] ?? reader.fail("unknown kind of key package");
  return { notAfter, kind, bundle: decodeKeyPackageBundle(reader.opaque()) };
}

/** This device's key packages (RFC 9420 §10): stored before they are published, deleted with the join that uses them. */
export class KeyPackages {
  readonly #write: (changes: readonly Effect[]) => Promise<void>;
  readonly #identity: OwnIdentity;
  readonly #held = new Map<string, Held>();
  /**
   * How far the relay's clock is ahead of ours, in milliseconds. Lifetimes are by the relay's: a device whose clock is
   * wrong could not be added by anybody. What a lying relay gains is that nobody adds us, which it can have without.
   */
  relayAhead = 0;
  /** Called after a join has used one up. */
  onUsed: () => void = () => {};
  /** Called when somebody has used a package of ours that is not here: the relay may hold more of these. */
  onMissing: () => void = () => {};

  private constructor(write: (changes: readonly Effect[]) => Promise<void>, identity: OwnIdentity) {
    this.#write = write;
    this.#identity = identity;
  }

  static async load(
    store: StoreSession,
    write: (changes: readonly Effect[]) => Promise<void>,
    identity: OwnIdentity,
  ): Promise<KeyPackages> {
    const packages = new KeyPackages(write, identity);
    for (const [, value] of await store.list(layout.keyPackages)) {
      const held = decode(decodeHeld, value);
      packages.#held.set(toHex(held.bundle.ref), held);
    }
    return packages;
  }

  /** The package of a KeyPackageRef, if it is ours and still held. */
  find(ref: Uint8Array): KeyPackageBundle | undefined {
    return this.#held.get(toHex(ref))?.bundle;
  }

  /** How many are here of those that serve once: at least as many as the relay holds, unless some were lost. */
  get oneTimeCount(): number {
    return [...this.#held.values()].filter(({ kind }) => kind === "oneTime").length;
  }

  /** Whether a package was published to be used more than once: who joins by it renews its keys soon after. */
  isLastResort(ref: Uint8Array): boolean {
    return (this.#held.get(toHex(ref))?.kind ?? "oneTime") !== "oneTime";
  }

  /** A new package for one purpose, such as a join request, with the change that stores it. */
  async make(
    now: number,
    lastResort = false,
  ): Promise<{ bundle: KeyPackageBundle; notAfter: number; change: Effect }> {
    const seconds = Math.floor((now + this.relayAhead) / 1000);
    const notAfter = seconds + LIFETIME_S;
    const bundle = await generateKeyPackage({
      credential: { kind: "basic", identity: this.#identity.credential },
      signer: this.#identity.device,
      lifetime: { notBefore: BigInt(Math.max(0, seconds - SKEW_S)), notAfter: BigInt(notAfter) },
      capabilities: makeCapabilities({ extensions: [POLICY_EXTENSION] }),
    });
    const change = this.#keep({ bundle, notAfter, kind: lastResort ? "made" : "oneTime" });
    change.applied?.();
    return { bundle, notAfter, change };
  }

  #keep(held: Held): Effect {
    const { ref } = held.bundle;
    const applied = () => void this.#held.set(toHex(ref), held);
    return { put: layout.keyPackage(ref), value: encode(encodeHeld, held), applied };
  }

  /**
   * The next few packages to publish when the relay holds `remaining` one-time ones; stored already. Undefined: none are
   * needed. `fresh`: the relay knows nothing of this device, so that it needs the last resort too; `filling`: go on up to the full number. What becomes of them
   * is to be told with {@link published} or {@link refused}; if the answer was lost, neither: what the relay then says
   * it holds decides how many more are made, and none is ever published twice.
   */
  async refill(
    remaining: number,
    now: number,
    fresh: boolean,
    filling = false,
  ): Promise<PackageUpload | undefined> {
    // A clock that runs ahead must not cost keys that others may use still.
    const expired = this.#dropOld(Math.min(now, now + this.relayAhead));
    // With none left the last resort was in use; or a crash has kept the first ones from being published.
    const needsLastResort = fresh || remaining === 0 || !this.#hasFreshLastResort(now);
    const missing = filling || remaining < LOW_WATER ? POOL_SIZE - remaining : 0;
    const count = Math.max(0, Math.min(CHUNK, missing));
    if (count === 0 && !needsLastResort) {
      if (expired.length > 0) await this.#write(expired);
      return undefined;
    }
    const [made, lastResort] = await Promise.all([
      Promise.all(Array.from({ length: count }, () => this.make(now))),
      needsLastResort ? this.make(now, true) : undefined,
    ]);
    await this.#write([
      ...expired,
      ...made.map((one) => one.change),
      ...(lastResort ? [lastResort.change] : []),
    ]);
    const upload = ({ bundle, notAfter }: { bundle: KeyPackageBundle; notAfter: number }): Upload => ({
      keyPackage: bundle.bytes,
      notAfter,
    });
    return { oneTime: made.map(upload), ...(lastResort && { lastResort: upload(lastResort) }) };
  }

  /** The relay has taken them. */
  async published(upload: PackageUpload): Promise<void> {
    const held = upload.lastResort && this.#heldOf(upload.lastResort);
    if (held?.kind === "made") await this.#write([this.#keep({ ...held, kind: "published" })]);
  }

  /** The relay has not taken them and never will: nobody can use them. */
  async refused(upload: PackageUpload): Promise<void> {
    const uploads = [...upload.oneTime, ...(upload.lastResort ? [upload.lastResort] : [])];
    await this.#write(uploads.flatMap((one) => this.#heldOf(one) ?? []).map((held) => this.#forget(held)));
  }

  #heldOf(upload: Upload): Held | undefined {
    return [...this.#held.values()].find(({ bundle }) => bundle.bytes === upload.keyPackage);
  }

  #forget({ bundle: { ref } }: Held): Effect {
    return { delete: layout.keyPackage(ref), applied: () => void this.#held.delete(toHex(ref)) };
  }

  /** The changes that delete a package that was used; a last resort stays until it expires, but is used no more. */
  used(ref: Uint8Array): Effect[] {
    const held = this.#held.get(toHex(ref));
    if (held === undefined) return [];
    // Others may have used a last resort as well, so it is kept until it expires; but the relay gets a new one.
    const change = held.kind === "oneTime" ? this.#forget(held) : this.#keep({ ...held, kind: "worn" });
    return [
      {
        ...change,
        applied: () => {
          change.applied?.();
          this.onUsed();
        },
      },
    ];
  }

  #hasFreshLastResort(now: number): boolean {
    const halfLife = (now + this.relayAhead) / 1000 + LIFETIME_S / 2;
    return [...this.#held.values()].some(({ kind, notAfter }) => kind === "published" && notAfter > halfLife);
  }

  /** Drops what has expired, and the oldest of what is too much. */
  #dropOld(now: number): Change[] {
    const oldest = [...this.#held.values()].sort((a, b) => a.notAfter - b.notAfter);
    const tooMany = Math.max(0, oldest.length - MAX_HELD);
    const dropped = oldest.filter((held, at) => at < tooMany || held.notAfter + GRACE_S < now / 1000);
    for (const { bundle } of dropped) this.#held.delete(toHex(bundle.ref));
    return dropped.map(({ bundle }) => ({ delete: layout.keyPackage(bundle.ref) }));
  }
}

/** What goes to the relay. */
export interface PackageUpload {
  readonly oneTime: Upload[];
  readonly lastResort?: Upload;
}

interface Upload {
  readonly keyPackage: Bytes;
  readonly notAfter: number;
}
