#!/usr/bin/env bash
# bench/distributed_gpu.sh: bench/distributed_results.py out of what bench/distributed_pack.sh packed. In the folder OUT/2:
#
#   distributed_gpu.sh unpack FIRST DIR         what is in the folder OUT/1, which may be gone afterwards
#   distributed_gpu.sh run DIR RESULTS [...]    the rest, then the results into the folder RESULTS; more arguments go to the program
#
# STUBS: a folder with a libcuda.so.1, where there is no driver; SITE: python3's site-packages, found by torch if not set.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

unpack() {
  local libraries="$2/org/bytedeco/pytorch/linux-x86_64-gpu"
  mkdir -p "$libraries"
  cp -r "$1/cp" "$2/"
  xz -dc "$1/libtorch_cpu.so.xz" >"$libraries/libtorch_cpu.so"
}

run() {
  local dir results libraries path folder
  dir="$(realpath "$1")" results="$(realpath -m "$2")"
  shift 2
  libraries="$dir/org/bytedeco/pytorch/linux-x86_64-gpu"
  mkdir -p "$results"
  if [[ ! -x $dir/jre/bin/java ]]; then
    tar xJf "$HERE/jre.tar.xz" -C "$dir" &
    tar xJf "$HERE/jni.tar.xz" -C "$dir" &
    xz -dc "$HERE/libtorch_cuda.so.xz" >"$libraries/libtorch_cuda.so" &
    wait
  fi
  SITE="${SITE:-$(python3 -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))')}"
  path="$dir/org/bytedeco/openblas/linux-x86_64:$libraries"
  for folder in "$SITE"/nvidia/*/lib; do path+=":$folder"; done
  path+=":/usr/local/cuda/lib64${STUBS:+:$STUBS}"
  "$dir/jre/bin/java" -version >/dev/null 2>&1 || path+=":$HERE/syslib"
  export LD_LIBRARY_PATH="$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export JAVA="$dir/jre/bin/java" RANKS_CLASSPATH="$dir:$HERE/cp/test-classes:$HERE/cp/native:$HERE/cp/*:$dir/cp/*"
  export JAVA_OPTS="-Dorg.bytedeco.javacpp.platform.extension=-gpu -Dorg.bytedeco.javacpp.pathsFirst=true -Djava.library.path=$path -Dorg.bytedeco.javacpp.maxBytes=0 -Dorg.bytedeco.javacpp.cachedir=$dir/cache"
  COMMIT="$(cat "$HERE/COMMIT")"
  export COMMIT
  local status=0
  python3 "$HERE/distributed_results.py" "$results/distributed.json" "$@" || status=$?
  tar czf "$results/logs.tar.gz" -C "$results" logs
  rm -rf "$results/logs"
  return "$status"
}

case "${1:-}" in
  unpack) unpack "$2" "$3" ;;
  run) run "${@:2}" ;;
  *) sed -n '2,/^set -e/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//' >&2; exit 2 ;;
esac
