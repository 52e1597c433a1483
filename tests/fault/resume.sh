#!/usr/bin/env bash
# Runs that are stopped after random steps, and at the edges of epochs, and continued: each ends as the run that was never
# stopped, bit for bit. Then one run goes from 4 ranks to 2 and to 3: it sees the same batches, so its losses are those of
# 4 ranks but for rounding.
# shellcheck source=tests/fault/job.sh disable=SC2034,SC2154
default_count=50
. "$(dirname "$0")/job.sh"

steps=40 stops_a_run=5
make_store 20
write_config $steps "evaluation { every: 9 } checkpoint { every: 1000 }"

# Trains in $1 on $2 ranks up to step $3.
train_to() {
  train_command "$1" "$2"
  "${train[@]}" --stop-after "$3" >>"$folder/$1.log" 2>&1
  local code=$?
  if ((code != ($3 < steps ? 75 : 0))); then
    tail -n 5 "$folder/$1.log"
    die "$1 ended with $code at step $3"
  fi
}

train_to unbroken "$ranks" $steps
epoch=$(sed -n 's/.* epochs of \([0-9]*\) steps$/\1/p' "$folder/unbroken.log")

stops=0 runs=0 edges=0 wrong=0
while ((stops < count)); do
  ((++runs))
  places=()
  while ((${#places[@]} < stops_a_run && stops + ${#places[@]} < count)); do
    below $((steps - 1))
    place=$((chosen + 1))
    ((${#places[@]} == 0)) && place=$(((chosen % (steps / epoch - 1) + 1) * epoch))  # an epoch's edge
    [[ " ${places[*]} " == *" $place "* ]] || places+=("$place")
  done
  for place in $(printf '%s\n' "${places[@]}" | sort -n); do
    train_to run$runs "$ranks" "$place"
    ((++stops))
    ((place % epoch == 0)) && ((++edges))
  done
  train_to run$runs "$ranks" $steps
  told=$(differences unbroken run$runs)
  [ -z "$told" ] || { echo "$told (stops after ${places[*]})"; wrong=1; }
done

train_to worlds 4 13
train_to worlds 2 26
train_to worlds 3 $steps
losses() { sed -n 's/.*"kind":"step","step":\([0-9]*\),.*"loss":\([^,]*\),.*/\1 \2/p' "$folder/$1/metrics.jsonl"; }
apart=$(join <(losses unbroken | sort) <(losses worlds | sort) | awk '{d = ($2 - $3) / $2; if (d < 0) d = -d; if (d > m) m = d} END {printf "%.1e", m}')
same_steps=$(join <(losses unbroken | sort) <(losses worlds | sort) | wc -l)
awk "BEGIN {exit !($apart < 1e-3 && $same_steps == $steps)}" || wrong=1
echo "resume: $stops stops ($edges of them at an epoch's edge) in $runs runs," \
  "bit-equal: $( ((wrong)) && echo NO || echo yes); 4, then 2, then 3 ranks: losses within $apart"
exit $wrong
