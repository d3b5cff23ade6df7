# Prints the results of scripts/bench-peers as Markdown: the origin of the run, then a table
# for each kind of case. A row is a case and a server. It has the median of each figure, with
# the ratios to the better peer and to the floor.

def median: sort | if length == 0 then null
  elif length % 2 == 1 then .[length / 2 | floor]
  else (.[length / 2 - 1] + .[length / 2]) / 2 end;

# Rounds to three digits. A larger number keeps all digits of its whole part.
def short: if . == null then "–"
  elif . == 0 or . >= 100 then round | tostring
  elif . >= 10 then . * 10 | round / 10 | tostring
  elif . >= 1 then . * 100 | round / 100 | tostring
  else . * 1000 | round / 1000 | tostring end;

# The figures of a kind: a title, a key, and whether more is better (1), less (-1), or no
# ratio has a meaning (0).
def compared($kind):
  { fanout: [["deliveries/s", "deliveries_per_s", 1],
             ["CPU per delivery, µs", "cpu_per_delivery_us", -1],
             ["p99, µs", "latency_p99_us", -1]],
    ping: [["messages/s", "deliveries_per_s", 1],
           ["CPU per message, µs", "cpu_per_delivery_us", -1],
           ["p50 of a round trip, µs", "latency_p50_us", -1],
           ["p99 of a round trip, µs", "latency_p99_us", -1],
           ["CPU per frame, µs", "cpu_per_frame_us", 0]],
    hold: [["clients held", "clients", 0],
           ["logins/s", "logins_per_s", 0],
           ["CPU of an early login, µs", "early_login_cpu_us", 0],
           ["CPU of a late login, µs", "late_login_cpu_us", 0],
           ["late / early", "late_to_early_login_cpu", 0],
           ["RSS per client, KiB", "rss_per_client_kib", 0],
           ["threads per client", "threads_per_client", 0],
           ["idle CPU, ms/s", "idle_cpu_ms_per_s", 0]] }[$kind];

# Returns the ratio of $mine to the best of $others. Above 1, $mine is better.
def ratio($mine; $others; $better):
  ($others | map(values | select(. > 0))) as $others
  | if $better == 0 or ($mine // 0) == 0 or ($others | length) == 0 then null
    elif $better > 0 then $mine / ($others | max)
    else ($others | min) / $mine end;

def row: "| " + join(" | ") + " |";

def head($words; $numbers):
  ($words + $numbers | row),
  ($words + $numbers | to_entries
  | map(if .key < ($words | length) then "---" else "---:" end) | row);

. as {$about, $ours, $peers, $echoes, $floor, $runs}
| ($ours + $peers + $echoes + [$floor]) as $servers
# The cases are in the order of the run.
| (reduce $runs[] as {$case, $kind}
  ([]; if any(.[]; .[0] == $case) then . else . + [[$case, $kind]] end)) as $cases
| def value($case; $server; $figure):
    [$runs[] | select(.case == $case and .server == $server).figures[$figure] | values]
    | median;
  def has_run($case): . as $server | any($runs[]; .case == $case and .server == $server);
  # Whether the peer with the least CPU has more than three times the p99 of the server.
  def is_won_by_stalling($case; $server):
    [$peers[] | [value($case; .; "cpu_per_delivery_us"), value($case; .; "latency_p99_us")]
      | select(.[0] != null)]
    | min as $best
    | $best != null and (($ours | index([$server])) != null)
      and $best[0] < value($case; $server; "cpu_per_delivery_us")
      and $best[1] > 3 * value($case; $server; "latency_p99_us");

( $about
| "\(.date), commit \(.commit); \(.processors) × \(.processor), \(.memory), \(.kernel); "
  + "\(.rustc); \(.InspIRCd); \(.ngIRCd). Medians of \(.rounds) interleaved rounds, by "
  + "`\(.command)`. A run sends for at most \(.seconds) s.",
  "",
  "Ratios above 1 are ahead. *Peer*: ratio to the better of \($peers | join(" and ")). "
  + "*Floor*: ratio to a server with a thread for each client that only reads and writes. "
  + "Names that end in `-deliveries`: the window counts deliveries, not broadcasts. "
  + "(s): the peer with less CPU has more than three times the p99.",
  (.notes[] | "", .) ),
( ["fanout", "ping", "hold"][] as $kind
| [$cases[] | select(.[1] == $kind)[0]] as $of_kind
| select($of_kind | length > 0)
| "",
  head(["case", "server"];
    [compared($kind)[] | .[0], (select(.[2] != 0) | "peer", "floor")]),
  ( $of_kind[] as $case
  | $servers[] | select(has_run($case)) as $server
  | [$case, $server]
    + [ compared($kind)[] as [$title, $figure, $better]
      | value($case; $server; $figure) as $mine
      | ($mine | short),
        ( select($better != 0)
        | ( ratio($mine; [$peers[] | value($case; .; $figure)]; $better) | short)
          + ( if $figure == "cpu_per_delivery_us" and is_won_by_stalling($case; $server)
              then " (s)" else "" end ),
          (ratio($mine; [value($case; $floor; $figure)]; $better) | short) ) ]
  | row ) ),
( [$cases[] | select(.[1] == "ping")[0]] as $pings
| select(($pings | length) > 0 and ($echoes | length) > 0)
| [compared("ping")[] | select(.[2] != 0)] as $figures
| "",
  "The same work: ratios to InspIRCd with `echo-message`. It then sends two messages for "
  + "each private message, as CP does.",
  "",
  head(["case", "server", "ratio to"]; [$figures[][0]]),
  ( $pings[] as $case
  | $ours[] | select(has_run($case)) as $server
  | $echoes[] | select(has_run($case)) as $echo
  | [$case, $server, $echo]
    + [ $figures[] as [$title, $figure, $better]
      | ratio(value($case; $server; $figure); [value($case; $echo; $figure)]; $better)
      | short ]
  | row ) )
