#!/usr/bin/env bash
# run.sh PROGRAM NATIVES: runs the ABI test against the library of every architecture that was built, then standin/: the
# library's host code over a stand-in for CUDA, which needs CUDA's headers and g++ alone.
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

here=$(cd "$(dirname "$0")" && pwd)
cpp="$here/../../main/cpp"
cuda=""
for folder in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda "$(dirname "$(dirname "$(readlink -f "$(command -v nvcc || echo /nvcc)")")")"; do
  if [[ -z $cuda && -f $folder/include/cuda_runtime_api.h ]]; then cuda=$folder/include; fi
done
if ! command -v g++ >/dev/null || [[ -z $cuda ]]; then
  echo "C++ plans against a stand-in for CUDA: skipped, g++ or CUDA's headers are missing"
  exit 0
fi
out="$here/target/standin"
mkdir -p "$out"
flags=(-std=c++17 -O1 -fPIC -fvisibility=hidden -Wall -Wextra -Werror -DATTN4J_SM=90 '-DATTN4J_ARCHS="stand-in"'
  -I"$cpp" -I"$cpp/include" -I"$here/standin" -isystem "$cuda")
g++ "${flags[@]}" -shared "$cpp"/host/*.cpp "$here"/standin/standin_*.cpp -Wl,-z,defs -o "$out/libattn4j.so"
for test in plan_test site_test; do
  g++ "${flags[@]}" "$here/standin/$test.cpp" -L"$out" -lattn4j -pthread -o "$out/$test"
  LD_LIBRARY_PATH="$out" "$out/$test"
done
for sm in 80 86 89 120; do
  others=("${flags[@]/-DATTN4J_SM=90/-DATTN4J_SM=$sm}")
  g++ "${others[@]}" "$here/standin/choice_test.cpp" "$cpp"/host/*.cpp "$here"/standin/standin_*.cpp -o "$out/choice_test_$sm"
  "$out/choice_test_$sm"
done
