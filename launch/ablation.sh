#!/usr/bin/env bash
# What each module of MMRef brings: trains the baseline and each step towards the whole method over several seeds,
# evaluates each on test, and ends with one table. A run that is finished, or was cut short, is continued: the same
# command goes on where it stopped.
#
#   launch/ablation.sh --config FILE --data STORE --out DIR [--seeds 0,1,2] [--ranks 2] [--rows baseline,gf,lr,rgrl]
#                      [--set FIELD=VALUE]...
#
# Each row adds to the one before. baseline: no reference bank. gf: global fusion, references are trained and features are
# not touched by them. lr: masked words are predicted from captions and references. rgrl: references guide the features.
# Those with references are also refined by them, beta and phi chosen on val, beside the control that needs none (centred
# features).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
muster="$root/build/muster"

usage() {
  echo "ablation.sh: $1; see the top of launch/ablation.sh" >&2
  exit 2
}

config="" data="" out="" seeds="0,1,2" ranks=2 rows="baseline,gf,lr,rgrl" overrides=()
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage "'$1' lacks its value"
  case "$1" in
    --config) config="$2" ;;
    --data) data="$2" ;;
    --out) out="$2" ;;
    --seeds) seeds="$2" ;;
    --ranks) ranks="$2" ;;
    --rows) rows="$2" ;;
    --set) overrides+=(--set "$2") ;;
    *) usage "unknown argument '$1'" ;;
  esac
  shift 2
done
[ -n "$config" ] || usage "--config is not given"
[ -n "$data" ] || usage "--data is not given"
[ -n "$out" ] || usage "--out is not given"
[ -x "$muster" ] || usage "$muster is not built (cmake --preset release && cmake --build --preset release)"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

weights_of() {
  case "$1" in
    baseline) echo 0 0 0 ;;
    gf) echo 1 0 0 ;;
    lr) echo 1 1 0 ;;
    rgrl) echo 1 1 1 ;;
    *) usage "--rows has no row '$1'" ;;
  esac
}

for row in ${rows//,/ }; do weights_of "$row" > /dev/null; done

runs=()
for seed in ${seeds//,/ }; do
  for row in ${rows//,/ }; do
    read -r fusion words guidance < <(weights_of "$row")
    run="$out/$row/seed$seed"
    runs+=("$run")
    echo "[ablation] $run"
    mkdir -p "$out/$row"
    mpirun --oversubscribe -n "$ranks" "$muster" train --config "$config" --data "$data" --run "$run" "${overrides[@]}" \
      --set "train.seed=$seed" --set "references.fusion_weight=$fusion" --set "heads.masked_words.weight=$words" \
      --set "references.guidance_weight=$guidance"
    refine=()
    [ "$row" = baseline ] || refine=(--refine)
    mpirun --oversubscribe -n "$ranks" "$muster" eval --run "$run" --data "$data" --split test "${refine[@]}"
  done
done
"$muster" table "${runs[@]}"
