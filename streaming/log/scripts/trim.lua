-- Apply a stream's retention now, without an append: age passes in silence too.
--
-- KEYS  1 state  2 entries  3 forks   ARGV  1 milliseconds added to the clock   Returns  1 if something went: then
-- there may be more, a call takes a bounded number.
-- XTRIM comes first: it frees memory, so it must work when memory is full, and after it so does HSET.
--@include retention
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + tonumber(ARGV[1])
local raw = redis.call('HMGET', KEYS[1], 'count', 'bytes', 'floor', 'gone_count', 'gone_bytes', 'keep_age', 'keep_count', 'keep_bytes')
if not raw[1] then return 0 end
local state = {
  count = tonumber(raw[1]), bytes = tonumber(raw[2]), floor = raw[3], gone_count = tonumber(raw[4]), gone_bytes = tonumber(raw[5]),
  keep_age = tonumber(raw[6]), keep_count = tonumber(raw[7]), keep_bytes = tonumber(raw[8]),
}
if not apply_retention(state, now, KEYS[2], KEYS[3], 256) then return 0 end
redis.call('HSET', KEYS[1], 'floor', state.floor, 'gone_count', string.format('%.0f', state.gone_count),
  'gone_bytes', string.format('%.0f', state.gone_bytes))
return 1
