#!/usr/bin/env bash
# kill -9 of a random rank at a random moment, again and again: right after a start, between two steps, and while a
# checkpoint is being written. The supervisor restarts; the finished run equals one that was never touched, bit for bit.
# Bounds: every job finishes; all ranks are gone 5 s after a kill; no more steps are done again than lie between two
# checkpoints, and those that were done while a checkpoint was being written.
# shellcheck source=tests/fault/job.sh disable=SC2034,SC2154
default_count=50
. "$(dirname "$0")/job.sh"

steps=150 every=10
make_store 20
write_config $steps "evaluation { every: 20 } checkpoint { every: $every keep_last: 2 }"
train_command unbroken
"${train[@]}" >"$folder/unbroken.log" 2>&1 || { cat "$folder/unbroken.log"; die "the unbroken run failed"; }

# A moment of one of three kinds; false if the job ends before.
wait_for_moment() {
  local first now
  first=$(step_of "$1")
  below 3
  case $chosen in
    0)
      below 1500
      sleep "$((chosen / 1000)).$(printf %03d $((chosen % 1000)))"
      ;;
    1)
      below 12
      now=$first
      while goes_on && ((now >= first && now < first + chosen)); do
        sleep 0.01
        now=$(step_of "$1")
      done
      ;;
    2)
      while goes_on && ! compgen -G "$folder/$1/checkpoints/*.partial" >/dev/null; do :; done
      ((++in_checkpoint))
      ;;
  esac
  goes_on
}

kills=0 runs=0 finished=0 in_checkpoint=0 slowest=0 wrong=0
while ((kills < count)); do
  ((++runs))
  run=run$runs
  supervise $run --restarts 1000 --deaths 20 --pause 0
  while ((kills < count)) && wait_for_ranks $run && wait_for_moment $run; do
    below "$ranks"
    victim=${pids[chosen]}
    began=$(milliseconds)
    kill -KILL "$victim" 2>/dev/null || continue
    wait_gone "${pids[@]}"
    took=$(($(milliseconds) - began))
    ((took > slowest)) && slowest=$took
    ((++kills))
  done
  wait "$supervisor" && ((++finished))
  supervisor=""
  told=$(differences unbroken $run)
  [ -z "$told" ] || { echo "$told"; wrong=1; }
done

# Of each restart: the step at the death less the checkpoint's.
redone=$(cat "$folder"/run*.log | sed -n 's/.* at step \([0-9]*\): restart [0-9]*, from step_0*\([0-9]*\)$/\1 \2/p' |
  while read -r death checkpoint; do echo $((death - ${checkpoint:-0})); done | sort -n | tail -n 1)
lost=$(cat "$folder"/run*.log | grep -c 'damaged')
grep -h '^supervise:.*not to be restarted' "$folder"/run*.log
((finished == runs && slowest <= 5000 && ${redone:-0} < 2 * every)) || wrong=1
echo "kills: $kills kills ($in_checkpoint of them while a checkpoint was written), $finished of $runs jobs finished," \
  "bit-equal: $( ((wrong)) && echo NO || echo yes), all ranks gone after at most $slowest ms," \
  "at most ${redone:-0} steps done again (a checkpoint every $every), $lost damaged checkpoints met"
exit $wrong
