-- Last step of a fork: its mark in the source is no longer pending.
--
-- KEYS  1 forks of the source   ARGV  1 pin  2 name of the fork   Returns  1 if the mark was there
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], 'linked 0 ' .. ARGV[2])
return 1
