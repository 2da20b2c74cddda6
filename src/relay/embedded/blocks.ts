import { fromUtf8 } from "../../base/encoding.js";
import type { BlockCommand } from "../storage.js";
import { after, bytesOf, keys } from "./keys.js";
import { type Records, refuse, type Transaction } from "./transaction.js";

/** PROTOCOL.md, "Blocking". */
export function setBlocked(transaction: Transaction, command: BlockCommand): void {
  const { userId, other, blocked, maxBlocked } = command;
  const key = keys.block(userId, other);
  if (!blocked) {
    if (transaction.has(key)) transaction.delete(key);
    return;
  }
  if (transaction.has(key)) return;
  if (blockedBy(transaction, userId).length >= maxBlocked) {
    refuse("quota-exceeded", "the user has blocked too many others");
  }
  transaction.putBytes(key, new Uint8Array(1));
}

export function blockedBy(records: Records, userId: string): string[] {
  const prefix = keys.blocks(userId);
  const users: string[] = [];
  for (const [key] of records.view.range(prefix, after(prefix)))
    users.push(fromUtf8(bytesOf(key, prefix.length)));
  return users;
}

/** Nothing is left of whom a removed user had blocked. */
export function forgetBlocks(transaction: Transaction, userId: string): void {
  for (const other of blockedBy(transaction, userId)) transaction.delete(keys.block(userId, other));
}
