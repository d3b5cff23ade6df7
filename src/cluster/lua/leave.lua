-- Last at an orderly end, repeated until it is done. ARGV: node fence last_read_id -> 'lost' | 'more' | 'done'
-- At first the node leaves the list, so that no broadcast comes any more. What is in its inbox it still reads.
if fenced() then return {'lost'} end
local inbox = key'inbox:' .. ME
if call('ZREM', key'nodes', ME) == 1 then call('EXPIRE', inbox, 60) end
if #call('XRANGE', inbox, '(' .. ARGV[3], '+', 'COUNT', 1) > 0 then return {'more'} end
call('HDEL', key'fence', ME)
call('DEL', inbox)
if call('SCARD', key'owned:' .. ME) > 0 then call('SADD', key'dead', ME) end
return {'done'}
