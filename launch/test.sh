#!/usr/bin/env bash
# Sets up, builds, and runs every test that can run on this machine. What cannot run says Skipped and why. Where there is a
# CUDA toolkit, the GPU code is compiled and linked too, GPU or not (launch/gpu_test.sh runs it).
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

# Why the GPU code cannot be compiled here; empty if it can.
cuda_missing() {
  local nvcc root libtorch=.deps/libtorch/torch
  nvcc=$(PATH="$PATH:/usr/local/cuda/bin" command -v nvcc) || { echo "no nvcc (CUDA toolkit) in PATH or /usr/local/cuda"; return; }
  root=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
  for argument in "${cmake_arguments[@]}"; do libtorch=${argument#-DLIBTORCH=}; done
  [ -e "$libtorch/lib/libtorch_cuda.so" ] || { echo "$libtorch was not built for CUDA"; return; }
  [ -n "$(ls "$root"/include/nccl.h "$libtorch"/../nvidia/nccl/include/nccl.h /usr/include/nccl.h 2>/dev/null)" ] ||
    echo "no nccl.h in $root, beside LibTorch, or in /usr"
}

launch/setup.sh "${setup_arguments[@]}"
missing=$(cuda_missing)
if [ -z "$missing" ]; then
  cmake_arguments+=(-DMUSTER_CUDA=CHECK)
else
  cmake_arguments+=(-DMUSTER_CUDA=OFF)
  echo "[test] the GPU code is not compiled here: $missing"
fi
cmake --preset tests --log-level=NOTICE "${cmake_arguments[@]}"
cmake --build --preset tests
if [ -z "$missing" ]; then
  cmake --build --preset tests --target cuda_check
  echo "[test] the GPU code is compiled and linked (cuda_check); without a GPU it is not run"
fi
# In CI each parser's fuzz target runs for a minute, elsewhere for 20 seconds.
if [ "$full" -eq 1 ]; then
  selection=()
elif [ "${CI-}" = true ]; then
  selection=(--label-exclude '^slow$' --exclude-regex '^fuzz\..*\.long$')
else
  selection=(--label-exclude '^(slow|minute)$')
fi
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
  ctest --test-dir build --output-on-failure --parallel 2 "${selection[@]}"
