import { expect } from "vitest";
import { toHex, toUtf8 } from "../../src/base/encoding.js";
import type { Actor, CommitRequest } from "./actor.js";
import { isTooStrict } from "./ts-mls-tools.js";

/** Clients of both implementations in one group; what one sends, all others get. */
export class Group {
  readonly #actors: Actor[];
  #count = 0;

  constructor(actors: readonly Actor[]) {
    this.#actors = [...actors];
  }

  get members(): Actor[] {
    return this.#actors.filter(({ isMember }) => isMember);
  }

  /** Somebody who has joined in another way. */
  admit(actor: Actor): void {
    this.#actors.push(actor);
  }

  others(actor: Actor): Actor[] {
    return this.members.filter((other) => other !== actor);
  }

  /** The first of the actors creates the group and adds all others in one commit. */
  static async of(actors: readonly Actor[], groupId = toUtf8("group")): Promise<Group> {
    const [first, ...others] = actors as [Actor, ...Actor[]];
    await first.createGroup(groupId);
    const group = new Group([first]);
    await group.add(first, others);
    return group;
  }

  async add(by: Actor, joiners: readonly Actor[], request: CommitRequest = {}): Promise<void> {
    const keyPackages = await Promise.all(joiners.map((joiner) => joiner.renewKeyPackage()));
    const additions = keyPackages.map((keyPackage) => ({ kind: "add", keyPackage }) as const);
    const changes = [...(request.changes ?? []), ...additions];
    expect(await this.commit(by, { ...request, changes }, joiners)).toBe(true);
  }

  /** Commits; false, with nothing changed, when ts-mls refuses to join such a tree. */
  async commit(by: Actor, request: CommitRequest = {}, joiners: readonly Actor[] = []): Promise<boolean> {
    const sent = await by.commit(request);
    const others = this.others(by);
    expect(sent.welcome !== undefined).toBe(joiners.length > 0);
    if (sent.welcome !== undefined) {
      const tree = request.treeInside === false ? [sent.tree()] : [];
      for (const joiner of joiners) {
        try {
          await joiner.join(sent.welcome, ...tree);
        } catch (error) {
          if (isTooStrict(error)) return false;
          throw error;
        }
      }
    }
    for (const other of others) {
      const received = await other.receive(sent.commit);
      expect(received.kind).toBe("commit");
      expect(received.isRemoved).toBe(!other.isMember);
    }
    sent.accept();
    this.#actors.push(...joiners);
    await this.agree();
    return true;
  }

  /** A proposal by one that all others take in. */
  async propose(by: Actor, ...args: Parameters<Actor["propose"]>): Promise<void> {
    await this.deliver(by, await by.propose(...args), "proposal");
  }

  /** Everybody but the sender takes a message in. */
  async deliver(from: Actor | undefined, message: Uint8Array, kind: "proposal" | "commit"): Promise<void> {
    for (const other of this.members) {
      if (other !== from) expect((await other.receive(message)).kind).toBe(kind);
    }
  }

  /** The same epoch, secrets, members and tree for all. */
  async agree(): Promise<void> {
    const label = `label ${this.#count++}`;
    const views = await Promise.all(
      this.members.map(async (actor) => ({
        epoch: actor.epoch,
        authenticator: actor.authenticator(),
        exported: await actor.exportSecret(label, toUtf8("context"), 48),
        members: actor.members(),
        tree: toHex(actor.encodedTree()),
      })),
    );
    for (const view of views) expect(view).toEqual(views[0]);
    for (const actor of this.members) expect(actor.members().get(actor.leaf)).toBe(actor.name);
  }

  /** Everybody writes, everybody else reads. */
  async talk(): Promise<void> {
    for (const sender of this.members) await this.say(sender, `${this.#count++} from ${sender.name}`);
  }

  async say(sender: Actor, text: string): Promise<void> {
    const message = await sender.send(text);
    for (const reader of this.others(sender)) {
      expect(await reader.receive(message)).toEqual({ kind: "application", content: text });
    }
  }
}
