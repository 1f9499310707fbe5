#!/usr/bin/env bash
# Builds the trampolines and a test of them, and runs it: here, or for another machine under an emulator.
#
#   presets/src/test/cpp/trampolines.sh [PREFIX [EMULATOR...]]
#   presets/src/test/cpp/trampolines.sh aarch64-linux-gnu- qemu-aarch64-static -L /usr/aarch64-linux-gnu
set -euo pipefail
prefix="${1:-}"
if (($# > 0)); then shift; fi
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
flags=(-std=c++17 -O2 -Wall -Wextra -Werror -fPIC -fvisibility=hidden -I"$root/presets/src/main/cpp" -I"$root/src/main/cpp/include"
  -I"$work")
source="$root/presets/src/test/cpp/trampolines.cpp"

for number in 1 2; do
  "${prefix}g++" "${flags[@]}" -DATTN4J_FAKE=$number -shared "$source" -o "$work/library$number.so"
done
"${prefix}nm" --dynamic --defined-only "$work/library1.so" | awk '$2 == "T" { print $3 }' | LC_ALL=C sort |
  awk '{ printf "ATTN4J_FUNCTION(%d, %s)\n", NR - 1, $1 }' >"$work/attn4j_functions.inc"
[[ "$(wc -l <"$work/attn4j_functions.inc")" == 3 ]] || { echo "trampolines: the list is wrong" >&2; exit 1; }
"${prefix}g++" "${flags[@]}" "$source" "$root/presets/src/main/cpp/libraries.cpp" -pthread -ldl -o "$work/program"
"$@" "$work/program" "$work/library1.so" "$work/library2.so"
