# The results of scripts/bench-peers as columns for gnuplot: the medians of one $figure of
# the fanouts with one sender and a window of eight, over the number of clients. $suffix is
# empty or -deliveries, the end of the names of the cases.

def median: sort | if length == 0 then "?"
  elif length % 2 == 1 then .[length / 2 | floor]
  else (.[length / 2 - 1] + .[length / 2]) / 2 end;

(.ours + .peers + [.floor]) as $servers
| [.runs[] | select(.case | test("^fanout-[0-9]+-1-8\($suffix)$"))] as $runs
| (["# clients"] + $servers | join("\t")),
  ( $runs | map(.clients) | unique[] as $clients
  | [$clients] + [$servers[] as $server
    | [$runs[] | select(.clients == $clients and .server == $server).figures[$figure] | values]
    | median]
  | map(tostring) | join("\t") )
