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
  return { locks, channel: (name) => new BroadcastChannel(name) };
}
