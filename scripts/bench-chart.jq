# Prints the results of scripts/bench-peers as columns for gnuplot: the median of $figure by
# the number of clients, for the fan-out cases with one sender and a window of eight. $suffix
# is the end of the case names: empty or -deliveries.

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
