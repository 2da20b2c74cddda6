import { describe, expect, it } from "vitest";
import { makeCapabilities, meetsRequirements, withoutGrease } from "../../../src/mls/group/capabilities.js";
import { isGrease } from "../../../src/mls/structs/registry.js";

describe("capabilities", () => {
  it("list what is not a matter of course, and GREASE that says nothing", () => {
    const made = makeCapabilities({ extensions: [3, 0xf001], proposals: [1, 0xf002] });
    for (const list of [made.cipherSuites, made.extensions, made.proposals, made.credentials]) {
      expect(list.filter(isGrease).length).toBe(1);
    }
    expect(withoutGrease(made)).toEqual({
      versions: [1],
      cipherSuites: [2],
      extensions: [0xf001],
      proposals: [0xf002],
      credentials: [1],
    });
  });

  it("meet requirements that name default types, but no default credential types", () => {
    const { capabilities } = { capabilities: makeCapabilities({ credentials: [2] }) };
    const required = (extensionTypes: number[], proposalTypes: number[], credentialTypes: number[]) =>
      meetsRequirements(capabilities, { extensionTypes, proposalTypes, credentialTypes });
    expect(required([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7], [2])).toBe(true);
    expect(required([], [], [1])).toBe(false);
    expect(required([6], [], [])).toBe(false);
    expect(required([], [8], [])).toBe(false);
  });
});
