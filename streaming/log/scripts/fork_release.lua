-- Take a fork's mark out of its source; the last one takes a source with it that was deleted or has expired.
--
-- KEYS  1 state  2 entries  3 producers  4 forks   of the source   5 names of its bucket
-- ARGV  1 milliseconds added to the clock  2 pin  3 name of the source
-- Returns  {code, source of the source, its pin}: kept, removed (then that one is to be released next), absent
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + tonumber(ARGV[1])
if redis.call('HDEL', KEYS[4], ARGV[2]) == 0 then return {'absent'} end
if redis.call('EXISTS', KEYS[4]) == 1 then return {'kept'} end
local state = redis.call('HMGET', KEYS[1], 'media', 'expires', 'deleted', 'source', 'pin')
if not state[1] then return {'absent'} end
local expires = tonumber(state[2])
if state[3] == '1' or (expires > 0 and expires <= now) then
  redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3]) -- DEL frees a large stream at once, and all others wait
  redis.call('ZREM', KEYS[5], ARGV[3])
  return {'removed', state[4], state[5]}
end
if expires > 0 then
  for index = 1, 3 do redis.call('PEXPIREAT', KEYS[index], string.format('%.0f', expires + 60000)) end
end
return {'kept'}
