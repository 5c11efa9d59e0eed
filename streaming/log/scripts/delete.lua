-- Delete a stream, softly while forks live on it.
--
-- KEYS  1 state  2 entries  3 producers  4 names of the bucket  5 forks
-- ARGV  1 milliseconds added to the clock  2 name  3 channel of the push
--       4 only if expired? (1: the sweeper collects; 0: a caller deletes)
-- Returns  {code, source, pin}: removed (a fork's source must then be released), softened, missing, deleted (it was already), alive
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + tonumber(ARGV[1])
local state = redis.call('HMGET', KEYS[1], 'media', 'expires', 'deleted', 'source', 'pin', 'g', 'q')
if not state[1] then
  redis.call('ZREM', KEYS[4], ARGV[2])
  return {'missing'}
end
if state[3] == '1' then return {'deleted'} end
local expires = tonumber(state[2])
local expired = expires > 0 and expires <= now
local has_forks = redis.call('EXISTS', KEYS[5]) == 1
if expired and ARGV[4] == '0' then return {has_forks and 'deleted' or 'missing'} end
if not expired and ARGV[4] == '1' then return {'alive'} end
local offset = string.format('%016.0f_%016.0f', tonumber(state[6]), tonumber(state[7]))
if has_forks then
  redis.call('HSET', KEYS[1], 'deleted', '1') -- its name stays listed: the sweeper must find the forks that are left
else
  redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3]) -- DEL frees a large stream at once, and all others wait
  redis.call('ZREM', KEYS[4], ARGV[2])
end
redis.call('PUBLISH', ARGV[3], offset .. ' ' .. offset .. ' deleted 0 0\n')
return {has_forks and 'softened' or 'removed', state[4], state[5]}
