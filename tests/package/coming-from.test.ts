import { expect, it } from "vitest";
import { readText } from "./built-package.js";
import { compile, installApp } from "./installed-app.js";

installApp();

/** What the other product documents, whole: see the section of the README. */
const THEIRS = {
  properties: ["Client", "Broker", "E2EE_Options", "Guid", "Version"],
  methods: [
    "SendDirectMessage (text)",
    "SendDirectMessage (bytes)",
    "SendDirectMessage (stream)",
    "SendGroupMessage (text)",
    "SendGroupMessage (bytes)",
    "SendGroupMessage (stream)",
    "CreateGroup",
    "DeleteGroup",
    "JoinGroup",
    "LeaveGroup",
    "Subscribe",
    "UnSubscribe",
    "WriteData (text)",
    "WriteData (stream)",
  ],
  events: [
    "OnConnect",
    "OnDisconnect",
    "OnError",
    "OnException",
    "OnE2EEError",
    "OnE2EEMessageText",
    "OnE2EEMessageBinary",
    "OnE2EEMessageAck",
    "OnE2EEUserCreated",
    "OnE2EEUserDeleted",
    "OnE2EEGroupMessageText",
    "OnE2EEGroupMessageBinary",
    "OnE2EEGroupMessageAck",
    "OnE2EEGroupCreated",
    "OnE2EEGroupDeleted",
    "OnE2EEGroupJoin",
    "OnE2EEGroupLeave",
    "OnE2EEGroupMemberJoin",
    "OnE2EEGroupMemberLeave",
  ],
  options: ["E2EE_Options.UserId", "E2EE_Options.Ack.RcvDirectMessage", "E2EE_Options.Ack.RcvGroupMessage"],
  inherited: [
    "Subscriptions",
    "Protocol",
    "MsgType",
    "QueueMessages",
    "OnSubscription, OnUnSubscription",
    "OnMessage, OnBinary, OnFragmented",
  ],
  server: [
    "Server",
    "Broker (server)",
    "E2EE_Options.Ack (server)",
    "E2EE_Options.PublicKeys.ReceiveNewPublicKey",
    "Guid, Version (server)",
    "OnConnect, OnDisconnect (server)",
    "OnException, OnError (server)",
    "OnMessage, OnBinary (server)",
    "OnRawMessage",
    "OnE2EEMessageIn",
    "OnE2EEMessageOut",
    "OnBeforeSubscription",
    "OnSubscription, OnUnSubscription (server)",
  ],
};

interface Row {
  readonly theirs: string;
  readonly ours: readonly string[];
}

function rowsOfReadme(): Row[] {
  const [, section = ""] = readText("README.md").split("\n## Coming from sgcWebSockets\n");
  const lines = (section.split("\n## ")[0] ?? "").split("\n").filter((line) => line.startsWith("| `"));
  return lines.map((line) => {
    const [, theirs = "", ours = ""] = line.split(/(?<!\\)\|/);
    const codes = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, code]) => code as string);
    return { theirs: codes(theirs).join(""), ours: codes(ours) };
  });
}

/** The type that a name of our column stands for, as an app would write it. */
const FORMS: readonly [RegExp, (name: string) => string][] = [
  [/^client\.on\("(\w+)"\)$/, (name) => `ClientEvents["${name}"]`],
  [/^client\.unencrypted\.(\w+)/, (name) => `Client["unencrypted"]["${name}"]`],
  [/^client\.(\w+)/, (name) => `Client["${name}"]`],
  [/^Client\.(\w+)/, (name) => `(typeof Client)["${name}"]`],
  [/^new Client\(\{ (\w+) \}\)$/, (name) => `Required<ClientOptions>["${name}"]`],
  [/^message\.(\w+)$/, (name) => `Message["${name}"]`],
  [/^receipt\.(\w+)$/, (name) => `Required<Receipt>["${name}"]`],
  [/^error\.(\w+)$/, (name) => `SubrosaError["${name}"]`],
  [/^relay\.(\w+)/, (name) => `Relay["${name}"]`],
  [/^new Relay\(\{ limits: \{ (\w+) \} \}\)$/, (name) => `RelayLimits["${name}"]`],
  [/^new Relay\(\{ (\w+) \}\)$/, (name) => `Required<RelayOptions>["${name}"]`],
];

function typeOf(code: string): string {
  for (const [form, type] of FORMS) {
    const name = form.exec(code)?.[1];
    if (name !== undefined) return type(name);
  }
  throw new Error(`README: ${code} is written in none of the forms that can be looked up`);
}

it("has a row for everything the other product documents", () => {
  expect(rowsOfReadme().map(({ theirs }) => theirs)).toEqual(Object.values(THEIRS).flat());
});

it("names what there is in the built types, in every row", () => {
  const rows = rowsOfReadme();
  expect(rows.filter(({ ours }) => ours.length === 0)).toEqual([]);
  const types = rows.flatMap(({ ours }) => ours).map((code, i) => `export type T${i} = ${typeOf(code)};`);
  const imports = `
    import type { Client, ClientEvents, ClientOptions, Message, Receipt, SubrosaError } from "subrosa";
    import type { Relay, RelayLimits, RelayOptions } from "subrosa/relay";`;
  const check = (lines: readonly string[]) =>
    compile("parity.mts", [imports, ...lines].join("\n"), { lib: ["lib.es2022.d.ts"], types: ["node"] });
  expect(check(types)).toEqual([]);
  // The check sees a name that is missing.
  expect(check([`export type T = ${typeOf("client.sendCarrierPigeon")};`]).join()).toContain(
    "sendCarrierPigeon",
  );
});
