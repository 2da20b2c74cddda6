import { cp } from "node:fs/promises";
import { openStore } from "../../src/node.js";
import { type Actor, connected, type TestRelay, temporaryFolder } from "./harness.js";

/** Alice's store in two folders, the second of which was copied before `meanwhile`. */
export async function copied(
  relay: TestRelay,
  before: (alice: Actor) => Promise<void>,
  meanwhile: (alice: Actor) => Promise<void>,
): Promise<{ original: string; copy: string }> {
  const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
  const first = await connected(relay, "alice", { store: await openStore(original) });
  await before(first);
  await first.client.close();
  await cp(original, copy, { recursive: true });
  const second = await connected(relay, "alice", { store: await openStore(original) });
  await meanwhile(second);
  await second.client.close();
  return { original, copy };
}

/** Each writes to the other, and gets what the other writes. */
export async function exchange(a: Actor, b: Actor, text: string): Promise<void> {
  await a.client.sendDirectMessage(b.userId, `${text} from ${a.userId}`);
  await b.message(`${text} from ${a.userId}`);
  await b.client.sendDirectMessage(a.userId, `${text} from ${b.userId}`);
  await a.message(`${text} from ${b.userId}`);
}
