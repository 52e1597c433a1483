#!/usr/bin/env bash
# The unit tests and fuzz targets with AddressSanitizer and UndefinedBehaviorSanitizer, and what runs on threads of its own
# (loader, checkpoint writer) with ThreadSanitizer; each in a build folder of its own.
#
#   tests/fault/sanitizers.sh [--only address|thread] [--programs "dataloader_test json_fuzz ..."]
#
# A report ends a program with code 99. Left out: tests that measure memory or limit it, which the sanitizers multiply, and
# those that start jobs under mpirun. LibTorch and Open MPI are not instrumented: their leaks are
# not looked for (tests/fault/leaks.supp), and of ThreadSanitizer's reports those count that have a line of Muster's on
# both sides (tests/fault/threads.supp).
set -euo pipefail
cd "$(dirname "$0")/../.."
only="" programs=""
while [ $# -gt 0 ]; do
  case "$1" in
    --only) only="$2" ;;
    --programs) programs="$2" ;;
    *) echo "sanitizers.sh: unknown argument '$1'; see the top of tests/fault/sanitizers.sh" >&2; exit 2 ;;
  esac
  shift 2
done
here="$PWD/tests/fault"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export ASAN_OPTIONS="exitcode=99:detect_stack_use_after_return=1:allocator_may_return_null=1"
export LSAN_OPTIONS="exitcode=99:suppressions=$here/leaks.supp:print_suppressions=0"
export UBSAN_OPTIONS="halt_on_error=1:exitcode=99:print_stacktrace=1"
export TSAN_OPTIONS="exitcode=99:halt_on_error=1:second_deadlock_stack=1:suppressions=$here/threads.supp:ignore_noninstrumented_modules=1"
measured='*Memory*:*Hostile*:*Limit*:*Rss*:*Job*'

ran=0 failed=()
# run FOLDER PROGRAM ARGUMENTS...
run() {
  local log="$1/$2.sanitized.log"
  ran=$((ran + 1))
  if ! "$1/$2" "${@:3}" >"$log" 2>&1; then
    failed+=("$2")
    grep -E -m 3 "ERROR: |runtime error|WARNING: ThreadSanitizer|SUMMARY|\[  FAILED  \] [A-Z]" "$log" || tail -n 3 "$log"
  fi
}

if [ "$only" != thread ]; then
  cmake --preset asan --log-level=NOTICE
  names=${programs:-"launch_test comm_test dataloader_test losses_test encoders_test heads_test references_test retrieval_test report_test configs_test"}
  # shellcheck disable=SC2086
  cmake --build --preset asan -j2 --target $names
  for name in $names; do
    case "$name" in
      *_fuzz) run build-asan "$name" --seconds 20 --seed 1 ;;
      *) run build-asan "$name" --gtest_filter="-$measured" ;;
    esac
  done
fi
if [ "$only" != address ]; then
  cmake --preset tsan --log-level=NOTICE
  cmake --build --preset tsan -j2 --target dataloader_test trainer_test
  run build-tsan dataloader_test --gtest_filter='LoaderTest.*'
  run build-tsan trainer_test --gtest_filter='CheckpointTest.*:CheckpointOrderTest.*'
fi
echo "$ran programs, ${#failed[@]} with findings${failed[*]:+: ${failed[*]}}"
[ ${#failed[@]} -eq 0 ]
