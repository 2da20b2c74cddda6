import { expect, it } from "vitest";
import { defaultStore } from "../../../src/stores/default.js";

it("is memory where there is no IndexedDB, one for all names and openings", async () => {
  const store = defaultStore();
  const session = await store.open("alice");
  await session.write([{ put: "a", value: Uint8Array.of(1) }]);
  await session.close();
  expect(await (await store.open("alice")).get("a")).toEqual(Uint8Array.of(1));
  await expect(store.open("alice")).rejects.toMatchObject({ code: "store-in-use" });
});
