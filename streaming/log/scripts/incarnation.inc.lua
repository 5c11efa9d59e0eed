-- The incarnation of the data that a script works on: the run id that the calling connection learnt, and the replication id.
-- The run id is new whenever the process is. The replication id is new whenever its role changed: a primary that was made a
-- replica and primary again keeps its process and its clients' connections, but may have gone back to another's data.
local function incarnation(run_id)
  local info = redis.pcall('INFO', 'replication') -- a user may lack the right to it: then the run id has to do
  return run_id .. ' ' .. (type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or '')
end
