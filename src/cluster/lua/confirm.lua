-- Tells the node that asked what has become of its entry.
-- ARGV: node fence asker request outcome count -> 'lost' | 'none' | 'full' | 'sent'
-- outcome: queued (a private message; a broadcast, for `count` sessions) | full | gone | done |
-- same. An asker that has been removed asks no more.
if fenced() then return {'lost'} end
if not alive(ARGV[3]) then return {'none'} end
if not post(ARGV[3], 'k', 'confirm', 'q', ARGV[4], 'from', ME, 'outcome', ARGV[5], 'count', ARGV[6]) then
  return {'full'}
end
return {'sent'}
