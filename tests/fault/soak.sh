#!/usr/bin/env bash
# Minutes of random faults, about one a minute: a rank is killed, a rank is stopped, the job is asked to stop (and started
# again), the newest checkpoint is damaged and a rank killed. Bounds: the run goes on after each; 80 % of the time went into
# steps that count (not into starts, waiting for deadlines, steps done again); memory is flat within 2 %.
#   --count: minutes
# shellcheck source=tests/fault/job.sh disable=SC2034,SC2154
default_count=20
. "$(dirname "$0")/job.sh"

between=60 ripe=15  # seconds between faults; age in seconds from which a rank's memory is looked at
make_store 60
write_config 10000000 "evaluation { every: 1000 } checkpoint { every: 50 keep_last: 3 }" "comm { timeout_s: 5 slow_phase_timeout_s: 30 }"

start() { supervise run --restarts 100000 --pause 0; }

# Kibibytes that the ranks hold of their own.
memory_of() {
  local pid
  for pid in "$@"; do sed -n 's/^RssAnon: *\([0-9]*\) kB/\1/p' "/proc/$pid/status" 2>/dev/null; done |
    awk '{sum += $1} END {print sum + 0}'
}

# Of a file of the newest checkpoint, which it sets `flipped` to.
flip_a_byte() {
  local file
  flipped=$(cat "$folder/run/checkpoints/LATEST")
  file=$(printf '%s\n' "$folder/run/checkpoints/$flipped"/*.safetensors | shuf -n 1)
  local place=$(($(stat -c %s "$file") / 2))
  local byte
  byte=$(od -An -tu1 -j "$place" -N 1 "$file")
  printf '%b' "\\x$(printf %x $((byte ^ 1)))" | dd of="$file" bs=1 seek="$place" conv=notrunc status=none
}

began=$(milliseconds)
end=$((began + count * 60000))
faults=0 stuck=0 must_notice=0 growth=0 early=() late=()
declare -A counts
start
while (($(milliseconds) < end)); do
  if ! wait_for_ranks run; then
    cat "$folder/run.log"
    die "the job ended by itself"
  fi
  born=$(milliseconds) first=0 last=0
  before=$(step_of run)
  below $((between * 1000))
  moment=$((born + between * 500 + chosen))
  ((moment > end)) && moment=$end
  while goes_on && (($(milliseconds) < moment)); do
    sleep 1
    (($(milliseconds) - born < ripe * 1000)) && continue
    mapfile -t now < <(ranks_of run)
    [ "${now[*]}" = "${pids[*]}" ] || break
    last=$(memory_of "${pids[@]}")
    ((first == 0)) && first=$last
    if (($(milliseconds) < began + (end - began) / 3)); then early+=("$last"); else late+=("$last"); fi
  done
  if ((first > 0)); then
    grown=$(((last - first) * 1000 / first))
    ((grown > growth)) && growth=$grown
  fi
  (($(milliseconds) >= end)) && break
  (($(step_of run) > before)) || ((++stuck))
  below 4
  kinds=(kill stop usr1 damage)
  kind=${kinds[chosen]}
  below "$ranks"
  victim=${pids[chosen]}
  case $kind in
    kill) kill -KILL "$victim" ;;
    stop) kill -STOP "$victim" ;;
    usr1) kill -USR1 "$supervisor" ;;
    damage)
      flip_a_byte
      kill -KILL "$victim"
      ;;
  esac
  ((++faults))
  counts[$kind]=$((${counts[$kind]-0} + 1))
  wait_gone "${pids[@]}"
  # A newer checkpoint may have been finished before the kill.
  if [ "$kind" = damage ] && [ "$flipped" = "$(cat "$folder/run/checkpoints/LATEST")" ]; then ((++must_notice)); fi
  if [ "$kind" = usr1 ]; then
    wait "$supervisor"
    code=$?
    ((code == 75)) || die "USR1 ended the job with $code"
    cat "$folder/run.log" >>"$folder/all.log"
    start
  fi
done
touch "$folder/mark"
while goes_on && ! [ "$folder/run/metrics.jsonl" -nt "$folder/mark" ]; do sleep 0.1; done  # the last start goes on
kill -USR1 "$supervisor"
wait "$supervisor"
code=$?
supervisor=""
wall=$(($(milliseconds) - began))
cat "$folder/run.log" >>"$folder/all.log"
damaged=$(grep -c 'is damaged, trying the one before' "$folder/all.log")

# A line tells the rate of its steps: what they took, of those that counted.
good=$(sed -n 's/.*"kind":"step".*"samples_per_second":\([^,]*\),.*/\1/p' "$folder/run/metrics.jsonl" |
  awk -v batch=8 '{seconds += batch / $1} END {printf "%d", 1000 * seconds}')
goodput=$((good * 1000 / wall))
mean() { printf '%s\n' "$@" | awk '{sum += $1} END {print NR ? sum / NR : 0}'; }
drift=$(awk -v a="$(mean "${early[@]}")" -v b="$(mean "${late[@]}")" 'BEGIN {printf "%+.1f", (a > 0 && b > 0 ? 100 * (b / a - 1) : 0)}')
echo "soak: $((wall / 1000)) s, $faults faults ($(for kind in "${!counts[@]}"; do printf '%s %s ' "${counts[$kind]}" "$kind"; done | sed 's/ $//'))," \
  "step $(step_of run), code $code at the end, $stuck starts without a step, $damaged of $must_notice damaged checkpoints passed over," \
  "goodput $((goodput / 10)).$((goodput % 10)) %," \
  "memory: at most +$((growth / 10)).$((growth % 10)) % within a start, $drift % from the first third to the rest"
((code == 75 && stuck == 0 && damaged >= must_notice && goodput >= 800 && growth <= 20)) && awk "BEGIN {exit !($drift <= 2)}"
