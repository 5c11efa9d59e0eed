-- Begin a sliding time to live anew: somebody reads.
--
-- KEYS  1 state  2 entries  3 producers  4 forks   ARGV  1 milliseconds added to the clock   Returns  1 if there was one to begin anew
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + tonumber(ARGV[1])
local state = redis.call('HMGET', KEYS[1], 'ttl', 'expires', 'deleted')
local ttl = tonumber(state[1] or '-1')
if ttl < 0 or state[3] == '1' or tonumber(state[2]) <= now then return 0 end
local expires = now + ttl * 1000
-- First what Redis does not refuse when memory is full: after it, it does not refuse HSET, and who reads keeps his stream.
if redis.call('EXISTS', KEYS[4]) == 0 then
  for index = 1, 3 do redis.call('PEXPIREAT', KEYS[index], string.format('%.0f', expires + 60000)) end
else
  redis.call('PERSIST', KEYS[1])
end
redis.call('HSET', KEYS[1], 'expires', string.format('%.0f', expires))
return 1
