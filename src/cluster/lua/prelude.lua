-- Put before every script. KEYS[1] is the prefix `chat:{NAME}:`; all other keys are made from it
-- (one hash slot, because of the braces). ARGV[1] = node id, ARGV[2] = its fence: the number that
-- `join` gave to the connection. A command of an older connection, or of a node that has been
-- removed, finds another number and changes nothing.
--
--   nodes    zset  node -> end of its lease, ms of TIME      fence  hash node -> number
--   names    hash  folded -> node(16) SP token(32) SP spelling
--   tokens   hash  token -> folded                           sorted zset 0: folded SP spelling
--   owned:N  set   folded                                    dead   set  removed nodes, not yet swept
--   inbox:N  stream, all that is for node N, in one order    n, p   counters: broadcasts, presence
--   history  stream of the last broadcasts                   epoch  drawn when the data began
local P, ME, FENCE = KEYS[1], ARGV[1], ARGV[2]
local ROOM = 10000
local call = redis.call
local function key(k) return P .. k end
local function fenced() return call('HGET', key'fence', ME) ~= FENCE end
local function now() local t = call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end
local function entry(folded)
  local v = call('HGET', key'names', folded)
  if v then return v:sub(1, 16), v:sub(18, 49), v:sub(51) end
end
-- The node and the spelling of a token's session, unless it is at the caller's own node: that one
-- would know it.
local function holder(token)
  local folded = call('HGET', key'tokens', token)
  if not folded then return end
  local node, t, sp = entry(folded)
  if t == token and node ~= ME and call('ZSCORE', key'nodes', node) then return node, sp end
end
local function alive(node) return call('ZSCORE', key'nodes', node) end
-- An inbox is an outbox: bounded; what does not fit is refused and counted, never trimmed away.
local function post(node, ...)
  local inbox = key'inbox:' .. node
  if call('XLEN', inbox) >= ROOM then return false end
  call('XADD', inbox, '*', ...)
  return true
end
-- `weight` is the number of changes that the entry tells: a node that does not get it misses so many.
local function tell_all(counter, weight, ...)
  local n, reached = call('INCRBY', key(counter), weight), {}
  for _, node in ipairs(call('ZRANGE', key'nodes', 0, -1)) do
    if post(node, counter, n, ...) then reached[#reached + 1] = node end
  end
  return n, reached
end
local function put(node, token, folded, spelling)
  call('HSET', key'names', folded, node .. ' ' .. token .. ' ' .. spelling)
  call('HSET', key'tokens', token, folded)
  call('ZADD', key'sorted', 0, folded .. ' ' .. spelling)
  call('SADD', key'owned:' .. node, folded)
end
local function remove(node, token, folded, spelling)
  call('HDEL', key'names', folded)
  call('HDEL', key'tokens', token)
  call('ZREM', key'sorted', folded .. ' ' .. spelling)
  call('SREM', key'owned:' .. node, folded)
end
