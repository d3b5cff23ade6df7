-- Whose token is this? Tells the session's node that its client knows the token, so that the
-- session may linger.
-- ARGV: node fence token -> 'lost' | 'none' | 'some' node spelling
if fenced() then return {'lost'} end
local node, sp = holder(ARGV[3])
if not node then return {'none'} end
post(node, 'k', 'used', 'from', ME, 'token', ARGV[3])
return {'some', node, sp}
