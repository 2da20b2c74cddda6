import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type GroupPolicy,
  inByteOrder,
  MAX_BANNED,
  MAX_DISAPPEAR_AFTER,
  MIN_DISAPPEAR_AFTER,
  type Policy,
  policyExtension,
  policyOf,
} from "../../../src/client/conversation/membership/policy.js";
import { encode, type Writer } from "../../../src/codec/writer.js";
import { encodeName } from "../../../src/wire/identifiers.js";

const userId = fc.string({ minLength: 1, maxLength: 8, unit: fc.constantFrom("a", "b", "é", "€", "😀") });
const users = fc.uniqueArray(userId, { maxLength: 6 });
const disappearAfter = fc.oneof(
  fc.constant(0),
  fc.integer({ min: MIN_DISAPPEAR_AFTER, max: MAX_DISAPPEAR_AFTER }),
);
const accountKey = fc.uint8Array({ minLength: 65, maxLength: 65 }).map((bytes) => new Uint8Array(bytes));

const groupPolicy = fc.record<GroupPolicy>({
  kind: fc.constant("group"),
  name: userId,
  join: fc.constantFrom("approval", "open", "closed"),
  admins: users,
  banned: users.map(inByteOrder),
  disappearAfter,
});
const directPolicy = fc
  .tuple(fc.uniqueArray(userId, { minLength: 2, maxLength: 2 }), accountKey, disappearAfter)
  .map(([both, key, time]): Policy => {
    const pair = both.map((user) => ({ userId: user, accountKey: key }));
    return { kind: "direct", users: pair, disappearAfter: time };
  });

/** A group's policy as bytes that may not be what the encoder would write. */
function written(change: Partial<Pick<GroupPolicy, "admins" | "banned" | "disappearAfter">>): Policy {
  const { admins = ["a"], banned = [], disappearAfter: time = 0 } = change;
  const data = encode((writer: Writer) => {
    encodeName(writer.u8(1).u8(2), "team");
    writer.u8(0).vector(admins, encodeName).vector(banned, encodeName).uint53(time);
  }, undefined);
  const { extensionType } = policyExtension({ kind: "direct", users: [], disappearAfter: 0 });
  return policyOf([{ extensionType, data }]);
}

describe("the policy of a conversation", () => {
  it("is read as it was written", () => {
    fc.assert(
      fc.property(fc.oneof(groupPolicy, directPolicy), (policy) => {
        expect(policyOf([policyExtension(policy)])).toEqual(policy);
      }),
    );
  });

  it("has one encoding: whatever decodes is what the encoder writes", () => {
    const { extensionType } = policyExtension({ kind: "direct", users: [], disappearAfter: 0 });
    fc.assert(
      fc.property(
        fc.oneof(groupPolicy, directPolicy),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (policy, at, flip) => {
          const data = policyExtension(policy).data.slice();
          data[at % data.length] = (data[at % data.length] as number) ^ flip;
          let read: Policy;
          try {
            read = policyOf([{ extensionType, data }]);
          } catch (error) {
            expect(error).toMatchObject({ code: "malformed" });
            return;
          }
          expect(policyExtension(read).data).toEqual(data);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it("lists banned users in the order of their bytes, each once, and no more than there may be", () => {
    expect(written({ banned: ["a", "b"] })).toMatchObject({ banned: ["a", "b"] });
    // UTF-16 has these two the other way round.
    const [wide, narrow] = ["😀", "\uff5e"];
    expect(inByteOrder([wide, narrow])).toEqual([narrow, wide]);
    expect(written({ banned: [narrow, wide] })).toMatchObject({ banned: [narrow, wide] });
    for (const banned of [
      ["b", "a"],
      ["a", "a"],
      [wide, narrow],
    ])
      expect(() => written({ banned })).toThrow(expect.objectContaining({ code: "malformed" }));
    const many = Array.from({ length: MAX_BANNED }, (_, at) => `user ${String(at).padStart(5, "0")}`);
    expect(written({ banned: many })).toMatchObject({ banned: many });
    expect(() => written({ banned: [...many, "zoe"] })).toThrow(
      expect.objectContaining({ code: "malformed" }),
    );
  });

  it("names no admin twice, and no time that is too short or too long", () => {
    expect(() => written({ admins: ["a", "a"] })).toThrow(expect.objectContaining({ code: "malformed" }));
    expect(written({ disappearAfter: MAX_DISAPPEAR_AFTER })).toMatchObject({
      disappearAfter: MAX_DISAPPEAR_AFTER,
    });
    for (const time of [1, MIN_DISAPPEAR_AFTER - 1, MAX_DISAPPEAR_AFTER + 1])
      expect(() => written({ disappearAfter: time })).toThrow(expect.objectContaining({ code: "malformed" }));
  });
});
