import { expect, it } from "vitest";

const FAMILIES: [string, RegExp][] = [
  ["firefox", /Firefox\//],
  ["chromium", /Chrome\//],
  ["webkitgtk", /AppleWebKit\//],
];

it("is a browser with what the package needs", () => {
  const family = FAMILIES.find(([, pattern]) => pattern.test(navigator.userAgent))?.[0];
  console.log(`${family}: ${navigator.userAgent}`);
  expect(family).toBeDefined();
  expect(isSecureContext).toBe(true);
  expect(crypto.subtle).toBeDefined();
  expect(indexedDB).toBeDefined();
  expect(WebSocket).toBeDefined();
});
