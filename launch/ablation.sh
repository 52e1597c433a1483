#!/usr/bin/env bash
# What each module of a method brings: trains every variant of a preset over several seeds, evaluates each on test, and
# ends with one table. A run that is finished, or was cut short, is continued: the same command goes on where it stopped.
#
#   launch/ablation.sh --config FILE --data STORE --out DIR [--variants FILE] [--rows NAME,NAME...] [--seeds 0,1,2]
#                      [--ranks 2] [--set FIELD=VALUE]...
#
# The variants stand in a file, by default that beside the config: configs/sen_demo.variants for sen_demo.textproto. A
# line is one variant: its name, then what is set for it, FIELD=VALUE without blanks, and --refine if it is to be refined
# by its references too; nothing set is the config itself; # begins a comment. Runs lie in DIR/NAME/seedN. --set is for
# all of them and comes first. MUSTER: the program, if it is not build/muster.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
muster="${MUSTER:-$root/build/muster}"

usage() {
  echo "ablation.sh: $1; see the top of launch/ablation.sh" >&2
  exit 2
}

config="" data="" out="" variants="" rows="" seeds="0,1,2" ranks=2 overrides=()
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage "'$1' lacks its value"
  case "$1" in
    --config) config="$2" ;;
    --data) data="$2" ;;
    --out) out="$2" ;;
    --variants) variants="$2" ;;
    --rows) rows="$2" ;;
    --seeds) seeds="$2" ;;
    --ranks) ranks="$2" ;;
    --set) overrides+=(--set "$2") ;;
    *) usage "unknown argument '$1'" ;;
  esac
  shift 2
done
[ -n "$config" ] || usage "--config is not given"
[ -n "$data" ] || usage "--data is not given"
[ -n "$out" ] || usage "--out is not given"
variants="${variants:-${config%.textproto}.variants}"
[ -r "$variants" ] || usage "$variants cannot be read; name a file of variants with --variants"
[ -x "$muster" ] || usage "$muster is not built (cmake --preset release && cmake --build --preset release)"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

names=()
declare -A settings
number=0
while read -r -a words || [ ${#words[@]} -gt 0 ]; do
  number=$((number + 1))
  for i in "${!words[@]}"; do
    [[ "${words[i]}" == "#"* ]] && words=("${words[@]:0:i}") && break
  done
  [ ${#words[@]} -gt 0 ] || continue
  name="${words[0]}"
  [[ "$name" =~ ^[A-Za-z0-9][A-Za-z0-9_.+-]*$ ]] || usage "$variants:$number: '$name' is no name of a folder"
  [ -z "${settings[$name]+known}" ] || usage "$variants:$number: '$name' stands there twice"
  for word in "${words[@]:1}"; do
    [[ "$word" == *=* || "$word" == --refine ]] || usage "$variants:$number: '$word' is neither FIELD=VALUE nor --refine"
  done
  names+=("$name")
  settings[$name]="${words[*]:1}"
done < "$variants"
[ ${#names[@]} -gt 0 ] || usage "$variants has no variant"
[ -z "$rows" ] || IFS=, read -r -a names <<< "$rows"
for name in "${names[@]}"; do
  [ -n "${settings[$name]+known}" ] || usage "$variants has no variant '$name'"
done

runs=()
for seed in ${seeds//,/ }; do
  for name in "${names[@]}"; do
    run="$out/$name/seed$seed"
    runs+=("$run")
    own=() refine=()
    read -r -a words <<< "${settings[$name]}"
    for word in "${words[@]}"; do
      if [ "$word" = --refine ]; then refine=(--refine); else own+=(--set "$word"); fi
    done
    echo "[ablation] $run"
    mkdir -p "$out/$name"
    mpirun --oversubscribe -n "$ranks" "$muster" train --config "$config" --data "$data" --run "$run" "${overrides[@]}" \
      "${own[@]}" --set "train.seed=$seed"
    mpirun --oversubscribe -n "$ranks" "$muster" eval --run "$run" --data "$data" --split test "${refine[@]}"
  done
done
"$muster" table "${runs[@]}"
