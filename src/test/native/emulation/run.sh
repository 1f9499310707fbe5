#!/usr/bin/env bash
# The kernels on a CPU, as CI checks them: a few hundred random small cases against fp64 (docs/emulation.md). Wants g++,
# CMake, Ninja and CUDA's headers; no GPU and no nvcc.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../../.."
build=target/emulation
mkdir -p target

for tool in g++ cmake ninja; do
  if ! command -v "$tool" >/dev/null; then echo "kernels on a CPU: skipped, $tool is missing"; exit 0; fi
done
if ! cmake -S src/test/native/emulation -B "$build" -G Ninja >"$build.log" 2>&1; then
  if grep -q CUDA_HEADERS "$build.log"; then echo "kernels on a CPU: skipped, CUDA's headers are missing"; exit 0; fi
  cat "$build.log"
  exit 1
fi
if ! ninja -C "$build" >"$build.log" 2>&1; then
  cat "$build.log"
  exit 1
fi
echo "kernels on a CPU: built in $SECONDS s"

"$build/faults" >"$build/faults.log" 2>&1 || { cat "$build/faults.log"; exit 1; }
echo "faults that it must find: $(grep -c '^found' "$build/faults.log") found"

"$build/merge" 300 1 || exit 1

quantised="int8_f16/64,96,128 sparse/64,96,128 spas/64,96,128 spas_topk/64,96,128"
# One program on each core; what the second says comes after the first.
# shellcheck disable=SC2086
(
  "$build/attention_sm90" random 40 2 exact/64,96,128 fp8_sm90/64,96,128 $quantised
  ATTN4J_EMULATION_BUSY_SMS=3 "$build/attention_sm90" random 4 5 fp8_sm90/64,96,128 spas/64,96,128
  "$build/attention_sm90" nonfinite 40 3 exact/64,96,128 int8_f16/64,96,128 fp8_sm90/64,96,128 sparse/64,96,128
) >"$build/sm90.log" 2>&1 &
hopper=$!
status=0
echo "kernels of 8.9:"
mma="int8_acc16/64,96,128 fp8/64,96,128 fp8_acc16/64,96,128"
# shellcheck disable=SC2086
"$build/attention_sm89" random 20 1 exact/64,96,128 masked/64,128 $quantised $mma || status=1
"$build/attention_sm89" packed 40 1 || status=1
# shellcheck disable=SC2086
for biases in "bias=3 shown=0" "bias=2 shown=0" "bias=3 shown=50 causal=1"; do
  "$build/attention_sm89" case masked least=1 lse=0 $biases || status=1
done
# shellcheck disable=SC2086
"$build/attention_sm89" nonfinite 20 4 exact/64,96,128 masked/64,128 int8_f16/64,96,128 sparse/64,96,128 $mma || status=1
"$build/attention_sm89" divided 4 3 exact/64,128 int8_f16/64,128 fp8_acc16/64 || status=1
"$build/hard_sm89" int8_acc16 fp8 fp8_acc16 >"$build/hard.log" 2>&1 || { grep -v '^ok' "$build/hard.log"; status=1; }
echo "hard data: $(grep -c '^ok' "$build/hard.log") cases hold"
echo "kernels of 9.0:"
wait "$hopper" || status=1
cat "$build/sm90.log"
echo "kernels on a CPU: $SECONDS s"
exit "$status"
