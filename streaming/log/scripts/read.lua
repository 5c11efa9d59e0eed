-- Read a page of one stream's own entries, and its state, in one round trip. Writes nothing.
--
-- KEYS  1 state (hash)  2 entries (stream)  3 forks (hash)
-- ARGV  1 milliseconds added to the clock (0 but in tests)
--       2 where to begin: an entry id (read what follows it), '-' (the start) or '$' (the end)
--       3 most bytes of data in the page; the first entry is returned whatever its size; 0: state only
--       4 last entry id of the page, '' = the tail; given when a fork reads what it inherited: then floor, deletion and
--         expiry of this stream do not matter
--       5 last N: begin so that N entries follow (then argument 2 is ignored); 0 = no
-- Returns  {code, state fields, entries, where it began, entries that are left to find for N}
--          code: ok, missing, deleted, inherited (argument 2 lies in what the stream inherited), gone (retention removed what
--          follows; the state's floor says what is left), unknown (no such entry: lost, foreign or never given)
local shift, limit, upto = tonumber(ARGV[1]), tonumber(ARGV[3]), ARGV[4]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + shift
local names = {'content_type', 'media', 'g', 'q', 'closed', 'expires', 'ttl', 'expires_text', 'deleted', 'floor', 'base', 'count',
  'bytes', 'gone_count', 'gone_bytes', 'keep_age', 'keep_count', 'keep_bytes', 'created', 'durability', 'chain', 'source',
  'fork_offset', 'fork_sub', 'pin', 'time'}
local values = redis.call('HMGET', KEYS[1], unpack(names))
local state = {}
for index, name in ipairs(names) do state[name] = values[index] end
if not state.media then return {'missing'} end

local function id_less(a, b)
  local a1, a2 = string.match(a, '^(%d+)-(%d+)$')
  local b1, b2 = string.match(b, '^(%d+)-(%d+)$')
  a1, a2, b1, b2 = tonumber(a1), tonumber(a2), tonumber(b1), tonumber(b2)
  if a1 ~= b1 then return a1 < b1 end
  return a2 < b2
end

local is_inherited = upto ~= ''
local expires = tonumber(state.expires)
if not is_inherited then
  if state.deleted == '1' then return {'deleted'} end
  if expires > 0 and expires <= now then
    return {redis.call('EXISTS', KEYS[3]) == 1 and 'deleted' or 'missing'}
  end
end
values[#values + 1] = string.format('%.0f', now)

local tail = state.g .. '-' .. state.q
local last = is_inherited and upto or tail
local floor = is_inherited and state.base or state.floor
local after, wanted = ARGV[2], tonumber(ARGV[5])
local left = 0

local function last_n(count)
  local g, q = string.match(last, '^(%d+)-(%d+)$')
  if tonumber(q) >= count then return g .. '-' .. string.format('%.0f', tonumber(q) - count), 0 end
  local base_g = string.match(state.base, '^(%d+)-')
  if base_g == g then return state.base, count - tonumber(q) end
  local at, found, bytes = last, 0, 0
  local from = last
  while found < count and bytes < 67108864 do
    local entries = redis.call('XREVRANGE', KEYS[2], from, '(' .. floor, 'COUNT', 32)
    if #entries == 0 then break end
    for _, entry in ipairs(entries) do
      if found == count then return entry[1], 0 end
      found = found + 1
      bytes = bytes + #entry[2][2]
      at = entry[1]
    end
    from = '(' .. at
  end
  return floor, count - found
end

if wanted > 0 then
  after, left = last_n(wanted)
  if id_less(after, floor) then after = floor end
elseif after == '$' then
  after = last
elseif after == '-' then
  if state.chain ~= '' and not is_inherited and state.floor == state.base then return {'inherited', values} end
  after = floor
elseif after ~= last and after ~= floor then
  if not is_inherited and state.chain ~= '' and id_less(after, state.base) then
    return {state.floor == state.base and 'inherited' or 'gone', values}
  end
  if id_less(after, floor) then
    if id_less(after, state.base) then return {'unknown', values} end
    return {'gone', values}
  end
  -- A fork that reads on begins where it has checked (with 0 bytes), or before the first entry that it inherits, which the
  -- source's retention may have removed before there was a fork.
  if not (is_inherited and limit > 0) and #redis.call('XRANGE', KEYS[2], after, after) == 0 then return {'unknown', values} end
end

-- The last entry after `position` that is older than `cutoff`, found in steps that double as long as they land on such a
-- one, for there may be millions that the sweeper has not reached yet; nil when there is none. Times never fall along a
-- stream. A time that is damaged counts as young: the entry is shown, and reported.
local function last_hidden(position, cutoff)
  local found, step = nil, 1
  while step >= 1 do
    local g, q = string.match(position, '^(%d+)-(%d+)$')
    local entry = redis.call('XRANGE', KEYS[2], g .. '-' .. string.format('%.0f', tonumber(q) + step), last, 'COUNT', 1)[1]
    if entry and (tonumber(entry[2][12]) or cutoff) < cutoff then
      found, position, step = entry[1], entry[1], step * 2
    else
      step = math.floor(step / 2)
    end
  end
  return found
end

local entries = {}
if limit > 0 and after ~= last then
  local keep_age = is_inherited and 0 or tonumber(state.keep_age)
  local hidden = keep_age > 0 and last_hidden(after, now - keep_age)
  local began, chunk, bytes = hidden or after, 8, 0
  local position, done = began, false
  while not done and bytes < limit do
    local found = redis.call('XRANGE', KEYS[2], '(' .. position, last, 'COUNT', chunk)
    for _, entry in ipairs(found) do
      local size = #entry[2][2]
      if #entries > 0 and bytes + size > limit then
        done = true
        break
      else
        entries[#entries + 1] = entry
        bytes = bytes + size
      end
      position = entry[1]
    end
    if #found < chunk or #entries >= 10000 then break end
    -- What follows may be much larger than what was seen, and XRANGE copies all that it finds: so never more than 32 at once.
    local average = bytes / math.max(1, #entries) + 1
    chunk = math.max(1, math.min(32, math.floor((limit - bytes) / average) + 1))
  end
  if hidden and ARGV[2] ~= '-' and wanted == 0 then
    values[10] = began -- the floor, as far as this reader may see
    return {'gone', values}
  end
  after = began
end
return {'ok', values, entries, after, left}
