import { vi } from "vitest";

/**
 * Puts these functions in place of the engine's own until `vi.unstubAllGlobals`; returns the names of those called.
 * One that returns undefined leaves the call to the engine.
 */
export function engineWith(
  changes: Partial<Record<keyof SubtleCrypto, (...args: never[]) => unknown>>,
): string[] {
  const real = globalThis.crypto.subtle as unknown as Record<string, (...args: unknown[]) => unknown>;
  const called: string[] = [];
  const subtle = new Proxy(real, {
    get:
      (_target, name: string) =>
      (...args: unknown[]) => {
        called.push(name);
        const change = changes[name as keyof SubtleCrypto] as ((...args: unknown[]) => unknown) | undefined;
        return change?.(...args) ?? real[name]?.(...args);
      },
  });
  vi.stubGlobal("crypto", { subtle });
  return called;
}
