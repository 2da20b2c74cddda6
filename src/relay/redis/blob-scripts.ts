import type { Script } from "./scripts.js";

/*
 * All blobs of a user lie in the user's slot: a hash with a record for each (finished, chunks, the number after the
 * greatest index, bytes, time of the last change), a number with their bytes together, and a hash of chunks for each.
 */

const RECORD = `
local function load(key, id)
  local record = redis.call('HGET', key, id)
  if not record then return nil end
  local finished, chunks, last, bytes = struct.unpack('>BI4I4I8', record)
  return finished, chunks, last, bytes
end
local function save(key, id, finished, chunks, last, bytes, now)
  redis.call('HSET', key, id, struct.pack('>BI4I4I8I8', finished, chunks, last, bytes, tonumber(now)))
end
`;

/** Says whose a blob id is. Keys: it. Arguments: user, ms that this is kept, or "". Reply: 0 if it is another's. */
export const OWN_BLOB: Script = {
  name: "own-blob",
  source: `
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('SET', KEYS[1], ARGV[1])
else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1
`,
};

/** Forgets it. Keys: it. Arguments: user. */
export const DISOWN_BLOB: Script = {
  name: "disown-blob",
  source: `
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
`,
};

/** Keys: records. Arguments: blob, now, the most blobs. Reply: a refusal, or "". */
export const BEGIN_BLOB: Script = {
  name: "begin-blob",
  source: `${RECORD}
local finished, chunks, last, bytes = load(KEYS[1], ARGV[1])
if finished == 1 then return '' end
if not finished and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 'quota-exceeded' end
save(KEYS[1], ARGV[1], 0, chunks or 0, last or 0, bytes or 0, ARGV[2])
return ''
`,
};

/**
 * Keys: records, bytes, chunks. Arguments: blob, index, chunk, now, the most bytes of one, of all, how far ahead it may
 * be. Reply as above.
 */
export const PUT_CHUNK: Script = {
  name: "put-chunk",
  source: `${RECORD}
local finished, chunks, last, bytes = load(KEYS[1], ARGV[1])
if not finished then return 'unknown-blob' end
local held, size = redis.call('HGET', KEYS[3], ARGV[2]), #ARGV[3]
if held == ARGV[3] then
  redis.call('HSET', KEYS[3], ARGV[2], held)
  return ''
end
if held or finished == 1 or tonumber(ARGV[2]) > chunks + tonumber(ARGV[7]) then return 'conflict' end
if bytes + size > tonumber(ARGV[5]) then return 'too-large' end
if tonumber(redis.call('GET', KEYS[2]) or '0') + size > tonumber(ARGV[6]) then return 'quota-exceeded' end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.call('INCRBY', KEYS[2], size)
save(KEYS[1], ARGV[1], 0, chunks + 1, math.max(last, tonumber(ARGV[2]) + 1), bytes + size, ARGV[4])
return ''
`,
};

/** Keys: records. Arguments: blob, chunks, now. Reply as above. */
export const FINISH_BLOB: Script = {
  name: "finish-blob",
  source: `${RECORD}
local finished, chunks, last, bytes = load(KEYS[1], ARGV[1])
if not finished then return 'unknown-blob' end
if chunks ~= tonumber(ARGV[2]) or last ~= chunks or chunks == 0 then return 'conflict' end
save(KEYS[1], ARGV[1], 1, chunks, last, bytes, ARGV[3])
return ''
`,
};

/** Keys: records, bytes, chunks. Arguments: blob, the record it must have, or "". */
export const DROP_BLOB: Script = {
  name: "drop-blob",
  source: `${RECORD}
if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return '' end
local finished, chunks, last, bytes = load(KEYS[1], ARGV[1])
if not finished then return '' end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DECRBY', KEYS[2], bytes)
redis.call('UNLINK', KEYS[3])
return ''
`,
};

export const BLOB_SCRIPTS: readonly Script[] = [
  OWN_BLOB,
  DISOWN_BLOB,
  BEGIN_BLOB,
  PUT_CHUNK,
  FINISH_BLOB,
  DROP_BLOB,
];
