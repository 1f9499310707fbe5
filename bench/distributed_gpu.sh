#!/usr/bin/env bash
# bench/distributed_gpu.sh: bench/distributed_results.py out of what bench/distributed_pack.sh packed. It lies in the last folder.
#
#   distributed_gpu.sh keep FOLDER DIR          copies a folder of the pack, which may be gone afterwards
#   distributed_gpu.sh run DIR RESULTS [...]    with its own folder, then the results into the folder RESULTS; more arguments go to
#                                               the program
#
# STUBS: a folder with a libcuda.so.1, where there is no driver; SITE: python3's site-packages, found by torch if not set.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

keep() {
  mkdir -p "$2/pack"
  cp -r "$1/." "$2/pack/"
}

run() {
  local dir results libraries path folder
  mkdir -p "$1"
  dir="$(realpath "$1")" results="$(realpath -m "$2")"
  shift 2
  libraries="$dir/org/bytedeco/pytorch/linux-x86_64-gpu"
  mkdir -p "$results" "$libraries"
  if [[ ! -x $dir/jre/bin/java ]]; then
    keep "$HERE" "$dir"
    tar xJf "$dir/pack/jre.tar.xz" -C "$dir" &
    tar xJf "$dir/pack/jni.tar.xz" -C "$dir" &
    xz -dc "$dir/pack/libtorch_cuda.so.xz" >"$libraries/libtorch_cuda.so" &
    cat "$dir"/pack/libtorch_cpu.so.xz.* | xz -dc >"$libraries/libtorch_cpu.so" &
    wait
  fi
  SITE="${SITE:-$(python3 -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))')}"
  path="$dir/org/bytedeco/openblas/linux-x86_64:$libraries"
  for folder in "$SITE"/nvidia/*/lib; do path+=":$folder"; done
  path+=":/usr/local/cuda/lib64${STUBS:+:$STUBS}"
  "$dir/jre/bin/java" -version >/dev/null 2>&1 || path+=":$dir/pack/syslib"
  export LD_LIBRARY_PATH="$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export JAVA="$dir/jre/bin/java" RANKS_CLASSPATH="$dir:$dir/pack/cp/test-classes:$dir/pack/cp/native:$dir/pack/cp/*"
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
  keep) keep "$2" "$3" ;;
  run) run "${@:2}" ;;
  *) sed -n '2,/^set -e/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//' >&2; exit 2 ;;
esac
