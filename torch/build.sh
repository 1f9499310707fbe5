#!/usr/bin/env bash
# Builds the native parts of this module with g++; nothing of CUDA or libtorch is needed. Run by Maven.
#
#   build.sh hook JAVA_HOME CLASSES_DIR   the library, where HookLibrary looks for it
#   build.sh test JAVA_HOME TEST_DIR      what its tests need: kernels in host memory, a libtorch without the API, a
#                                         thread that the JVM doesn't know, and functorch
#
# A machine without g++ gets neither: the JAR says so when the hook is to be installed, and the tests are skipped.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
HEADERS="$HERE/../src/main/cpp/include"
FLAGS=(-std=c++17 -O2 -fPIC -shared -Wall -Wextra -Wpedantic -Werror -fvisibility=hidden)

is_current() {  # target source...
  local target="$1"
  shift
  [[ -f $target && -z "$(find "$@" "$HEADERS" "$HERE/build.sh" -type f -newer "$target" -print -quit)" ]]
}

build_hook() {
  local java_home="$1" directory="$2/org/attn4j/torch/linux-x86_64" sources="$HERE/src/main/cpp"
  local library="$directory/libattn4jtorch.so"
  if is_current "$library" "$sources"; then return; fi
  mkdir -p "$directory"
  # dlopen is asked of libdl.so.2, as before glibc 2.34: see glibc_floor.h.
  g++ "${FLAGS[@]}" -I"$HEADERS" -I"$java_home/include" -I"$java_home/include/linux" "$sources"/*.cpp -o "$library" \
    -s -Wl,--no-undefined -Wl,-soname,libattn4jtorch.so -Wl,--no-as-needed -l:libdl.so.2
  echo "torch: $(stat -c %s "$library") bytes of libattn4jtorch.so"
}

build_test() {
  local java_home="$1" directory="$2" sources="$HERE/src/test/cpp"
  if is_current "$directory/libattn4j.so" "$sources"; then return; fi
  mkdir -p "$directory/old"
  g++ "${FLAGS[@]}" -I"$java_home/include" -I"$java_home/include/linux" "$sources/foreign.cpp" "$sources/functorch.cpp" \
    -o "$directory/libforeign.so" -pthread
  g++ "${FLAGS[@]}" "$sources/old_libtorch.cpp" -o "$directory/old/libtorch_cpu.so" -Wl,-soname,libtorch_cpu.so
  g++ "${FLAGS[@]}" "$sources/old_libtorch.cpp" -o "$directory/old/libc10.so" -Wl,-soname,libc10.so
  g++ "${FLAGS[@]}" -I"$HEADERS" "$sources/standin.cpp" -o "$directory/libattn4j.so" -Wl,-soname,libattn4j.so
}

if ! command -v g++ >/dev/null; then
  echo "torch: no native library, this machine has no g++ (apt-get install g++)"
  exit 0
fi
case "${1:-}" in
  hook) build_hook "$2" "$3" ;;
  test) build_test "$2" "$3" ;;
  *) echo "torch: unknown operation '${1:-}' (see the head of build.sh)" >&2; exit 2 ;;
esac
