import { afterEach, expect, it, vi } from "vitest";
import { listenForWake } from "../../../src/transport/wake-signals.js";

afterEach(() => vi.unstubAllGlobals());

function stubPage() {
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const connection = new EventTarget();
  vi.stubGlobal("addEventListener", window.addEventListener.bind(window));
  vi.stubGlobal("removeEventListener", window.removeEventListener.bind(window));
  vi.stubGlobal("document", document);
  vi.stubGlobal("navigator", { connection });
  return { window, document, connection };
}

it.each([
  ["window", "online"],
  ["window", "offline"],
  ["window", "focus"],
  ["window", "pageshow"],
  ["document", "visibilitychange"],
  ["document", "resume"],
  ["connection", "change"],
] as const)("wakes on the %s's %s, until stopped", (target, type) => {
  const page = stubPage();
  let woken = 0;
  const stop = listenForWake(() => woken++);
  page[target].dispatchEvent(new Event(type));
  expect(woken).toBe(1);
  stop();
  page[target].dispatchEvent(new Event(type));
  expect(woken).toBe(1);
});

it("is not woken by a page that is hidden, but by the network while it is", () => {
  const { window, document } = stubPage();
  let woken = 0;
  listenForWake(() => woken++);
  document.visibilityState = "hidden";
  document.dispatchEvent(new Event("visibilitychange"));
  expect(woken).toBe(0);
  window.dispatchEvent(new Event("online"));
  expect(woken).toBe(1);
});

it("does nothing where there is neither window nor document", () => {
  vi.stubGlobal("addEventListener", undefined);
  vi.stubGlobal("removeEventListener", undefined);
  vi.stubGlobal("document", undefined);
  vi.stubGlobal("navigator", undefined);
  listenForWake(() => expect.unreachable())();
});
