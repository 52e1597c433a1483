#!/usr/bin/env bash
# Builds Muster with CUDA and runs the tests that need a GPU, on a machine that has a GPU, a compiler, CMake and the CUDA
# toolkit, but none of Debian's packages and no way to fetch any: those come as files.
#
#   launch/gpu_test.sh --collect DIR                  on Debian 12: what to carry into DIR, .debs and data files, at most 64 MiB
#   launch/gpu_test.sh [--debs DIR] [-DLIBTORCH=DIR]  on the GPU machine: unpack, build in build-cuda, test
#     --debs DIR        unpacks DIR's packages to build-cuda/prefix (nothing is installed); without it, what is installed counts
#     -DLIBTORCH=DIR    a LibTorch with its CUDA libraries; without it, that of this machine's python3
#     --build-only      stops before the tests
#
# Ends with a table of what passed, failed and was skipped; its exit code is 0 when something ran and nothing failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'gpu_test.sh: %s\n' "$*" >&2; exit 2; }
say() { printf '[gpu] %s\n' "$*"; }

collect="" debs="" libtorch="" build_only=0
while [ $# -gt 0 ]; do
  case "$1" in
    --collect) collect="${2:-}"; [ -n "$collect" ] || fail "--collect needs a folder"; shift ;;
    --debs) debs="${2:-}"; [ -d "$debs" ] || fail "--debs: no folder '$debs'"; shift ;;
    -DLIBTORCH=*) libtorch="${1#*=}" ;;
    --build-only) build_only=1 ;;
    *) fail "unknown argument '$1'; see the top of launch/gpu_test.sh" ;;
  esac
  shift
done

packages=(
  libopenmpi-dev openmpi-bin libhdf5-dev libprotobuf-dev protobuf-compiler libgoogle-glog-dev libgtest-dev libgmock-dev
  libfmt-dev libcli11-dev nlohmann-json3-dev libturbojpeg0-dev libjpeg62-turbo-dev libpng-dev libutf8proc-dev libxxhash-dev
  libcpp-httplib-dev libzip-dev zlib1g-dev pkg-config)
# What these depend on for what is not done here: compiling Fortran, configuring packages, documentation, logging in.
left_out='^(gfortran|libgfortran-.*-dev|auto|m4$|libjs-|adduser|passwd|libpam|libsemanage|libsepol|debianutils|libaudit|openssh-client|perl|libperl|libgdbm|debconf)'
most_mib=64

# What apt would install on an empty Debian for these packages.
closure() {
  apt-get install -s --no-install-recommends -o Dir::State::status=/dev/null "$@" 2>/dev/null | sed -n 's/^Inst \([^ ]*\).*/\1/p' | sort
}

collect_packages() {
  command -v apt-get >/dev/null || fail "--collect needs Debian's apt-get"
  mkdir -p "$collect"
  [ -z "$(ls -A "$collect")" ] || fail "$collect is not empty"
  local wanted
  wanted=$(comm -23 <(closure "${packages[@]}" g++ python3) <(closure g++ python3) | grep -vE "$left_out")
  [ -n "$wanted" ] || fail "apt-get knows no packages; run apt-get update"
  wanted+=" libssl3"  # what libssl-dev links to, in its version
  # shellcheck disable=SC2086
  (cd "$collect" && apt-get download -q $wanted >/dev/null 2>&1) || fail "apt-get could not download the packages"
  cp .deps/clip/bpe_simple_vocab_16e6.txt.gz .deps/tagger/en-*.txt "$collect" ||
    fail "CLIP's merges and the tagger's rules are not here yet; run launch/setup.sh"
  local mib=$(($(du -sb --apparent-size "$collect" | cut -f1) / 1048576))
  [ "$mib" -le "$most_mib" ] || fail "the packages have $mib MiB, more than the $most_mib MiB that can be carried"
  say "$(ls "$collect"/*.deb | wc -l) packages and data files, $mib MiB, in $collect; on the GPU machine: launch/gpu_test.sh --debs $collect"
}

# unpack FOLDER: the packages of $debs as a tree under FOLDER, usable from there.
unpack() {
  local root=$1 deb tool
  say "unpacking $(ls "$debs"/*.deb | wc -l) packages to $root"
  rm -rf "$root"
  mkdir -p "$root/tools"
  for deb in "$debs"/*.deb; do dpkg -x "$deb" "$root"; done
  # Paths that packages have written down.
  find "$root/usr" \( -name '*.pc' -o -path '*/bin/h5cc' \) -type f -exec sed -i "s#\(=\"\?\)/usr#\1$root/usr#" {} +
  sed -i "s#/usr/share/glog#$root&#" "$root"/usr/lib/x86_64-linux-gnu/cmake/glog/glog-modules.cmake
  # Links that a package's installation would make, and programs that find their libraries.
  for tool in protoc:protoc mpicc:opal_wrapper mpirun:orterun pkg-config:pkgconf; do
    printf '#!/bin/bash\nLD_LIBRARY_PATH=%s exec -a %s %s/usr/bin/%s "$@"\n' \
      "$libraries" "${tool%:*}" "$root" "${tool#*:}" >"$root/tools/${tool%:*}"
    chmod +x "$root/tools/${tool%:*}"
  done
}

find_libtorch() {
  if [ -z "$libtorch" ]; then
    libtorch=$(python3 -c 'import torch, os; print(os.path.dirname(torch.__file__))' 2>/dev/null) ||
      fail "python3 has no torch here; give a LibTorch with -DLIBTORCH=DIR"
  fi
  [ -e "$libtorch/lib/libtorch_cuda.so" ] || fail "$libtorch has no lib/libtorch_cuda.so: it was not built for CUDA"
  say "LibTorch: $libtorch"
}

if [ -n "$collect" ]; then
  collect_packages
  exit 0
fi

find_libtorch
build=$PWD/build-cuda
cmake_arguments=(-DLIBTORCH="$libtorch")
if [ -n "$debs" ]; then
  root=$build/prefix
  architecture=$root/usr/lib/x86_64-linux-gnu
  libraries=$architecture:$architecture/hdf5/serial:$architecture/openmpi/lib
  unpack "$root"
  export PATH=$root/tools:$PATH OPAL_PREFIX=$root/usr OMPI_CC=cc
  export PKG_CONFIG_PATH=$architecture/pkgconfig:$root/usr/share/pkgconfig
  export CPLUS_INCLUDE_PATH=$root/usr/include LIBRARY_PATH=$architecture
  # The old kind of run path, which the libraries' own dependencies follow too.
  rpath="-Wl,--disable-new-dtags,-rpath,${libraries//:/,-rpath,}"
  cmake_arguments+=(-DCMAKE_PREFIX_PATH="$root/usr" -DCMAKE_EXE_LINKER_FLAGS="$rpath"
    -DProtobuf_PROTOC_EXECUTABLE="$root/tools/protoc" -DMPI_C_COMPILER="$root/tools/mpicc"
    -DMPIEXEC_EXECUTABLE="$root/tools/mpirun" -DHDF5_ROOT="$root/usr"
    -DPKG_CONFIG_EXECUTABLE="$root/tools/pkg-config")
fi
# carried FOLDER FILE...: into .deps/FOLDER what --collect put beside the packages.
carried() {
  local folder=.deps/$1 file
  shift
  mkdir -p "$folder"
  for file in "$@"; do
    [ ! -e "$folder/$file" ] || continue
    cp "$debs/$file" "$folder" || fail "$file is not here: carry what --collect put beside the packages"
  done
}
carried clip bpe_simple_vocab_16e6.txt.gz
carried tagger en-lexicon.txt en-morphology.txt en-context.txt

say "building build-cuda"
cmake --preset cuda --log-level=NOTICE "${cmake_arguments[@]}"
cmake --build --preset cuda --target muster gpu_tests
[ "$build_only" -eq 0 ] || exit 0

say "testing"
results=$build/gpu_results.xml
status=0
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
  ctest --test-dir "$build" --label-regex gpu --output-on-failure --output-junit "$results" || status=1

echo
python3 - "$results" <<'END' || status=1
import sys
import xml.etree.ElementTree

meaning = {"run": "passed", "fail": "FAILED", "notrun": "skipped", "disabled": "skipped"}
count = {"passed": 0, "FAILED": 0, "skipped": 0}
print("%-36s %-8s %8s  %s" % ("test", "result", "seconds", "why"))
for case in xml.etree.ElementTree.parse(sys.argv[1]).getroot().iter("testcase"):
    result = meaning.get(case.get("status"), "FAILED")
    count[result] += 1
    output = case.findtext("system-out") or ""
    why = next((line.strip() for line in output.splitlines() if line.strip().startswith("Skipped: ")), "")
    print("%-36s %-8s %8.1f  %s" % (case.get("name"), result, float(case.get("time")), why if result == "skipped" else ""))
print(", ".join("%d %s" % (n, result) for result, n in count.items()))
if count["passed"] == 0:
    print("no test ran on a GPU")
    sys.exit(1)
END
exit "$status"
