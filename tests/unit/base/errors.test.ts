import { describe, expect, it } from "vitest";
import { assertArgument, ERROR_CODES, SubrosaError } from "../../../src/base/errors.js";

describe("SubrosaError", () => {
  it("carries a code, a rule and a cause", () => {
    const cause = new Error("below");
    const error = new SubrosaError("invalid-message", "no", { rule: "RFC 9420 §12.2", cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: "SubrosaError", code: "invalid-message", rule: "RFC 9420 §12.2" });
    expect(error.cause).toBe(cause);
    expect("cause" in new SubrosaError("internal", "no")).toBe(false);
  });

  it("is recognised when another build of the package made it", () => {
    const foreign = Object.defineProperty(new Error("x"), Symbol.for("subrosa.error"), { value: true });
    expect(SubrosaError.is(foreign)).toBe(true);
    expect(SubrosaError.is(new SubrosaError("closed", "x"))).toBe(true);
    for (const other of [new Error("x"), null, undefined, "closed", { code: "closed" }]) {
      expect(SubrosaError.is(other)).toBe(false);
    }
  });

  it("has no code twice", () => {
    expect(new Set(ERROR_CODES).size).toBe(ERROR_CODES.length);
  });

  it("names the argument that is wrong", () => {
    expect(() => assertArgument(true, "x")).not.toThrow();
    expect(() => assertArgument(0, "port must be positive")).toThrow(
      expect.objectContaining({ code: "invalid-argument", message: "port must be positive" }),
    );
  });
});
