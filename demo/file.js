import { element, formatSize, icon } from "./dom.js";

/** The type of a picture that may be shown, told by its first bytes: a name could lie, and SVG can hold scripts. */
function pictureType(bytes) {
  const starts = (...prefix) => prefix.every((byte, index) => byte === bytes[index]);
  if (starts(0x89, 0x50, 0x4e, 0x47)) return "image/png";
  if (starts(0xff, 0xd8, 0xff)) return "image/jpeg";
  if (starts(0x47, 0x49, 0x46, 0x38)) return "image/gif";
  if (starts(0x52, 0x49, 0x46, 0x46) && String.fromCharCode(...bytes.subarray(8, 12)) === "WEBP")
    return "image/webp";
  return undefined;
}

export const isFile = ({ content }) => typeof content !== "string";
export const sizeOf = ({ content }) => content.length;

/** What is shown of a message of bytes: a picture, or a file to save. */
export function bytesNodes({ id, from, content }) {
  const type = pictureType(content);
  const url = URL.createObjectURL(new Blob([content], { type: type ?? "application/octet-stream" }));
  const size = formatSize(content.length);
  const extension = type?.slice("image/".length) ?? "bin";
  const link = element(
    "a",
    { class: "file", href: url, download: `${from}-${id.slice(0, 8)}.${extension}` },
    icon("file"),
    element("span", {}, type === undefined ? `File, ${size}` : `Picture, ${size}`),
  );
  if (type === undefined) return [link];
  const picture = element("img", { src: url, alt: `Picture from ${from}` });
  picture.addEventListener("error", () => picture.parentElement.remove());
  return [element("div", { class: "picture" }, picture), link];
}
