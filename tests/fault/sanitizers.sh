#!/usr/bin/env bash
# Unit tests and fuzz targets with sanitizers, in a build folder of their own: AddressSanitizer and
# UndefinedBehaviorSanitizer; with --thread ThreadSanitizer, over what works with threads: loader, importers, checkpoint
# writer, watchdog, ranks as threads.
#
#   tests/fault/sanitizers.sh [--thread] [--programs "dataloader_test json_fuzz ..."]
#
# A report ends a program with code 99. Left out: tests that measure memory or limit it, which the sanitizers multiply, and
# those that start jobs under mpirun. LibTorch and Open MPI are not instrumented: their leaks are not looked for
# (tests/fault/leaks.supp), nor are races within them, and each rank computes with one thread.
set -euo pipefail
cd "$(dirname "$0")/../.."
preset=asan programs=""
while [ $# -gt 0 ]; do
  case "$1" in
    --thread) preset=tsan; shift; continue ;;
    --programs) programs="${2-}" ;;
    *) echo "sanitizers.sh: unknown argument '$1'; see the top of tests/fault/sanitizers.sh" >&2; exit 2 ;;
  esac
  shift 2
done
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export ASAN_OPTIONS="exitcode=99:detect_stack_use_after_return=1:allocator_may_return_null=1"
export LSAN_OPTIONS="exitcode=99:suppressions=$PWD/tests/fault/leaks.supp:print_suppressions=0"
export UBSAN_OPTIONS="halt_on_error=1:exitcode=99:print_stacktrace=1"
export TSAN_OPTIONS="exitcode=99:ignore_noninstrumented_modules=1"
left_out='*Memory*:*Hostile*:*Limit*:*Rss*:*Job*'
with_threads='*'
runner=()
if [ $preset = asan ]; then
  : "${programs:=launch_test comm_test dataloader_test trainer_test losses_test encoders_test heads_test references_test retrieval_test report_test configs_test}"
else
  : "${programs:=launch_test comm_test dataloader_test trainer_test}"
  export OMP_NUM_THREADS=1
  runner=(setarch "$(uname -m)" --addr-no-randomize)  # ThreadSanitizer knows few memory layouts
  left_out+=':*NumberOfThreads*'  # OpenMP's, which it does not see start and end
  with_threads='Loader*:EvaluationReader*:Import*:Checkpoint*:BackgroundPoll*:SharedBoard*:Watchdog*:*Thread*:Worlds/*:Work.*:Reducer*:AllOrNone*:RunRanks*:Signals*:Log*'
fi

cmake --preset $preset --log-level=NOTICE
# shellcheck disable=SC2086
cmake --build --preset $preset -j2 --target $programs
ran=0 failed=()
for name in $programs; do
  case "$name" in
    *_fuzz) arguments=(--seconds 20 --seed 1) ;;
    *) arguments=("--gtest_filter=$with_threads-$left_out") ;;
  esac
  log="build-$preset/$name.sanitized.log"
  ran=$((ran + 1))
  "${runner[@]}" "build-$preset/$name" "${arguments[@]}" >"$log" 2>&1 && continue
  failed+=("$name")
  grep -E -m 3 "ERROR: |WARNING: Thread|runtime error|SUMMARY|\[  FAILED  \] [A-Z]" "$log" || tail -n 3 "$log"
done
echo "$ran programs, ${#failed[@]} with findings${failed[*]:+: ${failed[*]}}"
[ ${#failed[@]} -eq 0 ]
