-- Create a stream, or confirm that it is there as asked.
--
-- KEYS  1 state (hash)  2 entries (stream)  3 producers (hash)  4 generation of the bucket (string)  5 forks (hash)
--       6 names of the bucket (sorted set, all scores 0)
-- ARGV  1 run id  2 milliseconds added to the clock  3 name  4 content type  5 its media type
--       6 ttl in seconds ('-1' = none)  7 expiry in ms since 1970 ('0' = none)  8 expiry as the caller wrote it
--       9 closed? (0/1)  10 keep_age in ms  11 keep_count  12 keep_bytes  13 durability ('' = the site's)
--      14 chain: JSON of what a fork inherits ('' = no fork)  15 source  16 fork offset as asked ('' = the tail)  17 sub-offset
--      18 pin: the fork's mark in its source  19 least generation  20 the pin's age limit: ms since 1970, '0' = none
--      21 was the content type given? (0/1)  22 was the retention? (0/1)  23 number of events, then for each: data · type · request id · traceparent · crc32
-- Returns  {code, state}: created, exists, conflict (a word says what differs), deleted (the name is blocked), stale (the pin is too old)
-- Invariants  the first write (HSET) is one that Redis refuses when memory is full, so nothing is ever half created.
--@include incarnation
local shift = tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + shift
local function plain(number) return string.format('%.0f', number) end
local function offset_text(g, q) return string.format('%016.0f_%016.0f', g, q) end

local old = redis.call('HMGET', KEYS[1], 'media', 'expires', 'deleted', 'ttl', 'expires_text', 'closed', 'keep_age', 'keep_count',
  'keep_bytes', 'durability', 'source', 'fork_offset', 'fork_sub', 'g', 'q', 'content_type', 'pin', 'expires_asked', 'ttl_asked')
if old[1] then
  local expires = tonumber(old[2])
  local expired = expires > 0 and expires <= now
  if old[3] == '1' or (expired and redis.call('EXISTS', KEYS[5]) == 1) then return {'deleted'} end
  if not expired then
    local differs
    if ARGV[21] == '1' and old[1] ~= ARGV[5] then differs = 'content type'
    elseif ARGV[15] ~= old[11] then differs = 'source of the fork'
    elseif ARGV[15] ~= '' and (ARGV[16] ~= old[12] or ARGV[17] ~= old[13]) then differs = 'fork offset'
    elseif ARGV[6] ~= old[19] then differs = 'TTL'
    elseif ARGV[7] ~= old[18] then differs = 'expiry'
    elseif ARGV[9] ~= old[6] then differs = 'closure'
    elseif ARGV[22] == '1' and (ARGV[10] ~= old[7] or ARGV[11] ~= old[8] or ARGV[12] ~= old[9]) then differs = 'retention'
    elseif ARGV[13] ~= old[10] then differs = 'durability' end
    local found = {old[16], offset_text(tonumber(old[14]), tonumber(old[15])), old[6], old[17]}
    if differs then return {'conflict', found, differs} end
    return {'exists', found}
  end
end
if ARGV[20] ~= '0' and now > tonumber(ARGV[20]) then return {'stale'} end

local generation = math.max(now, (tonumber(redis.call('GET', KEYS[4])) or 0) + 1, tonumber(ARGV[19]))
local base = plain(generation) .. '-0'
-- What a fork inherits is decided by the caller, what it asked for is kept to compare with: both travel in ARGV 6 to 8 and 24 to 26.
local asked = {ARGV[6], ARGV[7]}
local ttl, expiry, expiry_text = ARGV[6], ARGV[7], ARGV[8]
local events = tonumber(ARGV[23])
local first = 24
if ARGV[14] ~= '' then
  ttl, expiry, expiry_text = ARGV[24], ARGV[25], ARGV[26]
  first = 27
end
local expires = tonumber(expiry)
if tonumber(ttl) >= 0 then expires = now + tonumber(ttl) * 1000 end
local bytes = 0
for index = 0, events - 1 do bytes = bytes + #ARGV[first + index * 5] end

redis.call('HSET', KEYS[1], 'content_type', ARGV[4], 'media', ARGV[5], 'g', plain(generation), 'q', plain(events),
  'incarnation', incarnation(ARGV[1]), 'count', plain(events), 'bytes', plain(bytes), 'time', plain(now), 'closed', ARGV[9],
  'expires', plain(expires), 'ttl', ttl, 'expires_text', expiry_text, 'ttl_asked', asked[1], 'expires_asked', asked[2],
  'deleted', '0', 'seq', '', 'floor', base, 'base', base, 'gone_count', '0', 'gone_bytes', '0', 'keep_age', ARGV[10],
  'keep_count', ARGV[11], 'keep_bytes', ARGV[12], 'created', plain(now), 'durability', ARGV[13], 'chain', ARGV[14],
  'source', ARGV[15], 'fork_offset', ARGV[16], 'fork_sub', ARGV[17], 'pin', ARGV[18])
redis.call('UNLINK', KEYS[2], KEYS[3])
redis.call('PERSIST', KEYS[1])
redis.call('SET', KEYS[4], plain(generation))
redis.call('ZADD', KEYS[6], 0, ARGV[3])
local cumulative = 0
for index = 0, events - 1 do
  local at = first + index * 5
  cumulative = cumulative + #ARGV[at]
  redis.call('XADD', KEYS[2], plain(generation) .. '-' .. plain(index + 1), 'd', ARGV[at], 'y', ARGV[at + 1], 'r', ARGV[at + 2],
    'p', ARGV[at + 3], 'c', ARGV[at + 4], 't', plain(now), 'b', plain(cumulative))
end
if expires > 0 then
  for index = 1, 3 do redis.call('PEXPIREAT', KEYS[index], plain(expires + 60000)) end
end
return {'created', {ARGV[4], offset_text(generation, events), ARGV[9], ARGV[18]}}
