import { cp, rm } from "node:fs/promises";
import { type Actor, startRelay, type TestRelay, temporaryFolder } from "./harness.js";

/** A relay whose data can be set back to what it was when it was backed up, under any name. */
export interface RelayWithBackups {
  readonly relay: TestRelay;
  backUp(name?: string): Promise<void>;
  /** `meanwhile` happens while the relay is away. */
  restore(name?: string, meanwhile?: () => Promise<unknown>): Promise<void>;
}

export async function relayWithBackups(): Promise<RelayWithBackups> {
  const data = await temporaryFolder();
  const backups = await temporaryFolder();
  const relay = await startRelay({ data });
  const copy = async (from: string, to: string, meanwhile?: () => Promise<unknown>) => {
    await relay.stop();
    await rm(to, { recursive: true, force: true });
    await cp(from, to, { recursive: true });
    await meanwhile?.();
    await relay.start();
  };
  return {
    relay,
    backUp: (name = "yesterday") => copy(data, `${backups}/${name}`),
    restore: (name = "yesterday", meanwhile) => copy(`${backups}/${name}`, data, meanwhile),
  };
}

/** Waits until so many of the actor's messages are in the relay's log. */
export const sent = (actor: Actor, count: number) =>
  actor.until(() => {
    const ids = actor.all("receipt").flatMap((one) => (one.state === "sent" ? one.ids : []));
    return ids.length >= count || undefined;
  }, `${count} messages sent`);

export const numbered = (name: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${name} ${i}`);
