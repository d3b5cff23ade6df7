-- Sessions of this node that have ended; any number.
-- ARGV: node fence mode(ended | stale) token... -> 'lost' | 'done' count
-- stale: all nodes were told that they have left, and old data have come back.
if fenced() then return {'lost'} end
local names, count = {}, 0
local function tell()
  if #names > 0 then tell_all('p', #names, 'k', 'left', 'names', table.concat(names, ' ')) end
  names = {}
end
for i = 4, #ARGV do
  local folded = call('HGET', key'tokens', ARGV[i])
  if folded then
    local node, t, sp = entry(folded)
    if node == ME and t == ARGV[i] then
      remove(ME, t, folded, sp)
      count = count + 1
      if ARGV[3] == 'ended' then names[#names + 1] = sp end
      if #names == 500 then tell() end
    end
  end
end
tell()
return {'done', count}
