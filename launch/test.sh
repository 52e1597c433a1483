#!/usr/bin/env bash
# Sets up, builds, and runs every test that can run on this machine. What cannot run says Skipped and why.
#
#   launch/test.sh [--full] [-DLIBTORCH=DIR]
#     --full   also the slow tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

full=0
setup_arguments=(--tests)
cmake_arguments=()
for argument in "$@"; do
  case "$argument" in
    --full) full=1 ;;
    -DLIBTORCH=*) setup_arguments+=("$argument"); cmake_arguments+=("$argument") ;;
    *) echo "test.sh: unknown argument '$argument'; see the top of launch/test.sh" >&2; exit 2 ;;
  esac
done

launch/setup.sh "${setup_arguments[@]}"
cmake --preset tests --log-level=NOTICE "${cmake_arguments[@]}"
cmake --build --preset tests
selection=()
[ "$full" -eq 1 ] || selection=(--label-exclude slow)
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
  ctest --test-dir build --output-on-failure --parallel 2 "${selection[@]}"
