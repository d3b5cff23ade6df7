# The results of scripts/bench-peers as Markdown: where they come from, and for each case
# and figure the medians and how far we are ahead.

def median: sort | if length == 0 then null
  elif length % 2 == 1 then .[length / 2 | floor]
  else (.[length / 2 - 1] + .[length / 2]) / 2 end;

# Three digits at least, and all of a whole number.
def short: if . == null then "–"
  elif . == 0 or . >= 100 then round | tostring
  elif . >= 10 then . * 10 | round / 10 | tostring
  elif . >= 1 then . * 100 | round / 100 | tostring
  else . * 1000 | round / 1000 | tostring end;

# What is compared: a title, a figure, and whether more is better (1), less (-1), or only
# our own bound counts (0).
def compared($kind):
  { fanout: [["deliveries/s", "deliveries_per_s", 1],
             ["CPU per delivery, µs", "cpu_per_delivery_us", -1],
             ["p99, µs", "latency_p99_us", -1]],
    ping: [["messages/s", "deliveries_per_s", 1],
           ["p50 of a round trip, µs", "latency_p50_us", -1],
           ["CPU per message, µs", "cpu_per_delivery_us", -1],
           ["frames/s", "frames_per_s", 1],
           ["CPU per frame, µs", "cpu_per_frame_us", -1]],
    hold: [["clients held", "clients", 0],
           ["logins/s", "logins_per_s", 0],
           ["CPU of an early login, µs", "early_login_cpu_us", 0],
           ["CPU of a late login, µs", "late_login_cpu_us", 0],
           ["late / early", "late_to_early_login_cpu", 0],
           ["RSS per client, KiB", "rss_per_client_kib", 0],
           ["threads per client", "threads_per_client", 0],
           ["idle CPU, ms/s", "idle_cpu_ms_per_s", 0]] }[$kind];

# Above 1 is ahead of the better peer.
def ratio($mine; $peers; $better):
  ($peers | map(values)) as $theirs
  | if $better == 0 or $mine == null or ($theirs | length) == 0 then null
    elif $better > 0 then $mine / ($theirs | max)
    else ($theirs | min) / $mine end;

def row: "| " + join(" | ") + " |";

. as {$about, $ours, $peers, $runs}
| ($ours + $peers) as $servers
| ($about
  | "\(.date), commit \(.commit); \(.processors) × \(.processor), \(.memory), \(.kernel); "
    + "\(.rustc); \(.InspIRCd); \(.ngIRCd). Medians of \(.rounds) interleaved runs, by "
    + "`\(.command)`. The ratio is to the better peer, above 1 is ahead."),
  "",
  (["case", "figure"] + $servers + ($ours | map("ratio of `\(.)`")) | row),
  (["---", "---"] + ($servers + $ours | map("---:")) | row),
  # The order of the cases is that in which they ran.
  ( reduce $runs[].case as $case ([]; if index([$case]) then . else . + [$case] end)
  | .[] as $case
  | [$runs[] | select(.case == $case)] as $of_case
  | compared($of_case[0].kind)[] as [$title, $figure, $better]
  | def value($server):
      [$of_case[] | select(.server == $server).figures[$figure] | values] | median;
    [$case, $title]
    + ($servers | map(value(.) | short))
    + ($ours | map(ratio(value(.); [$peers[] | value(.)]; $better) | short))
  | row )
