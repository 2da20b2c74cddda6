import { element, formatSize, icon } from "./dom.js";
import { explain } from "./explain.js";

/** Pictures of up to so many bytes are shown without being asked for. */
const MAX_PREVIEW = 8 * 1024 * 1024;
const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const NEAR = "400px";

/** The type of a picture that may be shown, told by its first bytes: a name could lie, and SVG can hold scripts. */
async function pictureType(blob) {
  const bytes = new Uint8Array(await blob.slice(0, 12).arrayBuffer());
  const starts = (...prefix) => prefix.every((byte, index) => byte === bytes[index]);
  if (starts(0x89, 0x50, 0x4e, 0x47)) return "image/png";
  if (starts(0xff, 0xd8, 0xff)) return "image/jpeg";
  if (starts(0x47, 0x49, 0x46, 0x38)) return "image/gif";
  if (starts(0x52, 0x49, 0x46, 0x46) && String.fromCharCode(...bytes.subarray(8, 12)) === "WEBP")
    return "image/webp";
  return undefined;
}

/** Fetches what comes near the screen. */
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      target.dispatchEvent(new Event("near"));
    }
  },
  { rootMargin: NEAR },
);

export const isFile = ({ content }) => typeof content !== "string";
export const sizeOf = ({ content }) => content.size ?? content.length;

/** A message that is a file: one that is being sent, bytes, or an attachment that is at the relay until it is fetched. */
export class FileView {
  #message;
  #url;
  #fetching;
  #name;
  #status = element("span", { class: "file-status" });
  #progress = element("progress", { max: 1, hidden: true });
  #button = element("button", { type: "button", class: "icon" });
  #picture = element("div", { class: "picture", hidden: true });
  #action;

  constructor(message) {
    const { content, from, id } = message;
    this.#message = message;
    this.#name = content.name ?? `${from}-${id.slice(0, 8)}`;
    this.#progress.setAttribute("aria-label", `${this.#name}: progress`);
    this.#button.addEventListener("click", () => this.#action());
    const text = element("div", { class: "file-text" }, element("span", { class: "file-name" }, this.#name));
    text.append(this.#progress, this.#status);
    this.nodes = [this.#picture, element("div", { class: "file" }, icon("file"), text, this.#button)];
    message.release = () => {
      this.#fetching?.abort();
      if (this.#url !== undefined) URL.revokeObjectURL(this.#url);
    };
    this.#begin(content);
  }

  #begin(content) {
    if (content instanceof Uint8Array) void this.#take(new Blob([content]));
    else if (content instanceof Blob) void this.#take(content);
    else {
      this.#rest();
      if (PICTURES.includes(content.mimeType) && content.size <= MAX_PREVIEW) {
        const [, row] = this.nodes;
        row.addEventListener("near", () => void this.#fetch());
        watcher.observe(row);
      }
    }
  }

  /** Shows how far it is on its way to the relay. */
  show() {
    const { upload, state } = this.#message;
    if (upload === undefined) {
      if (this.#action === this.#cancelUpload || this.#action === this.#sendAgain) this.#offerSaving();
    } else if (state === "failed") {
      this.#offer("again", "Send again", this.#sendAgain);
      this.#say(formatSize(sizeOf(this.#message)));
    } else {
      this.#offer("close", "Cancel", this.#cancelUpload);
      this.#showProgress(upload.transferred);
    }
  }

  #cancelUpload = () => this.#message.upload?.cancel();
  #sendAgain = () => this.#message.upload?.again();
  #save = () => {
    element("a", { href: this.#url, download: this.#name }).click();
  };
  #fetchAndSave = async () => {
    if (await this.#fetch()) this.#save();
  };

  /** Nothing of it is here. */
  #rest(text = formatSize(sizeOf(this.#message))) {
    this.#offer("download", "Download", this.#fetchAndSave);
    this.#say(text);
  }

  /** Resolves to whether all of it is here. */
  async #fetch() {
    if (this.#url !== undefined) return true;
    if (this.#fetching !== undefined) return false;
    const aborter = new AbortController();
    this.#fetching = aborter;
    this.#offer("close", "Cancel", () => aborter.abort());
    this.#showProgress(0);
    try {
      const onProgress = ({ transferred }) => this.#showProgress(transferred);
      await this.#take(await this.#message.content.blob({ onProgress, signal: aborter.signal }));
      return true;
    } catch (error) {
      this.#rest(aborter.signal.aborted ? undefined : explain(error));
      return false;
    } finally {
      this.#fetching = undefined;
    }
  }

  /** All of it is here. */
  async #take(blob) {
    const type = await pictureType(blob);
    // A type of our own: what is saved is never opened as a page of this origin.
    this.#url = URL.createObjectURL(new Blob([blob], { type: type ?? "application/octet-stream" }));
    if (type !== undefined) this.#showPicture(type);
    this.#offerSaving();
    this.show();
  }

  #showPicture(type) {
    const { from, content } = this.#message;
    if (content.name === undefined) this.#name = `${this.#name}.${type.slice("image/".length)}`;
    const picture = element("img", { src: this.#url, alt: `Picture from ${from}: ${this.#name}` });
    picture.addEventListener("error", () => this.#picture.remove());
    this.#picture.replaceChildren(picture);
    this.#picture.hidden = false;
  }

  #offerSaving() {
    if (this.#url === undefined) return;
    this.#offer("download", "Save", this.#save);
    this.#say(formatSize(sizeOf(this.#message)));
  }

  #offer(symbol, label, action) {
    if (this.#action === action) return;
    this.#action = action;
    this.#button.replaceChildren(icon(symbol));
    this.#button.title = label;
    this.#button.setAttribute("aria-label", `${label} ${this.#name}`);
  }

  #showProgress(transferred) {
    const size = sizeOf(this.#message);
    this.#progress.hidden = false;
    this.#progress.value = size === 0 ? 1 : transferred / size;
    this.#status.textContent = `${formatSize(transferred)} of ${formatSize(size)}`;
  }

  #say(text) {
    this.#progress.hidden = true;
    this.#status.textContent = text;
  }
}
