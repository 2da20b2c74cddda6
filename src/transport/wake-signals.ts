/** Calls `wake` when the page or the network comes back: `online`, focus, or visible again. The result stops it. */
export function listenForWake(wake: () => void): () => void {
  const targets: [Partial<EventTarget> | undefined, string][] = [
    [globalThis as Partial<EventTarget>, "online"],
    [globalThis as Partial<EventTarget>, "focus"],
    [(globalThis as { document?: Document }).document, "visibilitychange"],
  ];
  const listener = () => {
    if ((globalThis as { document?: Document }).document?.visibilityState !== "hidden") wake();
  };
  for (const [target, type] of targets) target?.addEventListener?.(type, listener);
  return () => {
    for (const [target, type] of targets) target?.removeEventListener?.(type, listener);
  };
}
