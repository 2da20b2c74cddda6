import { equalBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import { type GroupState, readKeyPackage } from "../../mls/group/index.js";
import type { Account } from "../../wire/identity.js";
import type { ResultOf } from "../../wire/requests.js";
import type { Context } from "../context.js";
import { presentDevices } from "./duties.js";
import type { Action } from "./intent.js";
import { identityIn } from "./leaves.js";
import type { Addition } from "./seal.js";
import type { ConversationState } from "./state.js";

/**
 * The key packages that an `add` commits: the one of a join request, else one for each device of the user. Throws
 * `already-a-member`, `identity-changed`, `identity-mismatch`, and what the directory answers.
 */
export async function keyPackagesFor(
  context: Context,
  state: ConversationState,
  action: Extract<Action, { type: "add" }>,
): Promise<Addition> {
  // Who is leaving may come back: one commit removes the old leaf and adds the new one.
  const present = presentDevices(state.group as GroupState, state.access, context.identity.deviceId);
  if (action.request !== undefined) {
    if (present.has(toHex(action.request.deviceId))) {
      throw new SubrosaError("already-a-member", `${action.userId} is a member`);
    }
    // What the request says of its user must be what the directory says.
    const account = await context.relay.request("fetchAccount", { userId: action.userId });
    await context.contacts.checkAccount(account, action.userId, action.expected);
    return { keyPackages: [checkedKeyPackage(account, action.request)] };
  }
  const found = await context.relay.request("fetchKeyPackages", { userId: action.userId });
  await context.contacts.checkAccount(found.account, action.userId, action.expected);
  if (found.devices.length === 0) {
    throw new SubrosaError("no-key-package", `the relay has no key package of ${action.userId}`);
  }
  const keyPackages = found.devices
    .filter((device) => !present.has(toHex(device.deviceId)))
    .map((device) => checkedKeyPackage(found.account, device));
  if (keyPackages.length === 0) throw new SubrosaError("already-a-member", `${action.userId} is a member`);
  return { keyPackages };
}

/** The device's key package, if it is of that device in the account's own list. The engine checks the rest. */
export function checkedKeyPackage(
  account: Account,
  device: Pick<ResultOf<"fetchKeyPackages">["devices"][number], "deviceId" | "keyPackage">,
): ResultOf<"fetchKeyPackages">["devices"][number]["keyPackage"] {
  const { leafNode } = readKeyPackage(device.keyPackage);
  const identity = identityIn(leafNode.credential);
  const listed = account.deviceList.list.devices.some(
    ({ deviceId, deviceKey }) =>
      equalBytes(deviceId, identity.deviceId) && equalBytes(deviceKey, leafNode.signatureKey),
  );
  if (
    !listed ||
    identity.userId !== account.userId ||
    !equalBytes(identity.deviceId, device.deviceId) ||
    !equalBytes(identity.accountKey, account.accountKey)
  ) {
    throw new SubrosaError("protocol-error", "the relay offers a key package of another account");
  }
  return device.keyPackage;
}
