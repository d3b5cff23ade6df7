-- ARGV: node fence request token sender text kept -> 'lost' | 'sent' n node...  (the nodes that it went to)
if fenced() then return {'lost'} end
local at = math.floor(now() / 1000)
local n, reached = tell_all('n', 1, 'k', 'broadcast', 'q', ARGV[3], 'from', ME, 'token', ARGV[4],
  'sender', ARGV[5], 'text', ARGV[6], 'at', at)
local kept = tonumber(ARGV[7])
if kept > 0 then
  call('XADD', key'history', 'MAXLEN', kept, '*', 'n', n, 'at', at, 'sender', ARGV[5], 'text', ARGV[6])
end
return {'sent', n, unpack(reached)}
