#!/usr/bin/env bash
# Keeps a training job alive: starts it, and starts it again when a rank, a peer or mpirun itself was lost. The run goes on
# from its newest whole checkpoint, or from the beginning if it has none yet.
#
#   launch/supervise.sh [--restarts 20] [--deaths 3] [--pause 5] -- mpirun -n 4 build/muster train ... --run DIR ...
#     --restarts N   at most so many in any hour
#     --deaths N     so many deaths in a row at the same step end it: what kills the job there would do so again
#     --pause S      seconds before a restart, if the run is no further than at the death before
#
# What the job's exit code asks for: 76 (a peer was lost), a signal (137, 139, 134 ...) and what is no code of muster's are
# restarted; 0 (done), 1 (a bug), 2 (bad input), 75 (stopped after saving), 77 (not finite), 126 and 127 (no such program)
# are handed on. USR1, Ctrl-C and HUP: save at the next step and stop, code 75. A second one, or TERM: end at once, code
# 128 + the signal's number. Each event is one line on standard error: time, code, step (the last in DIR/metrics.jsonl) and
# restarts so far. The job's standard input is empty. No process of it on this host outlives a restart or the end.
set -u

restarts_allowed=20 deaths_allowed=3 pause=5

say() { printf 'supervise: %s %s\n' "$(date '+%F %T')" "$1" >&2; }

refuse() {
  echo "supervise.sh: $1; see the top of $0" >&2
  exit 2
}

while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case "$1" in
    --restarts | --deaths | --pause) ;;
    *) refuse "unknown argument '$1' (the job's command stands after --)" ;;
  esac
  [[ "${2-}" =~ ^[0-9]+$ ]] || refuse "$1 needs a number"
  case "$1" in
    --restarts) restarts_allowed=$2 ;;
    --deaths) deaths_allowed=$2 ;;
    --pause) pause=$2 ;;
  esac
  shift 2
done
[ $# -gt 1 ] || refuse "no command after --"
shift
command=("$@")

run=""
for ((i = 0; i < ${#command[@]}; ++i)); do
  case "${command[i]}" in
    --run) run=${command[i + 1]-} ;;
    --run=*) run=${command[i]#--run=} ;;
  esac
done
[ -n "$run" ] || refuse "the command has no --run DIR, whose step would be watched"

# The last step in the run's log; 0 before the first.
last_step() {
  local step
  step=$(tail -n 3 "$run/metrics.jsonl" 2>/dev/null | sed -n 's/.*"step":\([0-9]*\),.*}$/\1/p' | tail -n 1)
  echo "${step:-0}"
}

newest_checkpoint() {
  local latest=""
  { read -r latest <"$run/checkpoints/LATEST"; } 2>/dev/null
  if [ -n "$latest" ]; then echo "from $latest"; else echo "from the beginning (no checkpoint yet)"; fi
}

# The job is a session of its own: its number is the job's process id. A terminal's Ctrl-C does not reach it.
job=""
job_processes() {
  local stat line state session
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } 2>/dev/null || continue
    read -r state _ _ session _ <<<"${line##*) }"  # behind the name: state, parent, group, session
    if [ "$session" = "$job" ] && [ "$state" != Z ]; then echo "${line%% *}"; fi
  done
}

# Until no process of the job is left.
end_job() {
  [ -n "$job" ] || return
  local left tries=0
  while mapfile -t left < <(job_processes) && ((${#left[@]} > 0)); do
    if ((tries == 0)) && [ "${1-}" = politely ]; then
      kill -TERM "$job" 2>/dev/null  # mpirun ends its ranks, those of other hosts too
    elif ((tries >= 30)) || [ "${1-}" != politely ]; then
      kill -KILL "${left[@]}" 2>/dev/null
    fi
    ((++tries))
    sleep 0.1
  done
}

asked="" interrupted=0
end_at_once() {
  trap '' USR1 INT HUP TERM
  end_job politely
  say "ended by SIG$1 at step $(last_step), restarts $restarts; the same command continues $(newest_checkpoint)"
  exit $((128 + $(kill -l "$1")))
}
ask_to_save() {
  interrupted=1
  [ -z "$asked" ] || end_at_once "$1"
  asked=$1
  say "SIG$1: save and stop; again to end at once"
  [ -z "$job" ] || kill -USR1 "$job" 2>/dev/null
}
trap 'ask_to_save USR1' USR1
trap 'ask_to_save INT' INT
trap 'ask_to_save HUP' HUP
trap 'end_at_once TERM' TERM
trap '' PIPE
trap 'end_job' EXIT

# Sets `code`.
run_job() {
  setsid "${command[@]}" </dev/null &
  job=$!
  [ -z "$asked" ] || kill -USR1 "$job" 2>/dev/null
  code=127 interrupted=1
  while ((interrupted)); do  # a signal ends `wait`, not the job
    interrupted=0
    wait "$job" 2>/dev/null  # without bash's own line on how it died
    local status=$?
    if ((status != 127)); then code=$status; fi
  done
  end_job
  job=""
}

what_code_says() {
  case "$1" in
    76) echo "76 (a peer was lost)" ;;
    *) if (($1 > 128 && $1 < 193)); then echo "$1 (signal $(($1 - 128)))"; else echo "$1"; fi ;;
  esac
}

restarts=0 deaths=0 death_step=-1 times=()
say "starts ${command[*]}"
while :; do
  run_job
  step=$(last_step)
  case "$code" in
    0) say "done at step $step, restarts $restarts"; exit 0 ;;
    75) say "stopped after saving (75) at step $step, restarts $restarts"; exit 75 ;;
    1 | 2 | 77 | 126 | 127) say "ended with $code at step $step, restarts $restarts: not to be restarted"; exit "$code" ;;
  esac
  said="ended with $(what_code_says "$code") at step $step"
  if [ -n "$asked" ]; then
    say "$said before it could save, restarts $restarts; the same command continues $(newest_checkpoint)"
    exit 75
  fi
  if ((step == death_step)); then ((++deaths)); else deaths=1; fi
  death_step=$step
  if ((deaths >= deaths_allowed)); then
    say "$said, $deaths times in a row, restarts $restarts: not to be restarted; see what it says above"
    exit "$code"
  fi
  recent=()
  for time in "${times[@]}"; do ((time > SECONDS - 3600)) && recent+=("$time"); done
  times=("${recent[@]}")
  if ((${#times[@]} >= restarts_allowed)); then
    say "$said, restarts $restarts: no more than $restarts_allowed an hour; the same command continues $(newest_checkpoint)"
    exit "$code"
  fi
  times+=("$SECONDS")
  ((++restarts))
  say "$said: restart $restarts, $(newest_checkpoint)"
  if ((deaths > 1)); then
    sleep "$pause" &
    wait $!
  fi
  if [ -n "$asked" ]; then
    say "stopped between two starts, restarts $restarts; the same command continues $(newest_checkpoint)"
    exit 75
  fi
done
