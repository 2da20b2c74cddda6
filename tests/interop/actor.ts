/** An extension of the group context. */
export interface GroupExtension {
  readonly type: number;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** What a proposal does, in terms that both implementations understand. */
export type Change =
  | { readonly kind: "add"; readonly keyPackage: Uint8Array }
  | { readonly kind: "remove"; readonly leaf: number }
  /** A new leaf for the proposer; never by value in a commit. */
  | { readonly kind: "update" }
  | { readonly kind: "psk"; readonly id: Uint8Array }
  | { readonly kind: "resumption"; readonly groupId: Uint8Array; readonly epoch: bigint }
  | { readonly kind: "extensions"; readonly extensions: readonly GroupExtension[] }
  | { readonly kind: "reinit"; readonly groupId: Uint8Array };

export interface Framing {
  /** Signed in the clear instead of encrypted. */
  readonly isPublic?: boolean;
  readonly authenticatedData?: Uint8Array<ArrayBuffer>;
}

export interface CommitRequest extends Framing {
  /** By value; the proposals received in this epoch are covered too. */
  readonly changes?: readonly Change[];
  /** Whether a Welcome holds the tree (default true). */
  readonly treeInside?: boolean;
}

/** A commit that is not in force yet. */
export interface SentCommit {
  readonly commit: Uint8Array;
  readonly welcome: Uint8Array | undefined;
  /** Puts it into force for its committer. */
  readonly accept: () => void;
  /** The tree after it, encoded, to be handed out beside the Welcome. */
  readonly tree: () => Uint8Array;
}

export interface Received {
  readonly kind: "application" | "proposal" | "commit";
  readonly content?: string;
  /** True when the commit removed this actor. */
  readonly isRemoved?: boolean;
}

/** Pre-shared keys that the application knows, by the hexadecimal form of their ids. */
export type Psks = Map<string, Uint8Array<ArrayBuffer>>;

/** One client of either implementation. Everything that passes between two of them is bytes. */
export interface Actor {
  readonly name: string;
  readonly psks: Psks;
  readonly isMember: boolean;
  readonly leaf: number;
  readonly epoch: bigint;
  /** A fresh key package, which {@link join} then uses. */
  renewKeyPackage(): Promise<Uint8Array>;
  createGroup(groupId: Uint8Array, extensions?: readonly GroupExtension[]): Promise<void>;
  join(welcome: Uint8Array, tree?: Uint8Array): Promise<void>;
  joinByCommit(
    groupInfo: Uint8Array,
    options?: { tree?: Uint8Array; isResync?: boolean },
  ): Promise<SentCommit>;
  /** A GroupInfo for external commits. */
  groupInfo(treeInside: boolean): Promise<Uint8Array>;
  encodedTree(): Uint8Array;
  propose(change: Change, framing?: Framing): Promise<Uint8Array>;
  /** A proposal to be added, by one who is not a member. */
  proposeOwnAddition(groupInfo: Uint8Array): Promise<Uint8Array>;
  commit(request?: CommitRequest): Promise<SentCommit>;
  /** Processes a message; a commit is in force afterwards. */
  receive(message: Uint8Array): Promise<Received>;
  send(text: string, authenticatedData?: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
  authenticator(): string;
  exportSecret(label: string, context: Uint8Array, length: number): Promise<string>;
  /** The members' leaf indices and names. */
  members(): Map<number, string>;
  /** The new group that a committed ReInit announced; returns the Welcome. */
  reinitialize(keyPackages: readonly Uint8Array[], groupId: Uint8Array): Promise<Uint8Array>;
  /** A new group out of this one; returns the Welcome. */
  branch(keyPackages: readonly Uint8Array[], groupId: Uint8Array): Promise<Uint8Array>;
  /** Joins the group that follows or branches from the own one. */
  joinSuccessor(welcome: Uint8Array, tree?: Uint8Array): Promise<void>;
}
