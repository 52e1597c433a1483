#!/usr/bin/env bash
# From nothing to a trained model: sets up, builds, draws a set of synthetic pedestrians, trains on two ranks, evaluates,
# and ends with the retrieval table and a report to open in a browser.
#
#   launch/demo.sh [-DLIBTORCH=DIR]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

setup_arguments=()
cmake_arguments=()
for argument in "$@"; do
  case "$argument" in
    -DLIBTORCH=*) setup_arguments+=("$argument"); cmake_arguments+=("$argument") ;;
    *) echo "demo.sh: unknown argument '$argument'; see the top of launch/demo.sh" >&2; exit 2 ;;
  esac
done

say() { printf '\n[demo] %s\n' "$*"; }
muster=build/muster
store=runs/demo/pedestrians
run=runs/demo/run
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

say "Set-up: Debian packages (root or sudo), LibTorch 2.11.0 and CLIP's merges into .deps/; only what is missing"
launch/setup.sh "${setup_arguments[@]}"

say "Build: $muster"
cmake --preset release --log-level=NOTICE "${cmake_arguments[@]}"
cmake --build --preset release

if [ ! -e "$store" ]; then
  say "Data: 800 synthetic pedestrians, 5 views each, packed to HDF5 in $store"
  mkdir -p runs/demo
  "$muster" synth --identities 800 --views 5 --seed 1 --ceiling --out "$store"
fi

say "Training on 2 ranks; a run that was cut short, or is finished, continues from $run/checkpoints"
mpirun --oversubscribe -n 2 "$muster" train --config configs/demo.textproto --data "$store" --run "$run"

say "Evaluation on people the model has never seen"
mpirun --oversubscribe -n 2 "$muster" eval --run "$run" --data "$store" --split test
