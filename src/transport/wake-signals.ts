/** Events after which a connection may be dead, or one may be had again, and who tells of them. */
const SIGNALS: readonly (readonly [target: "window" | "document" | "connection", type: string])[] = [
  ["window", "online"],
  ["window", "offline"],
  ["window", "focus"],
  ["window", "pageshow"],
  ["document", "visibilitychange"],
  ["document", "resume"],
  ["connection", "change"],
];

interface Platform extends Partial<EventTarget> {
  readonly document?: Partial<EventTarget> & { readonly visibilityState?: string };
  readonly navigator?: { readonly connection?: Partial<EventTarget> };
}

/**
 * Calls `wake` when the page or the network comes back or changes: `online` and `offline`, focus, shown or visible
 * again, thawed, another network. The result stops it. Where there is no page it does nothing.
 */
export function listenForWake(wake: () => void): () => void {
  const platform = globalThis as Platform;
  const targets = {
    window: platform,
    document: platform.document,
    connection: platform.navigator?.connection,
  };
  const listener = (event: Event) => {
    if (event.type !== "visibilitychange" || targets.document?.visibilityState !== "hidden") wake();
  };
  for (const [target, type] of SIGNALS) targets[target]?.addEventListener?.(type, listener);
  return () => {
    for (const [target, type] of SIGNALS) targets[target]?.removeEventListener?.(type, listener);
  };
}
