#!/usr/bin/env bash
# Builds libattn4j.so, one library per GPU architecture. Run by Maven (presets/pom.xml) and by hand; the contract is that
# of the JavaCPP presets: PLATFORM, EXTENSION and MAKEJ from the environment or as options, then an operation.
#
#   cppbuild.sh [-platform=linux-x86_64] [-extension=-smNN] [-archs=LIST] [-natives=auto|required|skip|prebuilt]
#               [-output=DIR] [check | install | stage-jni | clean]
#
#   check      translate the list of architectures, say what would be built, build nothing
#   install    build, verify, and lay the libraries out as the classifier JARs want them (default)
#   stage-jni  copy the JNI libraries, which JavaCPP made in OUTPUT/jni, beside them
#   clean      remove OUTPUT
#
# LIST is PyTorch's TORCH_CUDA_ARCH_LIST: "8.6 9.0", separated by blanks, commas or semicolons; an entry may end in +PTX.
# The option wins over the environment; without both, the five architectures of the released JARs are built.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
CPP="$ROOT/src/main/cpp"

DEFAULT_ARCHS="8.0+PTX 8.6 8.9 9.0 12.0"
PLATFORM="${PLATFORM:-linux-x86_64}"
EXTENSION="${EXTENSION:-}"
ARCHS="${TORCH_CUDA_ARCH_LIST:-}"
NATIVES=auto
OUTPUT="$ROOT/presets/target"
OPERATION=install

say() { echo "cppbuild: $*"; }
fail() { echo "cppbuild: $*" >&2; exit 2; }

parse_arguments() {
  local argument
  for argument in "$@"; do
    case "$argument" in
      -platform=*) PLATFORM="${argument#*=}" ;;
      -extension=*) EXTENSION="${argument#*=}" ;;
      -archs=*) if [[ -n "${argument#*=}" ]]; then ARCHS="${argument#*=}"; fi ;;
      -natives=*) NATIVES="${argument#*=}" ;;
      -output=*) OUTPUT="${argument#*=}" ;;
      check | install | stage-jni | clean) OPERATION="$argument" ;;
      *) fail "unknown argument '$argument' (see the head of cppbuild.sh)" ;;
    esac
  done
  [[ $PLATFORM == linux-x86_64 ]] || fail "platform '$PLATFORM' is not supported: linux-x86_64 is"
  case "$NATIVES" in auto | required | skip | prebuilt) ;; *)
    fail "natives=$NATIVES is not known: auto, required, skip and prebuilt are" ;;
  esac
}

# ------------------------------------------------------------------------------------------------- the arch list

# Prints the columns "family code" of archs.list for an architecture such as 8.6, or nothing.
known_arch() { awk -v arch="$1" '$1 == arch { print $2, $3 }' "$CPP/archs.list"; }

known_archs() { awk '!/^#/ && NF { printf "%s%s", separator, $1; separator = ", " }' "$CPP/archs.list"; }

# Translates ARCHS into BUILDS: one "smNN,family,code[,code+PTX]" per architecture. Ends the script at the first entry
# that the kernels or nvcc don't know.
declare -a BUILDS=()
translate_archs() {
  local nvcc_codes="" entry index
  local -A seen=()
  if [[ -n "$EXTENSION" ]]; then ARCHS="$(arch_of_extension)"; fi
  if [[ -z "${ARCHS//[[:space:],;]/}" ]]; then ARCHS="$DEFAULT_ARCHS"; fi
  if [[ -n "$NVCC" ]]; then nvcc_codes=" $("$NVCC" --list-gpu-code | tr '\n' ' ') "; fi
  set -f  # an entry such as '*' is a misspelling, not a file name pattern
  for entry in ${ARCHS//[,;]/ }; do
    translate_entry "$entry" "$nvcc_codes"
    index="${BUILD%%,*}"
    if [[ -n "${seen[$index]:-}" && "${seen[$index]}" != "$BUILD" ]]; then
      fail "TORCH_CUDA_ARCH_LIST names $index twice with different code: '$ARCHS'"
    fi
    if [[ -z "${seen[$index]:-}" ]]; then BUILDS+=("$BUILD"); fi
    seen[$index]="$BUILD"
  done
  set +f
}

# Sets BUILD.
translate_entry() {
  local entry="$1" nvcc_codes="$2" accepted arch suffix ptx known family code number
  accepted="known: $(known_archs); +PTX may follow any but 9.0"
  [[ $entry =~ ^([0-9]+\.[0-9])([af]?)(\+PTX)?$ ]] ||
    fail "TORCH_CUDA_ARCH_LIST entry '$entry' is misspelt; $accepted"
  arch="${BASH_REMATCH[1]}" suffix="${BASH_REMATCH[2]}" ptx="${BASH_REMATCH[3]}"
  known="$(known_arch "$arch")"
  [[ -n "$known" ]] || fail "TORCH_CUDA_ARCH_LIST entry '$entry': there are no kernels for it; $accepted"
  read -r family code <<<"$known"
  number="${arch/./}"
  if [[ -n "$suffix" ]]; then code="$number$suffix"; fi
  case "$suffix" in
    a) (( number >= 90 )) || fail "TORCH_CUDA_ARCH_LIST entry '$entry': arch-specific code starts at 9.0a" ;;
    f) (( number >= 100 )) || fail "TORCH_CUDA_ARCH_LIST entry '$entry': family-specific code starts at 10.0f" ;;
  esac
  if [[ -n "$ptx" && "$code" == *[af] ]]; then
    fail "TORCH_CUDA_ARCH_LIST entry '$entry': the $arch kernels are compiled as sm_$code, whose PTX runs on no other" \
      "device; 8.0+PTX is what newer devices fall back to"
  fi
  if [[ -n "$nvcc_codes" && "$nvcc_codes" != *" sm_$number "* ]]; then
    fail "TORCH_CUDA_ARCH_LIST entry '$entry': $NVCC doesn't know it; it knows:${nvcc_codes% }"
  fi
  BUILD="sm$number,$family,$code"
  if [[ -n "$ptx" ]]; then BUILD+=",$code+PTX"; fi
}

# JavaCPP's EXTENSION picks one architecture: -sm86 means 8.6, with what the default list says about it.
arch_of_extension() {
  local entry arch
  [[ $EXTENSION =~ ^-sm([0-9]+)([0-9])$ ]] || fail "extension '$EXTENSION' is none of ours: -sm80, -sm86, ... are"
  arch="${BASH_REMATCH[1]}.${BASH_REMATCH[2]}"
  for entry in $DEFAULT_ARCHS; do
    if [[ "${entry%+PTX}" == "$arch" ]]; then echo "$entry"; return; fi
  done
  echo "$arch"
}

describe_builds() {
  local build fields
  for build in "${BUILDS[@]}"; do
    IFS=, read -r -a fields <<<"$build"
    say "$PLATFORM-${fields[0]}: family ${fields[1]}, code ${fields[*]:2}"
  done
}

# ------------------------------------------------------------------------------------------------------ the tools

# Sets NVCC to the first nvcc of the usual places, or to nothing.
find_nvcc() {
  local candidate
  for candidate in "${CUDACXX:-}" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" "${CUDA_PATH:+$CUDA_PATH/bin/nvcc}" \
    /usr/local/cuda/bin/nvcc "$(command -v nvcc || true)"; do
    if [[ -n "$candidate" && -x "$candidate" ]]; then NVCC="$candidate"; return; fi
  done
  NVCC=""
}

# Prints what is missing for a native build, each with its remedy.
missing_tools() {
  if [[ -z "$NVCC" ]]; then echo "nvcc (CUDA toolkit 13; CUDACXX or CUDA_HOME say where it is)"; fi
  command -v g++ >/dev/null || echo "g++ (apt-get install g++)"
  command -v cmake >/dev/null || echo "cmake 3.22 or newer (apt-get install cmake)"
  command -v ninja >/dev/null || command -v make >/dev/null || echo "ninja or make (apt-get install ninja-build)"
}

jobs_allowed() {
  local cores asked="${MAKEJ:-0}"
  cores="$(nproc)"
  if [[ $asked =~ ^[0-9]+$ ]] && (( asked > 0 && asked < cores )); then echo "$asked"; else echo "$cores"; fi
}

# ------------------------------------------------------------------------------------------------------ the build

# For Maven, which decides by these what it builds and what it skips.
write_properties() {  # kernels_absent
  local compiler=g++
  command -v g++ >/dev/null && [[ $NATIVES != skip && $NATIVES != prebuilt ]] || compiler=true
  mkdir -p "$OUTPUT"
  {
    echo "attn4j.kernels.absent=$1"
    if [[ $compiler == true ]]; then echo "attn4j.cxx.absent=true"; else echo "attn4j.cxx.absent=false"; fi
    # The program that compiles the C++ ABI test: `true` does nothing, successfully.
    if [[ $1 == true ]]; then echo "attn4j.cxx=true"; else echo "attn4j.cxx=$compiler"; fi
  } >"$OUTPUT/natives.properties"
}

compile() {
  local generator="Unix Makefiles" build_dir="$OUTPUT/cppbuild"
  if command -v ninja >/dev/null; then generator=Ninja; fi
  # CMake can't change the generator of an existing build tree.
  if [[ -f "$build_dir/CMakeCache.txt" ]] && ! grep -q "CMAKE_GENERATOR:INTERNAL=$generator" "$build_dir/CMakeCache.txt"; then
    rm -rf "$build_dir"
  fi
  local builds
  builds="$(IFS=';'; echo "${BUILDS[*]}")"
  cmake -S "$CPP" -B "$build_dir" -G "$generator" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_COMPILER="$NVCC" \
    -DATTN4J_BUILDS="$builds" >"$build_dir.log" 2>&1 || { cat "$build_dir.log" >&2; fail "cmake failed"; }
  cmake --build "$build_dir" --parallel "$(jobs_allowed)" || fail "the native build failed"
}

# The runnable code of each library must be what was asked for, no less (a silent gap) and no more (size).
verify() {
  local build fields
  for build in "${BUILDS[@]}"; do
    IFS=, read -r -a fields <<<"$build"
    "$JAVA" "$CPP/cmake/NativeCheck.java" fatbin "$OUTPUT/cppbuild/${fields[0]}/libattn4j.so" "${fields[@]:2}" ||
      fail "${fields[0]}: the library doesn't hold the code that was asked for"
  done
}

# OUTPUT/natives/NAME becomes a JAR of its own. The base and the released architectures always get theirs, so that the
# platform artifact resolves; what was not built holds the licence alone.
stage_licences() {
  local entry name names=(base)
  for entry in $DEFAULT_ARCHS; do
    entry="${entry%+PTX}"
    names+=("sm${entry/./}")
  done
  for entry in ${BUILDS[@]+"${BUILDS[@]}"}; do names+=("${entry%%,*}"); done
  rm -rf "$OUTPUT/natives" "$OUTPUT/jni"
  for name in "${names[@]}"; do
    mkdir -p "$OUTPUT/natives/$name/META-INF"
    cp "$ROOT/LICENSE" "$OUTPUT/natives/$name/META-INF/"
  done
}

stage() {
  local build fields library classifier_dir field sass ptx
  stage_licences
  mkdir -p "$OUTPUT/natives/link"
  for build in "${BUILDS[@]}"; do
    IFS=, read -r -a fields <<<"$build"
    library="$OUTPUT/cppbuild/${fields[0]}/libattn4j.so"
    classifier_dir="$OUTPUT/natives/${fields[0]}/org/attn4j/natives/$PLATFORM-${fields[0]}"
    sass="" ptx=""
    for field in "${fields[@]:2}"; do
      if [[ $field == *+PTX ]]; then ptx="${field%+PTX}"; else sass="$field"; fi
    done
    mkdir -p "$classifier_dir"
    cp "$library" "$classifier_dir/"
    # Any of them will do for linking the JNI library: their interfaces are the same.
    cp "$library" "$OUTPUT/natives/link/"
    printf 'arch=%s\nsass=%s\nptx=%s\ncuda=%s\n' "${fields[0]}" "$sass" "$ptx" "$(nvcc_version)" \
      >"$classifier_dir/arch.properties"
    say "$PLATFORM-${fields[0]}: ${fields[*]:2}, $(stat -c %s "$library") bytes"
  done
  report_registers >"$OUTPUT/ptxas.txt"
}

nvcc_version() { "$NVCC" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p'; }

# One line per kernel: the object, registers, spills.
report_registers() {
  (cd "$OUTPUT/cppbuild" && find . -name '*.ptxas' | sort | while read -r file; do
    echo "== ${file#./CMakeFiles/}"
    grep -vE 'Compiling entry|gmem' "$file" || true
  done)
}

java_side_alone() {  # why
  BUILDS=()
  stage_licences
  write_properties true
  say "no native build, the Java side alone: $1"
}

install_natives() {
  if [[ $NATIVES == skip ]]; then
    java_side_alone "natives=skip"
    return
  fi
  if [[ $NATIVES == prebuilt ]]; then
    compgen -G "$OUTPUT/natives/sm*/org" >/dev/null || fail "natives=prebuilt, but $OUTPUT/natives holds none"
    write_properties true
    say "natives=prebuilt: the JARs are made of what $OUTPUT/natives holds"
    return
  fi
  local missing
  missing="$(missing_tools | paste -sd ';' | sed 's/;/; /g')"
  if [[ -n "$missing" ]]; then
    if [[ $NATIVES == required ]]; then fail "natives=required, but this machine has no $missing"; fi
    java_side_alone "this machine has no $missing"
    return
  fi
  mkdir -p "$OUTPUT"
  compile
  verify
  stage
  write_properties false
}

# The JNI library is the same for all architectures: one copy beside each kernel library makes each classifier JAR
# self-contained. The probe needs no kernels and goes into the base classifier.
stage_jni() {
  local dir
  [[ $NATIVES != prebuilt ]] || return 0
  if [[ -f "$OUTPUT/jni/libjniattn4j.so" ]]; then
    for dir in "$OUTPUT"/natives/sm*/org/attn4j/natives/*/; do cp "$OUTPUT/jni/libjniattn4j.so" "$dir"; done
  fi
  if [[ -f "$OUTPUT/jni/libjniattn4jprobe.so" ]]; then
    dir="$OUTPUT/natives/base/org/attn4j/runtime/$PLATFORM"
    mkdir -p "$dir"
    cp "$OUTPUT/jni/libjniattn4jprobe.so" "$dir/"
  fi
}

parse_arguments "$@"
find_nvcc
JAVA="${JAVA_HOME:+$JAVA_HOME/bin/}java"
case "$OPERATION" in
  clean) rm -rf "$OUTPUT" ;;
  stage-jni) stage_jni ;;
  check) translate_archs && describe_builds ;;
  install) translate_archs && install_natives ;;
esac
