#!/usr/bin/env bash
# launch/setup.sh as a user who may not install packages, with a package missing: it installs nothing, says so, and goes
# on when the tools are in PATH; it names those that are not. Needs root, to become somebody else; 77 means Skipped.
set -euo pipefail
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ "$(id -u)" -eq 0 ] || { echo "Skipped: needs root to become an unprivileged user"; exit 77; }
command -v setpriv >/dev/null || { echo "Skipped: needs setpriv (util-linux)"; exit 77; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/tree/launch" "$folder/tree/.deps/clip" "$folder/bin" "$folder/libtorch/lib"
cp "$source_dir/launch/setup.sh" "$folder/tree/launch/"
cp "$source_dir/.deps/clip/bpe_simple_vocab_16e6.txt.gz" "$folder/tree/.deps/clip/"
cp -r "$source_dir/.deps/tagger" "$source_dir/.deps/minilm" "$folder/tree/.deps/"
touch "$folder/libtorch/lib/libtorch_cpu.so"
printf '#!/bin/sh\nexit 1\n' >"$folder/bin/dpkg-query"   # nothing is installed
for tool in c++ cmake ninja unzip python3 protoc mpirun git apt-get bash dirname id uname mkdir sha256sum rm env tail grep cut cat; do
  ln -s "$(PATH=/usr/bin:/bin command -v "$tool")" "$folder/bin/$tool"
done
chmod -R a+rX "$folder"; chmod +x "$folder/bin/dpkg-query"; chown -R 65534:65534 "$folder/tree"

setup() {
  setpriv --reuid=65534 --regid=65534 --clear-groups env -i PATH="$folder/bin" HOME="$folder" \
    bash "$folder/tree/launch/setup.sh" --libtorch="$folder/libtorch" </dev/null 2>&1
}

said=$(setup) || { echo "$said"; echo "did not go on"; exit 1; }
grep -q "no root or sudo to install Debian's .*libhdf5-dev" <<<"$said" || { echo "$said"; exit 1; }
grep -q "going on with what is in PATH and CMAKE_PREFIX_PATH" <<<"$said" || { echo "$said"; exit 1; }
rm "$folder/bin/ninja" "$folder/bin/mpirun"
if said=$(setup); then echo "$said"; echo "went on without ninja and mpirun"; exit 1; fi
grep -q "not found in PATH: ninja mpirun; load a compiler .*conda create" <<<"$said" || { echo "$said"; exit 1; }
