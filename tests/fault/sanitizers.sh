#!/usr/bin/env bash
# Unit tests and fuzz targets with AddressSanitizer and UndefinedBehaviorSanitizer, in a build folder of their own.
#
#   tests/fault/sanitizers.sh [--programs "dataloader_test json_fuzz ..."]
#
# A report ends a program with code 99. Left out: tests that measure memory or limit it, which the sanitizers multiply, and
# those that start jobs under mpirun. LibTorch and Open MPI are not instrumented; their leaks are not looked for
# (tests/fault/leaks.supp).
set -euo pipefail
cd "$(dirname "$0")/../.."
programs="launch_test comm_test dataloader_test losses_test encoders_test heads_test references_test retrieval_test report_test configs_test"
while [ $# -gt 0 ]; do
  case "$1" in
    --programs) programs="$2" ;;
    *) echo "sanitizers.sh: unknown argument '$1'; see the top of tests/fault/sanitizers.sh" >&2; exit 2 ;;
  esac
  shift 2
done
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export ASAN_OPTIONS="exitcode=99:detect_stack_use_after_return=1:allocator_may_return_null=1"
export LSAN_OPTIONS="exitcode=99:suppressions=$PWD/tests/fault/leaks.supp:print_suppressions=0"
export UBSAN_OPTIONS="halt_on_error=1:exitcode=99:print_stacktrace=1"
left_out='*Memory*:*Hostile*:*Limit*:*Rss*:*Job*'

cmake --preset asan --log-level=NOTICE
# shellcheck disable=SC2086
cmake --build --preset asan -j2 --target $programs
ran=0 failed=()
for name in $programs; do
  case "$name" in
    *_fuzz) arguments=(--seconds 20 --seed 1) ;;
    *) arguments=("--gtest_filter=-$left_out") ;;
  esac
  log="build-asan/$name.sanitized.log"
  ran=$((ran + 1))
  "build-asan/$name" "${arguments[@]}" >"$log" 2>&1 && continue
  failed+=("$name")
  grep -E -m 3 "ERROR: |runtime error|SUMMARY|\[  FAILED  \] [A-Z]" "$log" || tail -n 3 "$log"
done
echo "$ran programs, ${#failed[@]} with findings${failed[*]:+: ${failed[*]}}"
[ ${#failed[@]} -eq 0 ]
