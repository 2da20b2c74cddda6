/** The part of the Web Locks API that is used. */
export interface Locks {
  request(
    name: string,
    options: {
      readonly mode?: "exclusive" | "shared";
      readonly ifAvailable?: boolean;
      readonly steal?: boolean;
      readonly signal?: AbortSignal;
    },
    callback: (lock: unknown) => Promise<void> | void,
  ): Promise<unknown>;
  query(): Promise<{ readonly held?: readonly { readonly name?: string }[] }>;
}

/** The part of a BroadcastChannel that is used. */
export interface Channel {
  postMessage(message: unknown): void;
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
  close(): void;
}

/** What tabs find each other by. */
export interface TabPlatform {
  readonly locks: Locks;
  channel(name: string): Channel;
  /** Calls when the browser freezes this page, and when it goes on; the result ends it. */
  onFreeze(frozen: () => void, resumed: () => void): () => void;
}

/** This browser's, or undefined where a part is missing. */
export function browserTabs(): TabPlatform | undefined {
  const platform = globalThis as {
    navigator?: { locks?: Locks | null };
    BroadcastChannel?: new (name: string) => Channel;
  };
  const locks = platform.navigator?.locks;
  const { BroadcastChannel } = platform;
  if (!locks || BroadcastChannel === undefined) return undefined;
  return { locks, channel: (name) => new BroadcastChannel(name), onFreeze };
}

/**
 * Chromium tells of it. It goes on handing messages and locks to a frozen page, whose timers, database and socket stand
 * still; who answers messages is not alive for that.
 */
function onFreeze(frozen: () => void, resumed: () => void): () => void {
  const { document } = globalThis as { document?: Partial<EventTarget> };
  document?.addEventListener?.("freeze", frozen);
  document?.addEventListener?.("resume", resumed);
  return () => {
    document?.removeEventListener?.("freeze", frozen);
    document?.removeEventListener?.("resume", resumed);
  };
}
