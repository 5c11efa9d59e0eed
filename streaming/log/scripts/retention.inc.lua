-- Advance the floor of a stream over what its retention no longer holds, at most `most` entries a call.
-- Shared by append.lua and trim.lua. Needs: state (table of the fields below), now (ms), entries_key, forks_key, most.
-- state.floor names the last entry that readers may no longer see; entries are deleted up to it unless a fork pins them.
local function past_retention(state, entry_time, now)
  if state.keep_count > 0 and state.count - state.gone_count > state.keep_count then return true end
  if state.keep_bytes > 0 and state.bytes - state.gone_bytes > state.keep_bytes
    and state.count - state.gone_count > 1 then return true end
  return state.keep_age > 0 and entry_time < now - state.keep_age
end

local function apply_retention(state, now, entries_key, forks_key, most)
  if state.keep_count + state.keep_bytes + state.keep_age == 0 then return false end
  local chunk, seen, moved = 1, 0, false
  while seen < most do
    local entries = redis.call('XRANGE', entries_key, '(' .. state.floor, '+', 'COUNT', chunk)
    if #entries == 0 then break end
    local stop = false
    for _, entry in ipairs(entries) do
      local fields = entry[2]
      -- A number that is damaged must not keep the stream from being trimmed, or written to. The generation is no later
      -- than the time.
      local time = tonumber(fields[12]) or tonumber(string.match(entry[1], '^%d+'))
      if not past_retention(state, time, now) then stop = true break end
      state.floor = entry[1]
      state.gone_count = state.gone_count + 1
      state.gone_bytes = tonumber(fields[14]) or state.gone_bytes + #fields[2]
      moved = true
    end
    seen = seen + #entries
    if stop or #entries < chunk then break end
    chunk = 16
  end
  if moved and redis.call('EXISTS', forks_key) == 0 then
    local generation, sequence = string.match(state.floor, '^(%d+)-(%d+)$')
    redis.call('XTRIM', entries_key, 'MINID', generation .. '-' .. string.format('%.0f', tonumber(sequence) + 1))
  end
  return moved
end
