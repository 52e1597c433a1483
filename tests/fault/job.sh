# What the scripts here share: sourced, not run. A tiny training job, its ranks, and what is left of it.
#
#   SCRIPT [--count N] [--seed S] [--ranks R] [--muster FILE] [--keep]
#     --count    how many faults (each script has its own default)
#     --seed     of what is random here
#     --muster   the program (build/muster)
#     --keep     leave the working folder, and say where it is
# Exit code: 0 all bounds hold, 1 one does not, 77 skipped. The figures are the last line.
# shellcheck shell=bash disable=SC2034
set -u
script=$(basename "$0")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
muster=$root/build/muster count=${default_count:?} seed=1 ranks=4 keep=0

die() {
  echo "$script: $1" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case "$1" in
    --count) count=$2 ;;
    --seed) seed=$2 ;;
    --ranks) ranks=$2 ;;
    --muster) muster=$2 ;;
    --keep) keep=1; shift; continue ;;
    *) die "unknown argument '$1'; see the top of tests/fault/job.sh" ;;
  esac
  [ $# -ge 2 ] || die "$1 needs a value"
  shift 2
done
muster=$(readlink -f "$muster")
[ -x "$muster" ] || die "$muster is not built"
command -v mpirun >/dev/null || { echo "Skipped: no mpirun"; exit 77; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
RANDOM=$seed

folder=$(mktemp -d)
supervisor=""
clean_up() {
  [ -z "$supervisor" ] || kill -TERM "$supervisor" 2>/dev/null
  wait
  if ((keep)); then echo "$script: left in $folder"; else rm -rf "$folder"; fi
}
trap clean_up EXIT

# $1: steps; $2: more fields of train; $3: of the whole config
write_config() {
  cat >"$folder/config.textproto" <<EOF
model {
  preset: MINI
  image { width_pixels: 16 height_pixels: 16 width: 24 layers: 2 heads: 2 }
  text { context: 12 width: 24 layers: 1 heads: 2 }
  joint_width: 16
  dropout: 0.1
}
data { image { flip: true pad_crop: 2 } }
objective { term { info_nce { positives: IDENTITY } } term { weight: 0.5 sdm {} } }
train {
  global_batch: 8 steps: $1 seed: 5 threads: 1 log_every: 1 schedule { warmup_steps: 4 }
  $2
}
${3-}
EOF
}

# $1: identities
make_store() {
  "$muster" synth --identities "$1" --views 2 --seed 1 --out "$folder/store" >/dev/null || die "no store was made"
}

# The command that trains in $1 on $2 ranks, into the array `train`.
train_command() {
  train=(mpirun -n "${2-$ranks}" "$muster" train --config "$folder/config.textproto" --data "$folder/store" --run "$folder/$1")
}

# Starts the run $1 under the supervisor; what it says goes to $1.log. $2...: the supervisor's options.
supervise() {
  train_command "$1"
  local log=$folder/$1.log
  shift
  "$root/launch/supervise.sh" "$@" -- "${train[@]}" >"$log" 2>&1 &
  supervisor=$!
}

# Whether the supervised job goes on.
goes_on() { [ -n "$supervisor" ] && kill -0 "$supervisor" 2>/dev/null; }

# Process ids of the ranks that train in run $1, one a line, by rank.
ranks_of() {
  local file pid rank
  grep -lz -- "^$folder/$1\$" /proc/[0-9]*/cmdline 2>/dev/null | while read -r file; do
    pid=${file#/proc/}
    pid=${pid%/cmdline}
    [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$muster" ] || continue
    rank=$(grep -az '^OMPI_COMM_WORLD_RANK=' "/proc/$pid/environ" 2>/dev/null | tr -d '\0')
    [ -n "$rank" ] && echo "${rank#*=} $pid"
  done | sort -n | cut -d' ' -f2
}

step_of() {
  local step
  step=$(tail -n 3 "$folder/$1/metrics.jsonl" 2>/dev/null | sed -n 's/.*"step":\([0-9]*\),.*}$/\1/p' | tail -n 1)
  echo "${step:-0}"
}

# Until all ranks of run $1 are there; false if the job ends before. Sets `pids`.
wait_for_ranks() {
  while goes_on; do
    mapfile -t pids < <(ranks_of "$1")
    ((${#pids[@]} == ranks)) && return 0
    sleep 0.05
  done
  return 1
}

# Until these processes are gone.
wait_gone() {
  local pid
  for pid in "$@"; do
    while [ -e "/proc/$pid" ] && [ "$(sed 's/.*) \(.\).*/\1/' "/proc/$pid/stat" 2>/dev/null)" != Z ]; do sleep 0.02; done
  done
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }
# Sets `chosen` to a random number below $1. (A subshell would have random numbers of its own.)
below() { chosen=$(((RANDOM * 32768 + RANDOM) % $1)); }

# Says in what the finished runs $1 and $2 differ, of weights, optimizer, state and losses; nothing if in no bit.
differences() {
  local a=$folder/$1 b=$folder/$2 newest file
  newest=$(cat "$a/checkpoints/LATEST")
  for file in model.safetensors optimizer.safetensors state.textproto; do
    cmp -s "$a/checkpoints/$newest/$file" "$b/checkpoints/$newest/$file" || echo "$2: $file of $newest differs from $1's"
  done
  cmp -s <(curve "$1") <(curve "$2") || echo "$2: the losses differ from $1's"
}
curve() {
  grep '"kind":"step"' "$folder/$1/metrics.jsonl" | sed 's/"samples_per_second".*//'
}
