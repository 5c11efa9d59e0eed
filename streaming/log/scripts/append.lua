-- Append to one stream: a group of appends, each checked and taken or refused by itself, the writes whole or not at all.
--
-- KEYS  1 state (hash)  2 entries (stream)  3 producers (hash)  4 generation of the bucket (string)  5 forks (hash)
-- ARGV  1 run id of the server, as the calling connection saw it
--       2 milliseconds added to the clock (0 but in tests)
--       3 channel of the push
--       4 most bytes of events that travel in the push; above it only the offsets do
--       5 most producers that a stream remembers; past it one that was silent for a week makes room
--       6 durability that the caller takes the stream to ask for; if it asks for another, nothing is done
--       7 number of appends, then for each append:
--         number of events · close? (0/1) · media type ('' when there is no body) · producer id ('' = none) · epoch · seq ·
--         Stream-Seq ('' = none) · touch? (1: write something even for a duplicate, so that WAIT covers it)
--         then for each event: data · type · request id · traceparent · crc32
-- Returns  the stream's media type and a list with a result for each append, {code, tail offset, closed (0/1), a, b}; or, when
--          none is taken at all, '' and one code for all, missing or deleted; or durability and the one that it asks for
--          code: ok, duplicate, missing, deleted, closed, mismatch, fenced (a = epoch), epoch-start, gap (a = expected,
--          b = received), regression (a = last Stream-Seq), producers
-- Invariants  XADD is the first write: it is what Redis refuses when memory is full, and what follows is then not done.
--   Offsets are chosen here alone, and only rise. A new incarnation begins a new generation, so that an offset which was
--   lost with its event is never given to another one.
--@include incarnation
--@include retention
local PRODUCER_MEMORY = 8 -- offsets of a producer's last appends: more than any client has in flight
local FORGET_AFTER_MS = 7 * 86400000 -- what the protocol recommends (5.2.1); before it nobody's state is taken for another
local shift, channel, push_limit = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + shift
local raw = redis.call('HMGET', KEYS[1], 'media', 'g', 'q', 'incarnation', 'count', 'bytes', 'time', 'closed', 'expires',
  'ttl', 'deleted', 'seq', 'floor', 'gone_count', 'gone_bytes', 'keep_age', 'keep_count', 'keep_bytes', 'durability')
local appends = tonumber(ARGV[7])

if not raw[1] then return {'', 'missing'} end
if raw[11] == '1' then return {'', 'deleted'} end
local expires = tonumber(raw[9])
if expires > 0 and expires <= now then
  return {'', redis.call('EXISTS', KEYS[5]) == 1 and 'deleted' or 'missing'}
end
local durability = raw[19] == '' and 'written' or raw[19]
if durability ~= ARGV[6] then return {'', 'durability', durability} end

local media, closed = raw[1], raw[8] == '1'
local generation, sequence = tonumber(raw[2]), tonumber(raw[3])
local state = {
  count = tonumber(raw[5]), bytes = tonumber(raw[6]), floor = raw[13], gone_count = tonumber(raw[14]),
  gone_bytes = tonumber(raw[15]), keep_age = tonumber(raw[16]), keep_count = tonumber(raw[17]), keep_bytes = tonumber(raw[18]),
}
local time = math.max(now, tonumber(raw[7]))
local stream_seq = raw[12]
local now_incarnation = incarnation(ARGV[1])
local is_new_generation = raw[4] ~= now_incarnation
local producer_count

local function plain(number) return string.format('%.0f', number) end
local function offset_text(g, q) return string.format('%016.0f_%016.0f', g, q) end
local before = offset_text(generation, sequence)

local function tail() return offset_text(generation, sequence) end

local push_heads, push_blobs, push_bytes, pushed = {}, {}, 0, 0
local producers_changed, known, forgotten = {}, {}, {}
local results, changed = {}, false
local touch = false

local function add_event(position)
  if is_new_generation then
    generation = math.max(now, generation + 1, (tonumber(redis.call('GET', KEYS[4])) or 0) + 1)
    sequence = 0
  end
  local data, kind, request_id, trace, crc = ARGV[position], ARGV[position + 1], ARGV[position + 2], ARGV[position + 3], ARGV[position + 4]
  sequence = sequence + 1
  state.count = state.count + 1
  state.bytes = state.bytes + #data
  redis.call('XADD', KEYS[2], plain(generation) .. '-' .. plain(sequence), 'd', data, 'y', kind, 'r', request_id,
    'p', trace, 'c', crc, 't', plain(time), 'b', plain(state.bytes))
  if is_new_generation then
    redis.call('SET', KEYS[4], plain(generation))
    is_new_generation = false
  end
  pushed = pushed + 1
  push_bytes = push_bytes + #data + #kind + #request_id + #trace + 40 -- with its line of numbers
  if push_bytes <= push_limit then
    push_heads[#push_heads + 1] = plain(sequence) .. ' ' .. #kind .. ' ' .. #request_id .. ' ' .. #trace .. ' ' .. #data .. ' ' .. crc
    push_blobs[#push_blobs + 1] = kind .. request_id .. trace .. data
  end
end

local function load_producer(id)
  if known[id] then return known[id] end
  local text = redis.call('HGET', KEYS[3], id)
  if not text then return nil end
  local parts = {}
  for part in string.gmatch(text, '%S+') do parts[#parts + 1] = part end
  -- The third part is the time of its last append.
  local producer = {epoch = tonumber(parts[1]), seq = tonumber(parts[2]), offsets = {}}
  for index = 4, #parts do producer.offsets[#producer.offsets + 1] = parts[index] end
  known[id] = producer
  return producer
end

local function remember(id, producer, epoch, seq)
  if not producer or producer.epoch ~= epoch then
    producer = {epoch = epoch, offsets = {}}
    known[id] = producer
  end
  producer.seq = seq
  producer.offsets[#producer.offsets + 1] = tail()
  if #producer.offsets > PRODUCER_MEMORY then table.remove(producer.offsets, 1) end
  producers_changed[id] = producer
end

-- Lua's own < follows the server's locale (LC_COLLATE), in which a comes before B.
local function is_above(a, b)
  for index = 1, math.min(#a, #b) do
    local x, y = string.byte(a, index), string.byte(b, index)
    if x ~= y then return x > y end
  end
  return #a > #b
end

-- Find a producer that was silent for long, by looking at some; it is forgotten after XADD, which must be the first write.
local function find_room()
  local sample = redis.call('HRANDFIELD', KEYS[3], 32, 'WITHVALUES')
  for index = 1, #sample, 2 do
    local since = tonumber(string.match(sample[index + 1], '^%d+ %d+ (%d+)'))
    if since < now - FORGET_AFTER_MS and not known[sample[index]] and not forgotten[sample[index]] then
      forgotten[sample[index]] = true
      return true
    end
  end
  return false
end

local function closed_flag() return closed and 1 or 0 end

local cursor = 8
for _ = 1, appends do
  local events, close, append_media = tonumber(ARGV[cursor]), ARGV[cursor + 1] == '1', ARGV[cursor + 2]
  local id, epoch, seq = ARGV[cursor + 3], tonumber(ARGV[cursor + 4]), tonumber(ARGV[cursor + 5])
  local new_stream_seq, wants_touch = ARGV[cursor + 6], ARGV[cursor + 7] == '1'
  local first = cursor + 8
  cursor = first + events * 5
  local result
  local producer = id ~= '' and load_producer(id) or nil
  if producer and epoch < producer.epoch then
    result = {'fenced', tail(), closed_flag(), plain(producer.epoch)}
  elseif producer and epoch == producer.epoch and seq <= producer.seq then
    local at = producer.offsets[#producer.offsets - (producer.seq - seq)]
    result = {'duplicate', at or '', closed_flag(), plain(producer.epoch), plain(producer.seq)}
    touch = touch or wants_touch
  elseif closed and not (close and events == 0 and id == '') then
    result = {'closed', tail(), 1}
  elseif closed then
    result = {'ok', tail(), 1}
    touch = touch or wants_touch
  elseif events > 0 and append_media ~= media then
    result = {'mismatch', tail(), 0}
  elseif producer and epoch > producer.epoch and seq ~= 0 then
    result = {'epoch-start', tail(), 0, plain(producer.epoch)}
  elseif id ~= '' and seq > ((producer and epoch == producer.epoch) and producer.seq + 1 or 0) then
    result = {'gap', tail(), 0, plain((producer and epoch == producer.epoch) and producer.seq + 1 or 0), plain(seq)}
  elseif new_stream_seq ~= '' and stream_seq ~= '' and not is_above(new_stream_seq, stream_seq) then
    result = {'regression', tail(), 0, stream_seq}
  else
    if id ~= '' and not producer then
      producer_count = (producer_count or redis.call('HLEN', KEYS[3])) + 1
    end
    if producer_count and id ~= '' and not producer and producer_count > tonumber(ARGV[5]) and not find_room() then
      producer_count = producer_count - 1
      result = {'producers', tail(), 0}
    else
      for index = 0, events - 1 do add_event(first + index * 5) end
      if new_stream_seq ~= '' then stream_seq = new_stream_seq end
      if close then closed = true end
      if id ~= '' then remember(id, producer, epoch, seq) end
      changed = true
      result = {'ok', tail(), closed_flag(), plain(epoch), plain(seq)}
    end
  end
  results[#results + 1] = result
end

if not changed then
  if touch then redis.call('HSET', KEYS[1], 'touched', plain(now)) end
  return {media, results}
end

local ttl = tonumber(raw[10])
if ttl >= 0 then expires = now + ttl * 1000 end
-- More than came in: a stream of large appends would outgrow its bounds.
if pushed > 0 then apply_retention(state, now, KEYS[2], KEYS[5], 256 + 2 * pushed) end
redis.call('HSET', KEYS[1], 'g', plain(generation), 'q', plain(sequence), 'count', plain(state.count),
  'bytes', plain(state.bytes), 'time', pushed > 0 and plain(time) or raw[7], 'closed', closed and '1' or '0',
  'expires', plain(expires), 'seq', stream_seq, 'floor', state.floor, 'gone_count', plain(state.gone_count),
  'gone_bytes', plain(state.gone_bytes))
if not is_new_generation then redis.call('HSET', KEYS[1], 'incarnation', now_incarnation) end
for id in pairs(forgotten) do redis.call('HDEL', KEYS[3], id) end
for id, producer in pairs(producers_changed) do
  redis.call('HSET', KEYS[3], id, plain(producer.epoch) .. ' ' .. plain(producer.seq) .. ' ' .. plain(now) .. ' ' .. table.concat(producer.offsets, ' '))
end
if expires > 0 and redis.call('EXISTS', KEYS[5]) == 0 then
  local collect = plain(expires + 60000) -- the keys outlive the stream by a minute: TIME decides, expiry only collects
  for index = 1, 3 do redis.call('PEXPIREAT', KEYS[index], collect) end
end
local fits = push_bytes <= push_limit
redis.call('PUBLISH', channel, before .. ' ' .. tail() .. ' ' .. (closed and 'closed' or 'open') .. ' ' .. plain(time) .. ' '
  .. (fits and pushed or -1) .. '\n' .. (fits and (table.concat(push_heads, '\n') .. '\n' .. table.concat(push_blobs)) or ''))
return {media, results}
