# The results of scripts/bench-peers as columns for gnuplot: the medians of one $figure of
# the fanouts with one sender and eight broadcasts in flight, over the number of clients.

def median: sort | if length == 0 then "?"
  elif length % 2 == 1 then .[length / 2 | floor]
  else (.[length / 2 - 1] + .[length / 2]) / 2 end;

(.ours + .peers) as $servers
| [.runs[] | select(.case | test("^fanout-[0-9]+-1-8$"))] as $runs
| (["# clients"] + $servers | join("\t")),
  ( $runs | map(.clients) | unique[] as $clients
  | [$clients] + [$servers[] as $server
    | [$runs[] | select(.clients == $clients and .server == $server).figures[$figure] | values]
    | median]
  | map(tostring) | join("\t") )
