-- Asks the node of a session to do something with it: to end it, or to let it watch presence.
-- ARGV: node fence kind(end | watch | unwatch) request token suspected...
-- -> 'lost' | 'none' | 'suspected' spelling | 'full' spelling | 'sent' node spelling
if fenced() then return {'lost'} end
local node, sp = holder(ARGV[5])
if not node then return {'none'} end
for i = 6, #ARGV do if ARGV[i] == node then return {'suspected', sp} end end
if not post(node, 'k', ARGV[3], 'q', ARGV[4], 'from', ME, 'token', ARGV[5]) then return {'full', sp} end
return {'sent', node, sp}
