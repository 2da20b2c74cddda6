import { toast } from "./dom.js";
import { explain } from "./explain.js";

let count = 0;

/** A file on its way to the relay. */
export class Upload {
  transferred = 0;
  #aborter = new AbortController();
  #again;

  constructor(again) {
    this.#again = again;
  }

  get signal() {
    return this.#aborter.signal;
  }

  cancel() {
    this.#aborter.abort();
  }

  /** Tries once more after a failure. */
  again() {
    this.#again();
  }
}

/** Files that this page sends. */
export class Uploads {
  #session;
  #running = 0;

  constructor(session) {
    this.#session = session;
  }

  get isBusy() {
    return this.#running > 0;
  }

  /** Sends a file; it stands among the messages from the beginning. */
  async send(conversation, file) {
    const { me } = this.#session;
    conversation.addMessage({ id: `upload-${++count}`, from: me, content: file, sentAt: Date.now() });
    await this.#run(conversation, conversation.last);
  }

  async #run(conversation, message) {
    const { client, changed, me, receipts } = this.#session;
    const upload = new Upload(() => void this.#run(conversation, message));
    message.upload = upload;
    message.state = "uploading";
    message.code = undefined;
    const { content } = message;
    const options = {
      signal: upload.signal,
      onProgress: ({ transferred }) => {
        upload.transferred = transferred;
        changed();
      },
    };
    changed();
    this.#running++;
    try {
      const id = await (conversation.kind === "direct"
        ? client.sendDirectMessage(conversation.name, content, options)
        : client.sendGroupMessage(conversation.name, content, options));
      // A receipt may have come first, and the message with it out of the history.
      conversation.remove((item) => item !== message && item.id === id && item.from === me);
      message.id = id;
      message.upload = undefined;
      message.state = "pending";
      receipts.shows(message);
    } catch (error) {
      if (upload.signal.aborted) {
        conversation.remove((item) => item === message);
      } else {
        message.state = "failed";
        message.code = error.code;
        const { current } = this.#session;
        // What is on the screen says so itself.
        if (conversation !== current)
          toast(`${content.name}: ${explain(error)}`, { bad: true, code: error.code });
      }
    } finally {
      this.#running--;
      changed();
    }
  }
}
