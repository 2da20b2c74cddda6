import type { Clock } from "../../base/clock.js";
import { SubrosaError } from "../../base/errors.js";
import type { RelayLimits } from "../limits.js";
import type { TokenBucket } from "../token-bucket.js";
import { Buckets } from "./buckets.js";

/** The limits that allow a user so many of something in an hour. */
export type HourlyLimit =
  | "keyPackageFetchesPerHour"
  | "joinRequestsPerHour"
  | "invitationsPerHour"
  | "firstContactsPerHour"
  | "groupCreationsPerHour"
  | "nameClaimsPerHour"
  | "directoryPagesPerHour";

/** Who wants something. */
export interface Origin {
  readonly userId: string;
  readonly address: string;
}

const HOUR_S = 3600;

/** The buckets that all connections of one user, or of one address, draw from for every frame. */
export interface SharedRate {
  readonly frames: TokenBucket;
  readonly bytes: TokenBucket;
}

/** What each user and each address has left of what it may do. */
export class Allowances {
  readonly #limits: RelayLimits;
  readonly #buckets: Buckets;
  /** Those whose names users choose, apart: however many they name, no bucket of their own is forgotten for it. */
  readonly #targets: Buckets;

  constructor(clock: Clock, limits: RelayLimits) {
    this.#limits = limits;
    this.#buckets = new Buckets(clock, limits.maxTracked);
    this.#targets = new Buckets(clock, limits.maxTracked);
  }

  #hourly(name: string, perHour: number, buckets = this.#buckets): TokenBucket {
    return buckets.get(name, perHour / HOUR_S, perHour);
  }

  /** Throws `rate-limited` if the user, or its address, has not so much left of its allowance. */
  require(limit: HourlyLimit, { userId, address }: Origin, count = 1): { take(): void } {
    const perHour = this.#limits[limit];
    const perAddress = perHour * this.#limits.addressFactor;
    const user = this.#hourly(`${limit} user ${userId}`, perHour);
    const all = this.#hourly(`${limit} address ${address}`, perAddress);
    // A request for more than an hour allows is possible when nothing of the hour was used.
    const [ofUser, ofAll] = [Math.min(count, perHour), Math.min(count, perAddress)];
    if (perHour === 0 || !user.has(ofUser) || !all.has(ofAll)) {
      throw new SubrosaError("rate-limited", `too many of these in an hour (${limit})`);
    }
    return {
      take() {
        user.take(ofUser);
        all.take(ofAll);
      },
    };
  }

  /** Takes `count` from the allowances of the user and its address; throws `rate-limited`, having taken nothing. */
  spend(limit: HourlyLimit, origin: Origin, count = 1): void {
    if (count > 0) this.require(limit, origin, count).take();
  }

  /**
   * Takes room for what the user appends; throws `quota-exceeded` if it, or its address, has not so much left. Room
   * grows back as fast as what fills it grows old.
   */
  store({ userId, address }: Origin, bytes: number): void {
    const { maxUserBytes, retention, addressFactor } = this.#limits;
    const room = (name: string, max: number) => this.#buckets.get(name, (max * 1000) / retention, max);
    const user = room(`stored user ${userId}`, maxUserBytes);
    const all = room(`stored address ${address}`, maxUserBytes * addressFactor);
    if (!user.has(bytes) || !all.has(bytes)) {
      throw new SubrosaError("quota-exceeded", "the user has appended too much (maxUserBytes)");
    }
    user.take(bytes);
    all.take(bytes);
  }

  /** Whether `asker` may have one-time key packages of `target`, and not just the last resort; counts it if so. */
  oneTimePackages(asker: string, target: string): boolean {
    const { oneTimePackagesPerHour, oneTimePackagesPerPair } = this.#limits;
    const pair = this.#hourly(
      `pair ${asker.length} ${asker}${target}`,
      oneTimePackagesPerPair,
      this.#targets,
    );
    const all = this.#hourly(`target ${target}`, oneTimePackagesPerHour, this.#targets);
    if (!pair.has(1) || !all.has(1)) return false;
    pair.take(1);
    all.take(1);
    return true;
  }

  /** Throws `rate-limited` if too many user ids have registered from this address. */
  register(address: string): void {
    if (!this.#hourly(`registrations ${address}`, this.#limits.registrationsPerHour).tryTake(1)) {
      throw new SubrosaError("rate-limited", "too many new users from this address");
    }
  }

  failedAuthentication(address: string): void {
    this.#failures(address).tryTake(1);
  }

  /** Whether the address may still try to authenticate. */
  mayAuthenticate(address: string): boolean {
    return this.#failures(address).has(1);
  }

  #failures(address: string): TokenBucket {
    return this.#hourly(`failures ${address}`, this.#limits.failedAuthenticationsPerHour);
  }

  ofUser(userId: string): SharedRate {
    const { userFramesPerSecond, userFrameBurst, userBytesPerSecond, userByteBurst } = this.#limits;
    return {
      frames: this.#buckets.get(`frames user ${userId}`, userFramesPerSecond, userFrameBurst),
      bytes: this.#buckets.get(`bytes user ${userId}`, userBytesPerSecond, userByteBurst),
    };
  }

  ofAddress(address: string): SharedRate {
    const { addressFramesPerSecond, addressFrameBurst, addressBytesPerSecond, addressByteBurst } =
      this.#limits;
    return {
      frames: this.#buckets.get(`frames address ${address}`, addressFramesPerSecond, addressFrameBurst),
      bytes: this.#buckets.get(`bytes address ${address}`, addressBytesPerSecond, addressByteBurst),
    };
  }
}
