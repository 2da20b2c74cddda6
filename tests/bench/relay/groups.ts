import { randomBytes } from "../../../src/crypto/random.js";
import { EntryKind } from "../../../src/wire/protocol.js";
import { ENTRIES_HEAD, ENTRY_BYTES, groupLog, Member, MessageTemplate } from "./members.js";
import { type Competitor, MESSAGE_BYTES, SENDERS } from "./protocol.js";
import { RawSocket } from "./raw-socket.js";

/** One room of one competitor, as the load sees it. */
export interface Group {
  readonly readers: readonly RawSocket[];
  /** Messages in a frame of this length. */
  count(length: number, isText: boolean): number;
  /** Sends one message from the sender of that number. */
  send(sender: number): void;
  /** Called with the number of the sender whose append was answered. */
  onAnswer(listener: (sender: number) => void): void;
}

export async function connectGroup(competitor: Competitor, url: string, readers: number): Promise<Group> {
  switch (competitor) {
    case "subrosa":
      return connectSubrosa(url, readers);
    case "ws":
      return connectWs(url, readers);
    case "socket.io":
      return connectSocketIo(url, readers);
  }
}

/** Runs `make` so often, not all at once. */
export async function inTurns<T>(count: number, make: () => Promise<T>, atOnce = 100): Promise<T[]> {
  const made: T[] = [];
  let begun = 0;
  const worker = async () => {
    while (begun < count) {
      begun++;
      made.push(await make());
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return made;
}

async function connectSubrosa(url: string, count: number): Promise<Group> {
  const all = await inTurns(count + SENDERS, () => Member.connect(url));
  const senders = all.slice(0, SENDERS);
  const readers = all.slice(SENDERS);
  const creator = senders[0] as Member;
  const log = groupLog(randomBytes(32));
  const after = await creator.request("create", {
    groupId: log.id,
    first: {
      kind: EntryKind.commit,
      entryId: randomBytes(16),
      payload: randomBytes(64),
      bundle: {
        access: all
          .filter((member) => member !== creator)
          .map(({ userId, deviceId }) => ({ type: "add" as const, userId, deviceId, role: 1 as const })),
        welcome: randomBytes(64),
      },
    },
  });
  for (const reader of readers) {
    await reader.request("subscribe", { log, cursor: after });
    reader.socket.onMessage = undefined;
  }
  const templates = senders.map(() => new MessageTemplate(log, after));
  let answered: (sender: number) => void = () => {};
  senders.forEach(({ socket }, number) => {
    socket.onMessage = undefined;
    socket.onCount = () => answered(number);
  });
  return {
    readers: readers.map(({ socket }) => socket),
    count: (length) => Math.floor((length - ENTRIES_HEAD) / ENTRY_BYTES),
    send: (sender) => senders[sender]?.socket.send((templates[sender] as MessageTemplate).next()),
    onAnswer: (listener) => {
      answered = listener;
    },
  };
}

async function connectWs(url: string, count: number): Promise<Group> {
  const open = async (query: string) => {
    const socket = new RawSocket(`${url}/?room=${count}${query}`);
    await socket.opened;
    return socket;
  };
  const readers = await inTurns(count, () => open("&read"));
  const senders = await inTurns(SENDERS, () => open(""));
  const message = randomBytes(MESSAGE_BYTES);
  return {
    readers,
    count: () => 1,
    send: (sender) => senders[sender]?.send(message),
    onAnswer: () => {},
  };
}

async function connectSocketIo(url: string, count: number): Promise<Group> {
  const open = async (query: string) => {
    const socket = new RawSocket(`${url}&room=${count}${query}`);
    await new Promise<void>((resolve) => {
      socket.onMessage = (payload) => {
        const text = payload.toString();
        // engine.io opens, then the namespace is joined, then all is ready.
        if (text.startsWith("0")) socket.sendText("40");
        else if (text.startsWith("40")) resolve();
      };
    });
    socket.onMessage = undefined;
    return socket;
  };
  const readers = await inTurns(count, () => open("&read=1"));
  const senders = await inTurns(SENDERS, () => open(""));
  const message = randomBytes(MESSAGE_BYTES);
  return {
    readers,
    // A text frame with the event's name goes before each binary one.
    count: (_length, isText) => (isText ? 0 : 1),
    send: (sender) => {
      senders[sender]?.sendText('451-["m",{"_placeholder":true,"num":0}]');
      senders[sender]?.send(message);
    },
    onAnswer: () => {},
  };
}
