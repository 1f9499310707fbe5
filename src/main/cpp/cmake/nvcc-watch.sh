#!/usr/bin/env bash
# Runs nvcc, keeps what ptxas says about each kernel beside the object file (OBJECT.ptxas), and fails if a kernel spills
# registers or if ptxas serialised wgmma instructions: both cost more speed than any bug report would reveal.
# A generated source may allow spills with a line "// spill-bytes-allowed: N". With "// waits-behind-exponentials: N" its
# kernels must each have N waits for multiplies behind 16 exponentials (WaitCheck.java), which ptxas may move as well; with
# "N/M" behind M that may stand between the multiplies.
set -uo pipefail

object=""; source=""; previous=""
for argument in "$@"; do
  [[ $previous == -o ]] && object=$argument
  [[ $argument == *.cu ]] && source=$argument
  previous=$argument
done
if [[ -z $object || -z $source ]]; then exec "$@"; fi
# A build for racecheck (device/ptx/mbarrier.cuh) may be slow.
if [[ " $* " == *" -DATTN4J_ARRIVING_LANES="* ]]; then exec "$@"; fi

IFS=/ read -r hidden_waits amid < <(sed -n 's|^// waits-behind-exponentials: *||p' "$source" | head -n 1) || true
keep=()
if (( ${hidden_waits:-0} > 0 )); then
  rm -rf "$object.keep"
  mkdir -p "$object.keep"
  keep=(--keep --keep-dir "$object.keep")
fi
"$@" ${keep[@]+"${keep[@]}"} 2>"$object.log"
status=$?
# ptxas -v writes its statistics to stderr as "ptxas info"; all else there is for the reader.
grep -E '^ptxas (info|warning)|^    ' "$object.log" >"$object.ptxas"
grep -vE '^ptxas info|^    [0-9]+ bytes stack frame' "$object.log" >&2
rm -f "$object.log"
if (( status != 0 )); then exit "$status"; fi

allowed=$(sed -n 's|^// spill-bytes-allowed: *\([0-9]*\).*|\1|p' "$source" | head -n 1)
spilled=$(sed -n 's/.* \([0-9][0-9]*\) bytes spill stores.*/\1/p' "$object.ptxas" | sort -n | tail -n 1)
if (( ${spilled:-0} > ${allowed:-0} )); then
  echo "$source: a kernel spills $spilled bytes, ${allowed:-0} are allowed (see $object.ptxas)" >&2
  rm -f "$object"
  exit 1
fi
if grep -qE 'C75[0-9][0-9]|Potential Performance Loss' "$object.ptxas"; then
  grep -E 'C75[0-9][0-9]|Potential Performance Loss' "$object.ptxas" >&2
  echo "$source: ptxas serialised wgmma instructions" >&2
  rm -f "$object"
  exit 1
fi
if (( ${hidden_waits:-0} > 0 )); then
  # 16: the exponentials of the packed registers that are made before the wait (fp8_wgmma/policy.cuh).
  rule=("$hidden_waits" "${amid:-16}")
  [[ -z $amid ]] || rule+=(amid)
  for cubin in "$object.keep"/*.cubin; do
    "${JAVA_HOME:+$JAVA_HOME/bin/}java" "$(dirname "$0")/WaitCheck.java" "$cubin" "${rule[@]}" && continue
    echo "$source: ptxas moved a wait for multiplies above the exponentials that should hide them" >&2
    rm -rf "$object" "$object.keep"
    exit 1
  done
  rm -rf "$object.keep"
fi
