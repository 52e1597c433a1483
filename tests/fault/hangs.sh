#!/usr/bin/env bash
# A rank is stopped (SIGSTOP) while it trains (in its forward or in a collective), evaluates and writes a checkpoint.
# Nobody notices that but the watchdogs of the others; bounds: each time the stopped rank is named, and all ranks are gone
# within its deadline and 10 s.
# shellcheck source=tests/fault/job.sh disable=SC2034,SC2154
default_count=10
. "$(dirname "$0")/job.sh"

call_s=5 phase_s=8  # deadlines of a call in a training step, and of evaluation and saving
make_store 300
write_config 100000 "evaluation { every: 5 batch: 4 } checkpoint { every: 6 keep_last: 2 }" \
  "comm { timeout_s: $call_s slow_phase_timeout_s: $phase_s }"

# Until a step is written down whose last digit is one of $2, and nothing after it.
after_step() {
  while goes_on && ! tail -n 1 "$folder/$1/metrics.jsonl" | grep -q '"kind":"step","step":[0-9]*'"$2,"; do :; done
}

# The moment when the run is in the phase $2; false if the job ends before.
wait_for_phase() {
  local first
  first=$(step_of "$1")
  while goes_on && (($(step_of "$1") < first + 4)); do sleep 0.01; done  # the deadlines are those of steps
  case $2 in
    evaluation) after_step "$1" '[05]' ;;
    saving) while goes_on && ! compgen -G "$folder/$1/checkpoints/*.partial" >/dev/null; do :; done ;;
    training)
      after_step "$1" 7  # neither evaluates nor saves
      below 10
      sleep "0.00$chosen"
      ;;
  esac
  goes_on
}

phases=(training evaluation saving training)
named=0 in_time=0 slowest=0 seen=""
for ((i = 0; i < count; ++i)); do
  run=run$i
  train_command $run
  "${train[@]}" >"$folder/$run.log" 2>&1 &
  supervisor=$!
  if ! wait_for_ranks $run || ! wait_for_phase $run "${phases[i % 4]}"; then
    cat "$folder/$run.log"
    die "the job ended by itself"
  fi
  below "$ranks"
  rank=$chosen
  [ "${phases[i % 4]}" = saving ] && rank=0  # the one that writes
  victim=${pids[rank]}
  kill -STOP "$victim"
  began=$(milliseconds)
  wait_gone "${pids[@]}"
  took=$(($(milliseconds) - began))
  wait "$supervisor"
  code=$?
  supervisor=""
  line=$(grep -o "rank $rank (pid $victim) lags: no sign of life for [0-9]* s, at call [0-9]* [^;]*" "$folder/$run.log" | head -n 1)
  echo "${phases[i % 4]}: rank $rank stopped, all gone after $took ms, code $code: ${line:-NOT NAMED: $(tail -n 3 "$folder/$run.log")}"
  [ -n "$line" ] && ((++named))
  deadline=$call_s
  case "$(grep -o 'rank [0-9]* ([^)]*)' "$folder/$run.log" | head -n 1)" in *evaluation* | *saving*) deadline=$phase_s ;; esac
  ((code == 76 && took <= (deadline + 10) * 1000)) && ((++in_time))
  ((took - deadline * 1000 > slowest)) && slowest=$((took - deadline * 1000))
  seen+=" ${line##*, }"
done
echo "hangs: $count ranks stopped, $named named, $in_time down in time, code 76;" \
  "the slowest was down $slowest ms after its deadline; the stopped rank was in:" \
  "$(tr ' ' '\n' <<<"$seen" | grep . | sort | uniq -c | awk '{printf "%s%s %s", sep, $1, $2; sep = ", "}')"
((named == count && in_time == count))
