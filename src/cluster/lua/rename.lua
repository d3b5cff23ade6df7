-- ARGV: node fence token folded spelling request -> 'lost' | 'gone' | 'taken' | 'same' | 'done' | 'full'
if fenced() then return {'lost'} end
local token, folded, spelling, request = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local old = call('HGET', key'tokens', token)
if not old then return {'gone'} end
local node, t, sp = entry(old)
if node ~= ME or t ~= token then return {'gone'} end
if sp == spelling then return {'same'} end
if folded ~= old then
  local n2, t2, s2 = entry(folded)
  if n2 then
    if alive(n2) then return {'taken'} end
    remove(n2, t2, folded, s2)
    tell_all('p', 1, 'k', 'left', 'names', s2)
  end
end
if call('XLEN', key'inbox:' .. ME) >= ROOM then return {'full'} end
remove(ME, token, old, sp)
put(ME, token, folded, spelling)
tell_all('p', 1, 'k', 'renamed', 'token', token, 'old', sp, 'name', spelling, 'node', ME, 'q', request)
return {'done'}
