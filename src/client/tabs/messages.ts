import { ERROR_CODES, SubrosaError } from "../../base/errors.js";
import type { MessageData } from "../events.js";
import type { ConnectionState } from "./core.js";

/** Another version of this package may run in another tab: what has another number is not for us. */
export const TABS_VERSION = 1;

/** An error as data. */
export interface ErrorData {
  readonly code: string;
  readonly message: string;
  readonly rule?: string | undefined;
  readonly payload?: Uint8Array | undefined;
}

/** From a tab to the owner. */
export type ToOwner =
  /** A tab is there, or has come to know of a new owner. */
  | { readonly type: "hello"; readonly listening: boolean }
  | { readonly type: "ping" }
  /** The tab is frozen: it is not to be waited for until it says something again. */
  | { readonly type: "away" }
  | { readonly type: "bye" }
  | {
      readonly type: "call";
      readonly id: number;
      readonly name: string;
      readonly args: readonly unknown[];
      /** An earlier owner may have done it. */
      readonly repeated: boolean;
    }
  /** Nobody waits for the call any more. */
  | { readonly type: "cancel"; readonly id: number }
  /** The answer to a send has come: its record can go. */
  | { readonly type: "got"; readonly messageId: string }
  | { readonly type: "listen"; readonly on: boolean }
  /** The tab's app is done with a message, or did not take it. */
  | { readonly type: "settled"; readonly delivery: number; readonly took: boolean };

/** From the owner to all tabs, or to those it names. */
export type FromOwner =
  /** Who owns the store and where it stands; also the answer to `hello` and `ping`. */
  | { readonly type: "owner"; readonly deviceId: string; readonly state: ConnectionState }
  /** A tab has the right to be the owner and opens the store; without a tenure yet. */
  | { readonly type: "claim" }
  | { readonly type: "who" }
  | { readonly type: "answer"; readonly to: string; readonly id: number; readonly result: unknown }
  | { readonly type: "refusal"; readonly to: string; readonly id: number; readonly error: ErrorData }
  /** With `to`, for a tab that was not there when it happened. */
  | { readonly type: "event"; readonly name: string; readonly event: unknown; readonly to?: string }
  | {
      readonly type: "message";
      readonly to: readonly string[];
      readonly delivery: number;
      readonly message: MessageData;
    };

interface Head {
  /** The tab that says it. */
  readonly from: string;
  /** The owner's number in the store: whose tenure it is about. 0 when none is known. */
  readonly tenure: number;
}

/**
 * What tabs say to each other. It holds messages and events in the clear: a BroadcastChannel reaches the pages of the
 * same origin in the same browser profile, which can open the store as well, and is kept nowhere.
 */
export type TabMessage = Head &
  ({ readonly side: "tab"; readonly body: ToOwner } | { readonly side: "owner"; readonly body: FromOwner });

export function pack(message: TabMessage): unknown {
  return { subrosa: TABS_VERSION, ...message };
}

type Fields = Record<string, "string" | "number" | "boolean" | "array" | "object" | "any">;

const SHAPES: Record<TabMessage["side"], Record<string, Fields>> = {
  tab: {
    hello: { listening: "boolean" },
    ping: {},
    away: {},
    bye: {},
    call: { id: "number", name: "string", args: "array", repeated: "boolean" },
    cancel: { id: "number" },
    got: { messageId: "string" },
    listen: { on: "boolean" },
    settled: { delivery: "number", took: "boolean" },
  },
  owner: {
    owner: { deviceId: "string", state: "string" },
    claim: {},
    who: {},
    answer: { to: "string", id: "number", result: "any" },
    refusal: { to: "string", id: "number", error: "object" },
    event: { name: "string", event: "any" },
    message: { to: "array", delivery: "number", message: "object" },
  },
};

function hasShape(value: unknown, fields: Fields): boolean {
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(fields).every(([name, type]) => {
    const field = (value as Record<string, unknown>)[name];
    if (type === "array") return Array.isArray(field);
    if (type === "object") return typeof field === "object" && field !== null;
    return type === "any" || typeof field === type;
  });
}

/** The message; undefined for what is none of this version. */
export function unpack(data: unknown): TabMessage | undefined {
  const head: Fields = {
    subrosa: "number",
    from: "string",
    tenure: "number",
    side: "string",
    body: "object",
  };
  if (!hasShape(data, head)) return undefined;
  const { subrosa, ...message } = data as TabMessage & { subrosa: number };
  if (subrosa !== TABS_VERSION || !Object.hasOwn(SHAPES, message.side)) return undefined;
  const shapes = SHAPES[message.side];
  const { type } = message.body as { type: unknown };
  if (typeof type !== "string" || !Object.hasOwn(shapes, type)) return undefined;
  return hasShape(message.body, shapes[type] as Fields) ? message : undefined;
}

/** Whether an owner with another version of this package says that it is there. */
export function isForeignOwner(data: unknown): boolean {
  if (!hasShape(data, { subrosa: "number", side: "string" })) return false;
  const { subrosa, side } = data as { subrosa: number; side: string };
  return subrosa !== TABS_VERSION && side === "owner";
}

export function errorToData(error: unknown): ErrorData {
  if (!SubrosaError.is(error)) return { code: "internal", message: "an unexpected error in another tab" };
  const { code, message, rule, payload } = error;
  return { code, message, rule, payload };
}

export function errorFromData({ code, message, rule, payload }: ErrorData): SubrosaError {
  const known = ERROR_CODES.find((one) => one === code) ?? "internal";
  return new SubrosaError(known, String(message), {
    ...(typeof rule === "string" && { rule }),
    ...(payload instanceof Uint8Array && { payload }),
  });
}
