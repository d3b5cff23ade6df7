-- A name for a new session, or again for one that this node has (after each connecting).
-- ARGV: node fence token folded spelling mode(new | again | told) request
-- -> 'lost' | 'done' | 'mine' | 'taken' | 'elsewhere' node | 'named' spelling | 'full'
-- new: the name has to be free, or its node removed. The outcome is good once this node reads the
-- `joined` in its own inbox. again: what the node says is so, against entries of its own and of nodes
-- whose lease is over (old data have come back); nobody is told. told: the same, and `joined` is
-- told, as `left` had been.
if fenced() then return {'lost'} end
local token, folded, spelling, mode, request = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local new = mode == 'new'
local function stands(node)      -- does this node's entry stand against the caller?
  local lease = alive(node)
  return lease and (new or (node ~= ME and tonumber(lease) >= now()))
end
local function clear(node, t, f, sp)
  remove(node, t, f, sp)
  if mode ~= 'again' and node ~= ME then tell_all('p', 1, 'k', 'left', 'names', sp) end
end
local before = call('HGET', key'tokens', token)
local old, old_token, old_name
if before then
  old, old_token, old_name = entry(before)
  if old_token ~= token then old = nil call('HDEL', key'tokens', token) end
end
if old then
  if old == ME and before == folded and old_name == spelling then return {'mine'} end
  if old == ME and new then return {'named', old_name} end
  if old ~= ME and stands(old) then return {'elsewhere', old} end
end
-- Old data have come back. The former name is free, whether the session gets the other one or not:
-- two sessions may have exchanged their names.
if old and not new then
  clear(old, token, before, old_name)
  old = nil
end
local node, t, sp = entry(folded)
if node and t ~= token and stands(node) then return {'taken'} end
-- Two entries of `left` may come before the `joined` that this node waits for.
if new and call('XLEN', key'inbox:' .. ME) >= ROOM - 2 then return {'full'} end
if old then clear(old, token, before, old_name) end
if node and t ~= token then clear(node, t, folded, sp) end
put(ME, token, folded, spelling)
if mode ~= 'again' then
  tell_all('p', 1, 'k', 'joined', 'token', token, 'name', spelling, 'node', ME, 'q', request)
end
return {'done'}
