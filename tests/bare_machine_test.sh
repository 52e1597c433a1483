#!/usr/bin/env bash
# The demo on a bare Debian 12: a minimal system in a folder, this commit cloned into it, launch/demo.sh run inside.
# What this machine has installed cannot hide a missing step. Needs root and debootstrap; exits with 77 (Skipped)
# where it cannot run. The system's own package mirror, certificates and pip settings are used.
set -euo pipefail
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ "$(id -u)" -eq 0 ] || { echo "Skipped: needs root to make a bare system"; exit 77; }
command -v debootstrap >/dev/null || { echo "Skipped: needs debootstrap (apt-get install debootstrap)"; exit 77; }
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/*$' || true)
[ -n "$mirror" ] || { echo "Skipped: no Debian mirror is configured (apt-get update)"; exit 77; }

root=$(mktemp -d)
cleanup() {
  umount -l "$root/proc" "$root/dev" 2>/dev/null || true
  rm -rf --one-file-system "$root"
}
trap cleanup EXIT
debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >"$root.log" 2>&1 ||
  { tail -n 3 "$root.log"; echo "Skipped: debootstrap could not make a bare system"; exit 77; }
rm -f "$root.log"
cp /etc/hosts /etc/resolv.conf "$root/etc/"
cp -a /etc/ssl/certs/. "$root/etc/ssl/certs/"
if [ -e /etc/pip.conf ]; then cp /etc/pip.conf "$root/etc/"; fi
git clone -q "$source_dir" "$root/root/muster"
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"

started=$SECONDS
chroot "$root" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  PIP_CERT=/etc/ssl/certs/ca-certificates.crt bash /root/muster/launch/demo.sh
[ -s "$root/root/muster/runs/demo/run/report.html" ]
echo "the demo on a bare Debian 12 took $((SECONDS - started)) s"
