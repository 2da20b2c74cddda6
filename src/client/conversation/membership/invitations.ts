import { SubrosaError } from "../../../base/errors.js";
import type { Context } from "../../context.js";
import type { Conversation } from "../conversation.js";
import { isMember, type Registry } from "../registry.js";
import { hasFingerprint } from "./join.js";
import { isWith, usersOf } from "./leaves.js";

export interface InvitationOptions {
  /** Whether those by verified users are accepted by themselves. */
  readonly automatic: boolean;
}

/** Groups that this user was put into without having asked: followed, and shown once accepted. */
export class Invitations {
  readonly #context: Context;
  readonly #registry: Registry;
  readonly #options: InvitationOptions;
  /** How often the user had come into each when it was shown: who was removed may be invited again. */
  readonly #shown = new WeakMap<Conversation, number>();

  constructor(context: Context, registry: Registry, options: InvitationOptions) {
    this.#context = context;
    this.#registry = registry;
    this.#options = options;
    for (const conversation of registry.all()) {
      if (conversation.state.record.status === "invited") context.delivery.hold(conversation.key);
    }
  }

  /** Raises the event for each invitation that was not shown in this process yet. */
  show(): void {
    for (const conversation of this.#registry.all()) {
      const { record, group } = conversation.state;
      const { subject, status, inviter } = record;
      if (status !== "invited" || subject.kind !== "group" || group === undefined) continue;
      const { entered } = conversation;
      if (this.#shown.get(conversation) === entered) continue;
      this.#shown.set(conversation, entered);
      const from = inviter ?? "";
      if (record.hasLeft) {
        this.#context.background(this.reject(conversation));
        continue;
      }
      if (this.#options.automatic && this.#isVerified(conversation, from)) {
        void this.accept(conversation).catch((error: unknown) => this.#context.report(error));
        continue;
      }
      this.#context.emit("invitation", {
        id: `${conversation.key} ${record.joinedAt}`,
        group: subject.name,
        from,
        members: usersOf(group),
        accept: async () => {
          if (await this.accept(conversation)) return;
          throw new SubrosaError("not-a-member", "the invitation has been withdrawn");
        },
        reject: () => this.reject(conversation),
        isOpen: () => conversation.state.record.status === "invited" && conversation.entered === entered,
      });
    }
  }

  /** The inviter is verified, and the leaf that invites bears the verified key. */
  #isVerified(conversation: Conversation, userId: string): boolean {
    const contact = this.#context.contacts.get(userId);
    const { group } = conversation.state;
    return contact?.verified === true && isWith(group, userId, contact.pinnedKey);
  }

  /**
   * With `expected`, the inviter must have that fingerprint; throws `identity-mismatch`. False where this user is not in
   * the group any more.
   */
  async accept(conversation: Conversation, expected?: string): Promise<boolean> {
    const { group, record } = conversation.state;
    if (
      expected !== undefined &&
      group !== undefined &&
      !(await hasFingerprint(group, record.inviter ?? "", expected))
    ) {
      throw new SubrosaError("identity-mismatch", "the inviter has not the expected fingerprint");
    }
    const accepted = await conversation.step((step) => {
      const { subject, status, missed = 0 } = step.record;
      if (status !== "invited" || step.group === undefined) return isMember(step.record);
      step.setRecord({ status: "active", inviter: undefined, missed: 0 });
      step.tellMissed("no-key-package", missed);
      const members = usersOf(step.group);
      if (subject.kind === "group") {
        step.after(() => this.#context.emit("groupJoin", { group: subject.name, members }));
      }
      return true;
    });
    if (accepted) {
      this.#context.delivery.release(conversation.key);
      conversation.flush();
    }
    return accepted;
  }

  async reject(conversation: Conversation): Promise<void> {
    if (conversation.state.record.status !== "invited") return;
    await conversation.perform({ type: "leave" });
  }
}
