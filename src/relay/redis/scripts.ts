import { BLOB_SCRIPTS } from "./blob-scripts.js";

/** A script in Redis' Lua, run by its digest, which the server computes. */
export interface Script {
  readonly name: string;
  readonly source: string;
}

/**
 * Checks everything that a command read and makes all its changes, or makes none and says what is otherwise.
 * Arguments: key index of what is touched when there are no changes, "0" for nothing; key index of a channel and a
 * message, "0" without one; the checks: count, then kind, key index, field, value each; the changes likewise.
 * Reply: nothing, or position and present value of each check that failed.
 */
export const COMMIT: Script = {
  name: "commit",
  source: `
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
local touch, channel, message = tonumber(take()), tonumber(take()), take()
local failed = {}
for position = 1, tonumber(take()) do
  local kind, key, field, expected = take(), KEYS[tonumber(take())], take(), take()
  if kind == 'length' then
    if redis.call('HLEN', key) ~= tonumber(expected) then
      failed[#failed + 1] = position
      failed[#failed + 1] = ''
    end
  elseif kind == 'exists' then
    if redis.call('HEXISTS', key, field) ~= tonumber(expected) then
      failed[#failed + 1] = position
      failed[#failed + 1] = ''
    end
  else
    local value = redis.call('HGET', key, field)
    local same = value == expected
    if kind == 'absent' then same = not value end
    if not same then
      failed[#failed + 1] = position
      failed[#failed + 1] = value
    end
  end
end
if #failed > 0 then return failed end
for _ = 1, tonumber(take()) do
  local kind, key, field, value = take(), KEYS[tonumber(take())], take(), take()
  if kind == 'put' then
    redis.call('HSET', key, field, value)
  elseif kind == 'delete' then
    redis.call('HDEL', key, field)
  else
    redis.call('RPUSH', key, value)
  end
end
if touch > 0 then redis.call('SET', KEYS[touch], '', 'PX', 60000) end
if channel > 0 then redis.call('SPUBLISH', KEYS[channel], message) end
return {}
`,
};

/** Entries after a sequence number, bounded in number and bytes. Keys: entries. */
export const READ: Script = {
  name: "read",
  source: `
local found, bytes, seq = {}, 0, tonumber(ARGV[1])
for _ = 1, tonumber(ARGV[2]) do
  seq = seq + 1
  local entry = redis.call('HGET', KEYS[1], struct.pack('>I8', seq))
  if not entry or (#found > 0 and bytes + #entry > tonumber(ARGV[3])) then break end
  bytes = bytes + #entry
  found[#found + 1] = entry
end
return found
`,
};

/**
 * Takes a device's oldest one-time key package that has not expired, else its last resort.
 * Keys: one-time packages, last resort. Arguments: now in ms, "1" to leave the one-time ones alone.
 */
export const TAKE_PACKAGE: Script = {
  name: "take-package",
  source: `
local function usable(upload)
  return upload and struct.unpack('>I8', upload, 2) * 1000 > tonumber(ARGV[1])
end
while ARGV[2] ~= '1' do
  local upload = redis.call('LPOP', KEYS[1])
  if not upload then break end
  if usable(upload) then return upload end
end
local last = redis.call('HGET', KEYS[2], '')
if usable(last) then return last end
return false
`,
};

/**
 * Drops expired one-time key packages and adds those it does not hold yet, unless there would be too many.
 * Keys: one-time packages, last resort. Arguments: now in ms, the most, the last resort or "", packages.
 * Reply: how many there are, -1 if there would be too many.
 */
export const PUBLISH_PACKAGES: Script = {
  name: "publish-packages",
  source: `
local now, known, held, fresh = tonumber(ARGV[1]), {}, 0, {}
local function package(upload) return string.sub(upload, 10) end
for _, upload in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if struct.unpack('>I8', upload, 2) * 1000 > now then
    held = held + 1
    known[package(upload)] = true
  else
    redis.call('LREM', KEYS[1], 1, upload)
  end
end
for i = 4, #ARGV do
  if not known[package(ARGV[i])] then fresh[#fresh + 1] = ARGV[i] end
  known[package(ARGV[i])] = true
end
if held + #fresh > tonumber(ARGV[2]) then return -1 end
for _, upload in ipairs(fresh) do redis.call('RPUSH', KEYS[1], upload) end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[2], '', ARGV[3]) end
return held + #fresh
`,
};

/**
 * Notes that a device has acked a group's log, if the cursor is the log's. Keys: entries, accesses, acked.
 * Arguments: seq in 8 bytes, seq, digest, device. Reply: the device's access record, or nothing.
 */
export const ACK: Script = {
  name: "ack",
  source: `
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry or string.sub(entry, 27, 58) ~= ARGV[3] then return false end
local access = redis.call('HGET', KEYS[2], ARGV[4])
if not access then return false end
local acked = tonumber(redis.call('HGET', KEYS[3], ARGV[4]) or '0')
if acked < tonumber(ARGV[2]) then redis.call('HSET', KEYS[3], ARGV[4], ARGV[2]) end
return access
`,
};

/**
 * Drops entries from a log's beginning. What embedded/logs.ts does to records it does to their bytes, so that no
 * entry travels only to be dropped, and no append in between makes it begin anew.
 * Keys: head, entries, entry ids, welcomes. Arguments: the oldest time kept; all up to this seq go; the most bytes
 * kept; the most entries dropped; a digest that the entry of that seq must have, or "". Reply: how many went.
 */
export const DROP: Script = {
  name: "drop",
  source: `
local head = redis.call('HGET', KEYS[1], '')
if not head then return 0 end
local since, upto, most, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if ARGV[5] ~= '' then
  local entry = redis.call('HGET', KEYS[2], struct.pack('>I8', upto))
  if not entry or string.sub(entry, 27, 58) ~= ARGV[5] then return 0 end
end
local first, seq = struct.unpack('>I8', head, 2), struct.unpack('>I8', head, 42)
local count, bytes = struct.unpack('>I8', head, 123), struct.unpack('>I8', head, 131)
local tail, dropped = string.sub(head, 10, 41), 0
while dropped < limit and first <= seq do
  local field = struct.pack('>I8', first)
  local entry = redis.call('HGET', KEYS[2], field)
  if not entry then break end
  local expendable = first <= upto or bytes > most or struct.unpack('>I8', entry, 107) < since
  if not expendable then break end
  redis.call('HDEL', KEYS[2], field)
  redis.call('HDEL', KEYS[3], string.sub(entry, 11, 26))
  if #entry > 115 then
    count = count - 1
    bytes = bytes - (#entry - 115)
  end
  redis.call('HDEL', KEYS[4], field)
  tail = string.sub(entry, 27, 58)
  first = first + 1
  dropped = dropped + 1
end
if count == 0 then redis.call('DEL', KEYS[5]) end
if dropped > 0 then
  redis.call('HSET', KEYS[1], '', string.sub(head, 1, 1) .. struct.pack('>I8', first) .. tail
    .. string.sub(head, 42, 122) .. struct.pack('>I8', count) .. struct.pack('>I8', bytes))
end
return dropped
`,
};

/** Takes items out of a list. Keys: the list. */
export const REMOVE_ITEMS: Script = {
  name: "remove-items",
  source: `
for _, item in ipairs(ARGV) do redis.call('LREM', KEYS[1], 1, item) end
return #ARGV
`,
};

/** Numbers a device's newest session, above all before it, and says so. Keys: number, channel. Arguments: message. */
export const ENTER: Script = {
  name: "enter",
  source: `
local time = redis.call('TIME')
local number = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') + 1, tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
redis.call('SET', KEYS[1], string.format('%.0f', number), 'EX', 604800)
redis.call('SPUBLISH', KEYS[2], ARGV[1] .. string.format('%.0f', number))
return string.format('%.0f', number)
`,
};

/** Takes or renews the right to do what one node does for all. Keys: the holder. Arguments: node, ms. */
export const LEASE: Script = {
  name: "lease",
  source: `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`,
};

/** Claims a name or a direct slot. Keys: it. Arguments: the value it must have ("" for none), the new one, now in ms. */
export const CLAIM: Script = {
  name: "claim",
  source: `
local held = redis.call('HGET', KEYS[1], '')
if held == ARGV[2] then return 1 end
if (held or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], '', ARGV[2], 'since', ARGV[3], 'before', ARGV[1])
return 1
`,
};

/** Ends a claim. Keys: it. Arguments: its value, how: "keep", "undo" what was not kept yet, "free" for good. */
export const END_CLAIM: Script = {
  name: "end-claim",
  source: `
if redis.call('HGET', KEYS[1], '') ~= ARGV[1] then return 0 end
local before = redis.call('HGET', KEYS[1], 'before')
if ARGV[2] == 'undo' and not before then return 0 end
if ARGV[2] == 'free' or (ARGV[2] == 'undo' and before == '') then
  redis.call('DEL', KEYS[1])
  return 1
end
if ARGV[2] == 'undo' then redis.call('HSET', KEYS[1], '', before) end
redis.call('HDEL', KEYS[1], 'since', 'before')
return 1
`,
};

export const ALL_SCRIPTS: readonly Script[] = [
  ...[COMMIT, READ, TAKE_PACKAGE, PUBLISH_PACKAGES, ACK, DROP],
  ...[REMOVE_ITEMS, ENTER, LEASE, CLAIM, END_CLAIM],
  ...BLOB_SCRIPTS,
];
