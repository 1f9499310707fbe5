#!/usr/bin/env bash
# Builds the library and the programs of bench/cpp on a machine with a GPU, nvcc and many cores, and runs them there. No JDK
# is needed. From the repository's root:
#
#   bench/gpu.sh build [NAME=FAMILY,CODE[,DEFINE...]] ...   libraries, into $DIR/NAME; "hopper=90,90a mma=89,90" by default,
#                     mma being the kernels for all other GPUs compiled for this one, and hopper32 for racecheck. With VARIANTS a
#                     reduced variants.list, with SOURCE the root of another checkout.
#   bench/gpu.sh programs [linked|own]                      what tests and times them: those linked with the library, those
#                     that compile its kernels themselves and needn't wait for it, or both
#   bench/gpu.sh checks | hard | sanitizers | repeats       whether they are right; each step has its log in $OUT
#   bench/gpu.sh mma-change OLD NEW                         is a change of the mma.sync kernels right, and what did it do
#   bench/gpu.sh speed OLD NEW                              two built libraries in turn (compare_gpu), and the mma kernels
#   bench/gpu.sh java PACK                                  the Java suites, from a folder that shared/gpu/pack.sh has packed
#   bench/gpu.sh auto PACK                                  auto mode against sage and sparge by name, and token grids
#   bench/gpu.sh stage PACK                                 the library built here into the pack: hook and server do so themselves
#   bench/gpu.sh hook PACK [MODEL.pt]                       the hook in PyTorch: hook-suite, then hook-times, which may be asked for by
#                     themselves: its cost, and the steps of a model; PACK is of module pytorch with PYTORCH=1, with the test classes
#                     of torch beside its own
#   bench/gpu.sh server PACK [SIDE ...]                     the server's diffusion model, every way of attention over 20 seeds; PACK
#                     has the classes of server's tests besides
#
# DIR: target/gpu by default. OUT: where logs go, DIR/out by default; $OUT/summary.txt has a line for each step, with its
# status and seconds. The exit status is that of the worst step. JOBS steps run at once (2): more starve each other's checks.
set -uo pipefail
SELF="$(realpath "${BASH_SOURCE[0]}")"
cd "$(dirname "$SELF")/.." || exit
DIR="$(realpath -m "${DIR:-target/gpu}")"
OUT="$(realpath -m "${OUT:-$DIR/out}")"
JOBS="${JOBS:-2}"
LIMIT="${LIMIT:-240}" # seconds of a step
mkdir -p "$DIR" "$OUT"
failed="$DIR/failed"

[[ ${1:-} == build-library ]] || rm -f "$failed"

# step NAME COMMAND...: in the background, at most JOBS at once.
step() {
  local name="$1"
  shift
  while (($(jobs -rp | wc -l) >= JOBS)); do wait -n || true; done
  {
    local started=$SECONDS status=0
    timeout "$LIMIT" "$@" >"$OUT/$name.log" 2>&1 || status=$?
    if ((status != 0)); then touch "$failed"; fi
    printf '%-44s %3d  %4d s  %s\n' "$name" "$status" $((SECONDS - started)) \
      "$(grep -v '^ *$' "$OUT/$name.log" | tail -n 1 | cut -c1-120)" | tee -a "$OUT/summary.txt"
  } &
}
finish() {
  wait
  [[ ! -e $failed ]]
}

# ---------------------------------------------------------------------------------------------------- building

build_library() {
  local name="${1%%=*}" fields family code defines source="${SOURCE:-.}" tree
  IFS=, read -ra fields <<<"${1#*=}"
  family="${fields[0]}" code="${fields[1]}" defines=""
  for define in "${fields[@]:2}"; do defines+=" -D$define"; done
  tree="$DIR/$name.source"
  rm -rf "$tree"
  mkdir -p "$tree"
  cp -r "$source/src/main/cpp/." "$tree/"
  if [[ -n ${VARIANTS:-} ]]; then cp "$VARIANTS" "$tree/variants.list"; fi
  # Sources from before the option ATTN4J_WATCH.
  sed -i '/^set(CMAKE_CUDA_COMPILER_LAUNCHER/d' "$tree/CMakeLists.txt"
  cmake -S "$tree" -B "$DIR/$name.build" -G Ninja -DATTN4J_WATCH=OFF "-DATTN4J_BUILDS=sm90,$family,$code" \
    "-DCMAKE_CUDA_FLAGS=$defines" "-DCMAKE_CXX_FLAGS=$defines" >/dev/null &&
    ninja -C "$DIR/$name.build" && mkdir -p "$DIR/$name" && cp "$DIR/$name.build/sm90/libattn4j.so" "$DIR/$name/"
}

build() {
  local library
  if (($# == 0)); then set -- hopper=90,90a mma=89,90 hopper32=90,90a,ATTN4J_ARRIVING_LANES=32; fi
  for library in "$@"; do LIMIT=500 step "build-${library%%=*}" "$SELF" build-library "$library"; done
  finish
}

program() { # NAME SOURCE ARGUMENT...
  local name="$1" source="$2"
  shift 2
  step "program-$name" nvcc -std=c++17 -O3 -gencode=arch=compute_90a,code=sm_90a -DATTN4J_SM=90 -Isrc/main/cpp/include "$@" \
    "bench/cpp/$source" -o "$DIR/$name"
}

programs() {
  local which="${1:-all}" name lanes
  JOBS="${PROGRAM_JOBS:-16}"
  if [[ $which != linked ]]; then
    for name in turn_times compare_gpu; do program "$name" "$name.cu" -ldl; done
    program exact_check exact_check.cu -Isrc/main/cpp
    for lanes in 0 1; do
      program "split_check$lanes" split_check.cu -Isrc/main/cpp "-DATTN4J_ONE_BARRIER=$lanes" src/main/cpp/host/machine.cpp
    done
    for lanes in 1 32; do
      program "hopper_check$lanes" hopper_check.cu -Isrc/main/cpp -Ibench/cpp "-DATTN4J_ARRIVING_LANES=$lanes" \
        src/main/cpp/quant/fp8_prepass.cu
    done
  fi
  if [[ $which != own ]]; then
    for name in attn_gpu edge_gpu sparse_gpu mask_times merge_times beside_gpu; do program "$name" "$name.cu" -L"$DIR/hopper" -lattn4j; done
    step program-host_cost g++ -std=c++17 -O2 -Isrc/main/cpp/include bench/cpp/host_cost.cpp -o "$DIR/host_cost" \
      -L"$DIR/hopper" -lattn4j
  fi
  finish
}

# ---------------------------------------------------------------------------------------------------- correctness

on() { echo "LD_LIBRARY_PATH=$DIR/$1"; } # as env takes it

checks() {
  step edge-nonfinite-hopper env "$(on hopper)" "$DIR/edge_gpu" nonfinite exact int8_f16 fp8_sm90 sage sparse
  step edge-nonfinite-mma env "$(on mma)" "$DIR/edge_gpu" nonfinite exact int8_f16 int8_acc16 fp8 fp8_acc16 sparse
  step attn-check-hopper env "$(on hopper)" "$DIR/attn_gpu" check exact int8_f16 fp8_sm90 sage
  step attn-check-mma env "$(on mma)" "$DIR/attn_gpu" check exact int8_f16 int8_acc16 fp8 fp8_acc16 sage
  step sparse-check-hopper env "$(on hopper)" "$DIR/sparse_gpu" check
  step sparse-check-mma env "$(on mma)" "$DIR/sparse_gpu" check
  step edge-lse env "$(on hopper)" "$DIR/edge_gpu" lse exact int8_f16 fp8_sm90
  step edge-merge env "$(on hopper)" "$DIR/edge_gpu" merge exact int8_f16 fp8_sm90
  step edge-lse-mma env "$(on mma)" "$DIR/edge_gpu" lse exact int8_f16 int8_acc16 fp8 fp8_acc16
  step split-check "$DIR/split_check0" check 200
  step split-hidden "$DIR/split_check0" hidden
  step exact-check "$DIR/exact_check" check
  step hopper-check "$DIR/hopper_check1" check
  step hopper-lossless "$DIR/hopper_check1" lossless
  step beside-hopper env "$(on hopper)" "$DIR/beside_gpu"
  finish
}

hard() {
  local data
  for data in tail sinks drift constant sign outlier huge special NaN; do
    step "hard-$data-hopper" env "HARD=$data" "$(on hopper)" "$DIR/attn_gpu" hard exact int8_f16 fp8_sm90
    step "hard-$data-mma" env "HARD=$data" "$(on mma)" "$DIR/attn_gpu" hard exact int8_f16 int8_acc16 fp8 fp8_acc16
    step "hard-$data-sparse" env "HARD=$data" "$(on hopper)" "$DIR/sparse_gpu" hard
  done
  finish
}

repeats() {
  step repeat-hopper "$DIR/hopper_check1" repeat 200
  step repeat-exact "$DIR/exact_check" repeat
  step repeat-split "$DIR/split_check0" repeat
  finish
}

sanitizers() {
  local tool library kernels=()
  for tool in memcheck synccheck initcheck racecheck; do
    for library in hopper mma; do
      # What racecheck takes for hazards in kernels of wgmma: docs/hopper.md, "Barriers".
      if [[ $tool == racecheck && $library == hopper ]]; then library=hopper32; fi
      kernels=(exact int8_f16)
      if [[ $library == mma ]]; then kernels+=(int8_acc16 fp8 fp8_acc16); else kernels+=(fp8_sm90); fi
      step "$tool-$library" env "$(on "$library")" compute-sanitizer "--tool=$tool" --error-exitcode=9 \
        "$DIR/attn_gpu" sanitize "${kernels[@]}"
      step "$tool-sparse-$library" env "$(on "$library")" compute-sanitizer "--tool=$tool" --error-exitcode=9 \
        "$DIR/sparse_gpu" sanitize
    done
    step "$tool-split" compute-sanitizer "--tool=$tool" --error-exitcode=9 \
      "$DIR/split_check$([[ $tool == racecheck ]] && echo 1 || echo 0)" sanitize
    step "$tool-tiny" compute-sanitizer "--tool=$tool" --error-exitcode=9 \
      "$DIR/hopper_check$([[ $tool == racecheck ]] && echo 32 || echo 1)" tiny
  done
  finish
}

# ---------------------------------------------------------------------------------------------------- speed

# Of docs/mma.md: kernel, batch, heads, length, head_dim, causal.
mma_shapes() {
  local kernel d length
  for kernel in exact int8 int8_acc16 fp8 fp8_acc16; do
    for d in 64 96 128; do
      for length in 1024 4096 8192 16384; do echo "$kernel:4:32:$length:$d:0"; done
      echo "$kernel:4:32:8192:$d:1"
    done
    echo "$kernel:1:24:4608:128:0"
    echo "$kernel:2:10:4096:64:0"
  done
  for d in 64 96 128; do echo "sage:4:32:1024:$d:0"; done
}

speed() {
  local old="$1" new="$2" shapes
  mapfile -t shapes < <(mma_shapes)
  JOBS=1
  LIMIT=400 step compare-sage "$DIR/compare_gpu" "$DIR/$old/libattn4j.so" "$DIR/$new/libattn4j.so" sage
  LIMIT=400 step turn-times "$DIR/turn_times" "${shapes[@]}" -- "$DIR/mma/libattn4j.so"
  LIMIT=400 step sdpa-times python3 bench/sdpa_times.py "${shapes[@]#*:}"
  step sparse-times env "$(on mma)" "$DIR/sparse_gpu" time
  step merge-times env "$(on hopper)" "$DIR/merge_times"
  step mask-times env "$(on hopper)" "$DIR/mask_times"
  step host-cost env "$(on hopper)" "$DIR/host_cost"
  finish
}

# Needs the libraries OLD and NEW (as mma above), attn_gpu, edge_gpu and compare_gpu. Times are old and new in turn.
mma_change() {
  local old="$DIR/$1/libattn4j.so" new="$DIR/$2/libattn4j.so"
  JOBS=1
  step change-check env "$(on "$2")" "$DIR/attn_gpu" check exact int8_f16 int8_acc16 fp8 fp8_acc16
  step change-nonfinite env "$(on "$2")" "$DIR/edge_gpu" nonfinite exact int8_f16 int8_acc16 fp8 fp8_acc16
  step change-times env "SHAPES=flux sdxl_self dense:1024:128:0 dense:1024:64:0 dense:4096:128:0 dense:4096:64:0 dense:8192:128 gqa" \
    "$DIR/compare_gpu" "$old" "$new" int8_f16 exact
  finish
}

java_suites() {
  local pack="$1" suites=() suite
  while IFS= read -r suite; do suites+=("$suite"); done < <(
    cd src/test/java && find org/attn4j -name 'Gpu*Test.java' | sed 's/\.java$//; s|/|.|g' | sort)
  for suite in "${suites[@]}"; do step "java-${suite##*.}" "$pack/run" testng "$suite"; done
  finish
}

# The library that was built here, as the classifier JAR of Hopper has it.
stage_library() {
  local folder="$1/cp/native/org/attn4j/natives/linux-x86_64-sm90"
  mkdir -p "$folder"
  if cmp -s "$DIR/hopper/libattn4j.so" "$folder/libattn4j.so"; then return; fi # a JVM may have it open
  cp "$DIR/hopper/libattn4j.so" "$folder/"
  printf 'arch=sm90\nsass=90a\nptx=\ncuda=13.0\n' >"$folder/arch.properties"
  python3 - "$folder/libattn4j.so" <<'END'
import sys, zlib
content = open(sys.argv[1], "rb").read()
open(sys.argv[1] + ".crc32", "w").write(f"{zlib.crc32(content):08x} {len(content)}\n")
END
}

# Right on the GPUs that there are; with two, several devices too, else those tests are skipped and the status is 2.
hook_suite() {
  local pack="$1"
  stage_library "$pack" || return
  step hook-suite "$pack/run" testng org.attn4j.pytorch.HookCudaTest,org.attn4j.pytorch.HookCudaCallsTest
  finish
}

# On an idle GPU, one after the other.
hook_times() {
  local pack="$1" model="${2:-server/src/main/resources/org/attn4j/server/model/model.pt}"
  stage_library "$pack" || return
  if [[ ! -s $model ]]; then
    model="$DIR/untrained/model.pt"
    step hook-model python3 samples/model/train.py --untrained --out "$DIR/untrained"
  fi
  step hook-program g++ -std=c++17 -O2 -Isrc/main/cpp/include bench/cpp/call_cost.cpp -o "$DIR/call_cost" -L"$DIR/hopper" -lattn4j
  finish
  JOBS=1
  step hook-call-cost env "$(on hopper)" "$DIR/call_cost"
  step hook-cost "$pack/run" org.attn4j.torch.HookCost
  step hook-model-times "$pack/run" org.attn4j.pytorch.HookModelBench "$model" 2 1024 4096 16384
  step hook-wide-model-times "$pack/run" org.attn4j.torch.ModelSpeed
  finish
  step hook-results python3 bench/hook_results.py "$OUT" "$OUT/hook.json" \
    "$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)"
  finish
}

# A library that was built here goes before the pack's own.
server() {
  local pack="$1" side gpu
  gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
  if [[ -e $DIR/hopper/libattn4j.so ]]; then stage_library "$pack" || return; fi
  JOBS=1 # times, on an idle machine
  if (($# == 1)); then set -- "$1" 128 256; fi
  for side in "${@:2}"; do
    step "server-$side" "$pack/run" org.attn4j.server.diffusion.SeedStudy server/src/main/resources/org/attn4j/server/model \
      pytorch "$side" 20 20 "$OUT" "$gpu"
  done
  finish
}

# Auto mode against both fixed choices, and the token grid, in one run; its JSON lines are the log. A library that was
# built here goes before the pack's own.
auto() {
  local pack="$1"
  if [[ -e $DIR/hopper/libattn4j.so ]]; then stage_library "$pack" || return; fi
  JOBS=1
  step auto-tests "$pack/run" testng org.attn4j.gpu.GpuCallSiteTest
  step auto-times "$pack/run" org.attn4j.bench.AutoBench
  finish
}

case "${1:-}" in
  build) build "${@:2}" ;;
  build-library) build_library "$2" ;;
  programs) programs "${2:-all}" ;;
  checks | hard | repeats | sanitizers) "$1" ;;
  speed) speed "$2" "$3" ;;
  mma-change) mma_change "$2" "$3" ;;
  java) java_suites "$2" ;;
  stage) stage_library "$2" ;;
  hook-suite) hook_suite "$2" ;;
  hook-times) hook_times "$2" "${@:3:1}" ;;
  hook) hook_suite "$2"; hook_times "$2" "${@:3:1}" ;;
  server) server "$2" "${@:3}" ;;
  auto) auto "$2" ;;
  *) sed -n '2,/^set -uo/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//' >&2; exit 2 ;;
esac
