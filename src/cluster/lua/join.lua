-- First on each new connection.
-- ARGV: node fence(ignored) lease_ms last_read_id n p
-- -> fence, known, behind, epoch, n, p, then token and spelling of each session
-- known: 1 if the node was not removed. behind: 1 if Redis has lost what this node has read. The
-- sessions are those that the registry has for this node at the instant of the `hello` in its inbox.
-- Those that the node does not know when it has read so far, it releases: a claim whose answer was
-- lost, a session that ended while Redis was away. Those with another name it claims again.
-- last_read_id, n, p: how far this node has read. What has lost data is brought up to it, so that
-- no reader waits for an id that does not come, and no counter goes back.
local lease, last, n, p = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local known = alive(ME) and 1 or 0
call('SETNX', key'epoch', now())
local fence = call('HINCRBY', key'fence', '#', 1)
call('HSET', key'fence', ME, fence)
call('ZADD', key'nodes', now() + lease, ME)
local behind = 0
for k, v in pairs{n = n, p = p} do
  if tonumber(call('GET', key(k)) or '0') < v then
    behind = 1
    call('SET', key(k), v)
    -- The next nodes see that data were lost, although the counters are right again.
    call('SET', key'epoch', now())
  end
end
local inbox = key'inbox:' .. ME
local lms, lseq = last:match('(%d+)-(%d+)')
lms, lseq = tonumber(lms), tonumber(lseq)
-- What the node has read can be back. It would never be deleted, and would fill the inbox.
call('XTRIM', inbox, 'MINID', last)
call('XDEL', inbox, last)
local top = '0-0'
if call('EXISTS', inbox) == 1 then
  local info = call('XINFO', 'STREAM', inbox)
  for i = 1, #info, 2 do if info[i] == 'last-generated-id' then top = info[i + 1] end end
end
local tms, tseq = top:match('(%d+)-(%d+)')
tms, tseq = tonumber(tms), tonumber(tseq)
local id = '*'
if tms < lms or (tms == lms and tseq < lseq) then id = string.format('%.0f-0', math.max(lms + 1, now())) end
local N, PP = call('GET', key'n') or '0', call('GET', key'p') or '0'
call('XADD', inbox, id, 'k', 'hello', 'fence', fence, 'n', N, 'p', PP)
local answer = {fence, known, behind, call('GET', key'epoch'), tonumber(N), tonumber(PP)}
for _, folded in ipairs(call('SMEMBERS', key'owned:' .. ME)) do
  local node, token, spelling = entry(folded)
  if node == ME then
    answer[#answer + 1] = token
    answer[#answer + 1] = spelling
  end
end
return answer
