#!/usr/bin/env bash
# Checks that the hand-written C++ of the whole project is formatted as .clang-format says, and names the files that are
# not; --fix formats them. Further arguments are the files to look at. Every release of clang-format has its own
# opinions, so the version is fixed: npm brings it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

fix=false
if [[ "${1:-}" == --fix ]]; then
  fix=true
  shift
fi
files=("$@")
if ((${#files[@]} == 0)); then
  # wgmma_*.cuh are written by wgmma_generate.py.
  mapfile -t files < <(find src/main/cpp src/test presets/src/main presets/src/test torch/src bench -type f \
    \( -name '*.h' -o -name '*.cuh' -o -name '*.cu' -o -name '*.cpp' -o -name '*.c' \) \
    -not -path '*/target/*' -not -name 'wgmma_*.cuh' | sort)
fi
clang_format() { npx --yes clang-format@1.8.0 "$@"; }
if [[ $fix == true ]]; then
  clang_format -i "${files[@]}"
  exit
fi
if ! report="$(clang_format --dry-run --Werror "${files[@]}" 2>&1)"; then
  { grep -oE '^[^ :]+:[0-9]+:[0-9]+: error: .*' <<<"$report" || echo "$report"; } | sort -u -t: -k1,1 >&2
  echo "format.sh: run src/main/cpp/format.sh --fix" >&2
  exit 1
fi
