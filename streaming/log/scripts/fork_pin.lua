-- First step of a fork: mark it, pending, in its source, so that neither retention nor deletion takes what it inherits.
--
-- KEYS  1 state  2 entries  3 producers  4 forks (hash: pin → 'pending|linked <ms> <fork>')   of the source
-- ARGV  1 milliseconds added to the clock  2 pin (a fresh random mark)  3 name of the fork  4 base of the source, as the caller
--       read it: another one means that the name was deleted and created anew meanwhile
-- Returns  {code, now in ms}: pinned, missing, deleted, changed
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + tonumber(ARGV[1])
local state = redis.call('HMGET', KEYS[1], 'media', 'expires', 'deleted', 'base')
if not state[1] then return {'missing'} end
local expires = tonumber(state[2])
local expired = expires > 0 and expires <= now
if state[3] == '1' or (expired and redis.call('EXISTS', KEYS[4]) == 1) then return {'deleted'} end
if expired then return {'missing'} end
if state[4] ~= ARGV[4] then return {'changed'} end
redis.call('HSET', KEYS[4], ARGV[2], 'pending ' .. string.format('%.0f', now) .. ' ' .. ARGV[3])
for index = 1, 3 do redis.call('PERSIST', KEYS[index]) end
return {'pinned', string.format('%.0f', now)}
