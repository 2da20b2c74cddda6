import type { IncomingMessage } from "node:http";
import { isIPv6 } from "node:net";

/** How many groups of 16 bits of an IPv6 address are one customer's network (RFC 6177). */
const NETWORK_GROUPS = 4;
/** As some proxies write it: with the port that it came from, an IPv6 address then in brackets. */
const WITH_PORT = /^(?:\[([^\]]*)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?$/;
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

/**
 * Where a connection comes from. With `proxies` trusted proxies before the relay, each of which has appended the
 * address it was reached from to `X-Forwarded-For`, it is that many places from the end of the list: what stands
 * further to the left, anyone can write.
 */
export function addressOf(request: IncomingMessage, proxies: number): string {
  const direct = request.socket.remoteAddress ?? "";
  if (proxies === 0) return networkOf(direct);
  const headers = request.headersDistinct["x-forwarded-for"] ?? [];
  const forwarded = headers.flatMap((header) => header.split(",")).map((part) => part.trim());
  return networkOf(forwarded.at(-proxies) ?? direct);
}

/** What counts as one address, with or without a port: an IPv4 address, the /64 of an IPv6 one. */
export function networkOf(address: string): string {
  const [, inBrackets, dotted] = WITH_PORT.exec(address) ?? [];
  const host = inBrackets ?? dotted ?? address;
  const mapped = MAPPED.exec(host)?.[1];
  if (mapped !== undefined) return mapped;
  const plain = host.replace(/%.*$/, "");
  if (!isIPv6(plain)) return host.slice(0, 64);
  const [head = "", tail] = plain.toLowerCase().split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array<string>(zeros).fill("0"), ...right].slice(0, NETWORK_GROUPS);
  return `${groups.map((group) => group.replace(/^0+(?=.)/, "")).join(":")}::/64`;
}
