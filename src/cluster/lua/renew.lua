-- ARGV: node fence lease_ms chunk -> 'lost' | 'done' more, then node and ms of lease left, for each node
-- Removes nodes whose lease is over, and sweeps at most `chunk` of their names; more = 1 if there are more.
-- Only who has itself kept its lease may do so, and who has been connected for 6 s without a break (else it
-- passes chunk 0): if all leases ran out together, it was Redis that was away, and the others need the time
-- to come back.
if fenced() then return {'lost'} end
local lease, chunk, t = tonumber(ARGV[3]), tonumber(ARGV[4]), now()
local kept = chunk > 0 and tonumber(alive(ME)) >= t
call('ZADD', key'nodes', t + lease, ME)
-- If the clock of Redis has gone back, the lease of a dead node would last as long as the jump.
for _, node in ipairs(call('ZRANGEBYSCORE', key'nodes', '(' .. string.format('%.0f', t + lease), '+inf')) do
  call('ZADD', key'nodes', t + lease, node)
end
-- The heartbeat goes through the inbox: it tells that this is read, and how many there should have been.
call('XADD', key'inbox:' .. ME, '*', 'k', 'tick', 'n', call('GET', key'n') or '0', 'p', call('GET', key'p') or '0')
if kept then
  for _, node in ipairs(call('ZRANGEBYSCORE', key'nodes', '-inf', '(' .. string.format('%.0f', t))) do
    call('ZREM', key'nodes', node)
    call('HDEL', key'fence', node)
    call('DEL', key'inbox:' .. node)
    call('SADD', key'dead', node)
  end
end
local more = 0
local dead = chunk > 0 and call('SRANDMEMBER', key'dead')
if dead then
  more = 1
  if alive(dead) then call('SREM', key'dead', dead)         -- it has come back; it sees to its names itself
  else
    local names = {}
    for _, folded in ipairs(call('SPOP', key'owned:' .. dead, chunk)) do
      local node, token, sp = entry(folded)
      if node == dead then remove(dead, token, folded, sp) names[#names + 1] = sp end
    end
    if #names > 0 then tell_all('p', #names, 'k', 'left', 'names', table.concat(names, ' ')) end
    if call('SCARD', key'owned:' .. dead) == 0 then call('SREM', key'dead', dead) end
  end
end
local answer = {'done', more}
local nodes = call('ZRANGE', key'nodes', 0, -1, 'WITHSCORES')
for i = 1, #nodes, 2 do
  answer[#answer + 1] = nodes[i]
  answer[#answer + 1] = math.floor(tonumber(nodes[i + 1]) - t)
end
return answer
