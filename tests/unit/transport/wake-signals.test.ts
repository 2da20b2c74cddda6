import { afterEach, expect, it, vi } from "vitest";
import { listenForWake } from "../../../src/transport/wake-signals.js";

afterEach(() => vi.unstubAllGlobals());

it("wakes on online, focus and a page that becomes visible, until stopped", () => {
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  vi.stubGlobal("addEventListener", window.addEventListener.bind(window));
  vi.stubGlobal("removeEventListener", window.removeEventListener.bind(window));
  vi.stubGlobal("document", document);
  let woken = 0;
  const stop = listenForWake(() => woken++);
  window.dispatchEvent(new Event("online"));
  window.dispatchEvent(new Event("focus"));
  document.dispatchEvent(new Event("visibilitychange"));
  expect(woken).toBe(3);
  document.visibilityState = "hidden";
  document.dispatchEvent(new Event("visibilitychange"));
  expect(woken).toBe(3);
  document.visibilityState = "visible";
  stop();
  window.dispatchEvent(new Event("online"));
  document.dispatchEvent(new Event("visibilitychange"));
  expect(woken).toBe(3);
});

it("does nothing where there is neither window nor document", () => {
  vi.stubGlobal("addEventListener", undefined);
  vi.stubGlobal("removeEventListener", undefined);
  vi.stubGlobal("document", undefined);
  listenForWake(() => expect.unreachable())();
});
