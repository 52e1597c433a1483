#!/usr/bin/env bash
# One of check_open_clip.py and check_irra.py on small random weights. check_user_weights.sh PYTHON open_clip|irra MUSTER FOLDER
set -euo pipefail
command -v "$1" >/dev/null || { echo "Skipped: no $1"; exit 77; }
rm -rf "$4"
more=()
[ "$2" = irra ] && more=(--height 96 --width 32)
exec "$1" "$(dirname "${BASH_SOURCE[0]}")/check_$2.py" "$3" random --work "$4" "${more[@]}"
