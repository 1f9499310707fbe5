#!/usr/bin/env bash
# run.sh PROGRAM NATIVES: runs the ABI test against the library of every architecture that was built.
set -euo pipefail
program="$1"
natives="$2"

ran=0
for library in "$natives"/sm*/org/attn4j/natives/*/libattn4j.so; do
  [[ -x "$program" && -f "$library" ]] || continue
  LD_LIBRARY_PATH="$(dirname "$library")" "$program"
  ran=$((ran + 1))
done
if ((ran == 0)); then echo "C++ ABI test: skipped, no native library was built on this machine"; fi
