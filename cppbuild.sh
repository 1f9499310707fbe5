#!/usr/bin/env bash
# Builds libattn4j.so, one library per GPU architecture. Run by Maven (presets/pom.xml) and by hand; the contract is that
# of the JavaCPP presets: PLATFORM, EXTENSION and MAKEJ from the environment or as options, then an operation.
#
#   cppbuild.sh [-platform=linux-x86_64|linux-arm64] [-extension=-smNN] [-archs=LIST] [-natives=auto|required|skip|prebuilt]
#               [-output=DIR] [check | install | stage-jni | clean]
#
#   check      translate the list of architectures, say what would be built, build nothing
#   install    build, verify, and lay the libraries out as the classifier JARs want them (default)
#   stage-jni  copy the JNI libraries, which JavaCPP made in OUTPUT/jni, beside them
#   clean      remove OUTPUT
#
# LIST is PyTorch's TORCH_CUDA_ARCH_LIST: "8.6 9.0", separated by blanks, commas or semicolons; an entry may end in +PTX,
# and may be one of PyTorch's names, such as Ampere. The option wins over the environment; without both, the five
# architectures of the released JARs are built. What an option asks for and can't be built is an error; so is all else
# that can't with natives=required. A list in the environment may be there for PyTorch's sake (its containers set one), and
# nvcc may be older than ours: with natives=auto neither stops the build of the Java side, and a line says what is left out.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
CPP="$ROOT/src/main/cpp"

DEFAULT_ARCHS="$(awk '!/^#/ && NF && $4 != "-" { printf "%s%s", separator, $4; separator = " " }' "$CPP/archs.list")"
PLATFORM="${PLATFORM:-linux-x86_64}"
EXTENSION="${EXTENSION:-}"
ARCHS="${TORCH_CUDA_ARCH_LIST:-}"
LIST_NAME="TORCH_CUDA_ARCH_LIST in the environment"
STRICT=false  # whether an entry that can't be built is an error
CUDA_NEEDED=13
NATIVES=auto
OUTPUT="$ROOT/presets/target"
OPERATION=install
CROSS=""        # what stands before the names of the compilers
CUDA_TARGET=""  # the toolkit's name of the machine to compile for, if it is another one

say() { echo "cppbuild: $*"; }
fail() { echo "cppbuild: $*" >&2; exit 2; }

has_entries() { [[ -n "${1//[[:space:],;]/}" ]]; }

parse_arguments() {
  local argument
  for argument in "$@"; do
    case "$argument" in
      -platform=*) PLATFORM="${argument#*=}" ;;
      -extension=*) EXTENSION="${argument#*=}" ;;
      -archs=*) if has_entries "${argument#*=}"; then ARCHS="${argument#*=}" LIST_NAME=TORCH_CUDA_ARCH_LIST STRICT=true; fi ;;
      -natives=*) NATIVES="${argument#*=}" ;;
      -output=*) OUTPUT="${argument#*=}" ;;
      check | install | stage-jni | clean) OPERATION="$argument" ;;
      *) fail "unknown argument '$argument' (see the head of cppbuild.sh)" ;;
    esac
  done
  case "$PLATFORM" in
    linux-x86_64) ;;
    # Server processors and Jetsons of today (GH200, Grace, Orin, Thor, DGX Spark), compiled for elsewhere but there.
    linux-arm64) if [[ "$(uname -m)" != aarch64 ]]; then CROSS=aarch64-linux-gnu- CUDA_TARGET=sbsa-linux; fi ;;
    *) fail "platform '$PLATFORM' is not supported: linux-x86_64 and linux-arm64 are" ;;
  esac
  case "$NATIVES" in auto | required | skip | prebuilt) ;; *)
    fail "natives=$NATIVES is not known: auto, required, skip and prebuilt are" ;;
  esac
  if [[ $NATIVES == required ]]; then STRICT=true; fi
}

# ------------------------------------------------------------------------------------------------- the arch list

# Prints the columns "family code" of archs.list for an architecture such as 8.6, or nothing.
known_arch() { awk -v arch="$1" '$1 == arch { print $2, $3 }' "$CPP/archs.list"; }

known_archs() { awk '!/^#/ && NF { printf "%s%s", separator, $1; separator = ", " }' "$CPP/archs.list"; }

# What PyTorch means by a name in the list, for the names that have stood there.
named_archs() {
  case "$1" in
    Kepler) echo "3.5+PTX" ;;
    Kepler+Tesla) echo "3.7" ;;
    Maxwell) echo "5.0 5.2+PTX" ;;
    Maxwell+Tegra) echo "5.3" ;;
    Pascal) echo "6.0 6.1+PTX" ;;
    Volta) echo "7.0+PTX" ;;
    Volta+Tegra) echo "7.2" ;;
    Turing) echo "7.5+PTX" ;;
    Ampere) echo "8.0 8.6+PTX" ;;
    Ampere+Tegra) echo "8.7" ;;
    Ada) echo "8.9+PTX" ;;
    Hopper) echo "9.0+PTX" ;;
    Blackwell) echo "10.0 10.3 12.0 12.1+PTX" ;;
    Blackwell+Tegra) echo "11.0" ;;
    All | Common | Auto) echo "$DEFAULT_ARCHS" ;;
    *) echo "$1" ;;
  esac
}

# Translates ARCHS into BUILDS: one "smNN,family,code[,code+PTX]" per architecture, which may be none. Says what it leaves
# out. Where an entry that can't be built is an error, the first one ends the script.
declare -a BUILDS=()
translate_archs() {
  local nvcc_codes="" name entry
  local -a left_out=()
  if [[ -n "$EXTENSION" ]]; then ARCHS="$(arch_of_extension)" LIST_NAME="the extension $EXTENSION" STRICT=true; fi
  if ! has_entries "$ARCHS"; then ARCHS="$DEFAULT_ARCHS" LIST_NAME="the default list '$DEFAULT_ARCHS'"; fi
  if [[ -n "$NVCC" && -z "$NVCC_FAULT" ]]; then nvcc_codes=" $("$NVCC" --list-gpu-code | tr '\n' ' ') "; fi
  set -f  # an entry such as '*' is a misspelling, not a file name pattern
  for name in ${ARCHS//[,;]/ }; do
    for entry in $(named_archs "$name"); do
      translate_entry "$entry" "$nvcc_codes"
      if [[ -n "$BUILD" ]]; then
        add_build "$BUILD"
      elif $STRICT; then
        fail "$LIST_NAME: entry '$entry'$WHY_NOT"
      else
        left_out+=("'$entry'$WHY_NOT")
      fi
    done
  done
  set +f
  for entry in ${left_out[@]+"${left_out[@]}"}; do say "$LIST_NAME: left out: entry $entry"; done
}

# Adds to BUILDS. An architecture that is named twice gets the code that runs on most devices, and PTX if one entry wants it.
add_build() {  # build
  local index had code had_code ptx=""
  for index in "${!BUILDS[@]}"; do
    had="${BUILDS[$index]}"
    [[ ${had%%,*} == "${1%%,*}" ]] || continue
    code="$(cut -d, -f3 <<<"$1")" had_code="$(cut -d, -f3 <<<"$had")"
    # 100 before 100f before 100a: the shortest, then the later letter.
    if [[ ${#had_code} -lt ${#code} || ( ${#had_code} -eq ${#code} && $had_code > $code ) ]]; then code="$had_code"; fi
    if [[ $code != *[af] && "$had,$1" == *"$code+PTX"* ]]; then ptx=",$code+PTX"; fi
    BUILDS[index]="$(cut -d, -f1,2 <<<"$1"),$code$ptx"
    return
  done
  BUILDS+=("$1")
}

# Sets BUILD, or leaves it empty and sets WHY_NOT.
translate_entry() {
  local entry="$1" nvcc_codes="$2" arch suffix ptx known family code number
  BUILD="" WHY_NOT=""
  if [[ ! $entry =~ ^([0-9]+\.[0-9])([af]?)(\+PTX)?$ ]]; then
    WHY_NOT=" is misspelt; known: $(known_archs), each with or without +PTX, and PyTorch's names such as Ampere"
    return
  fi
  arch="${BASH_REMATCH[1]}" suffix="${BASH_REMATCH[2]}" ptx="${BASH_REMATCH[3]}"
  known="$(known_arch "$arch")"
  if [[ -z "$known" ]]; then WHY_NOT=": there are no kernels for it; known: $(known_archs)"; return; fi
  read -r family code <<<"$known"
  number="${arch/./}"
  if [[ -n "$suffix" ]]; then code="$number$suffix"; fi
  if [[ $suffix == a ]] && (( number < 90 )); then WHY_NOT=": arch-specific code starts at 9.0a"; return; fi
  if [[ $suffix == f ]] && (( number < 100 )); then WHY_NOT=": family-specific code starts at 10.0f"; return; fi
  if [[ -n "$nvcc_codes" && "$nvcc_codes" != *" sm_$number "* ]]; then
    WHY_NOT=": $NVCC doesn't know it; it knows:${nvcc_codes% }"
    return
  fi
  BUILD="sm$number,$family,$code"
  if [[ -n "$ptx" && "$code" == *[af] ]]; then
    say "$LIST_NAME: entry '$entry': without PTX, because that of sm_$code runs on no other device; 8.0+PTX is what newer" \
      "devices fall back to"
  elif [[ -n "$ptx" ]]; then
    BUILD+=",$code+PTX"
  fi
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
  if ((${#BUILDS[@]} == 0)); then say "$LIST_NAME names nothing that can be built: the Java side alone"; fi
  for build in ${BUILDS[@]+"${BUILDS[@]}"}; do
    IFS=, read -r -a fields <<<"$build"
    say "$PLATFORM-${fields[0]}: family ${fields[1]}, code ${fields[*]:2}"
  done
}

# ------------------------------------------------------------------------------------------------------ the tools

# Sets NVCC to the nvcc that the user names, else to the first that is new enough of the usual places, else to any of them
# or to nothing; and NVCC_FAULT to what is wrong with it, or to nothing.
find_nvcc() {
  local candidate
  NVCC="" NVCC_FAULT=""
  for candidate in "${CUDACXX:-}" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" "${CUDA_PATH:+$CUDA_PATH/bin/nvcc}"; do
    if [[ -n "$candidate" && -x "$candidate" ]]; then try_nvcc "$candidate"; return; fi
  done
  for candidate in /usr/local/cuda/bin/nvcc "$(command -v nvcc || true)"; do
    if [[ -n "$candidate" && -x "$candidate" ]]; then try_nvcc "$candidate"; fi
    if [[ -n "$NVCC" && -z "$NVCC_FAULT" ]]; then return; fi
  done
}

try_nvcc() {
  local version
  NVCC="$1" NVCC_FAULT=""
  version="$(nvcc_version 2>/dev/null || true)"
  if [[ $version =~ ^([0-9]+)\. ]] && (( BASH_REMATCH[1] < CUDA_NEEDED )); then
    NVCC_FAULT="nvcc of CUDA $CUDA_NEEDED or newer ($NVCC is of CUDA $version; CUDACXX or CUDA_HOME name another)"
  fi
}

# Prints what is missing for a native build, each with its remedy.
missing_tools() {
  local version
  if [[ -z "$NVCC" ]]; then
    echo "nvcc (CUDA toolkit $CUDA_NEEDED; CUDACXX or CUDA_HOME say where it is)"
  elif [[ -n "$NVCC_FAULT" ]]; then
    echo "$NVCC_FAULT"
  fi
  command -v "${CROSS}g++" >/dev/null || echo "${CROSS}g++ (apt-get install g++${CROSS:+-${CROSS%-}})"
  if [[ -n "$CUDA_TARGET" && -n "$NVCC" && ! -f "$(cuda_target_folder)/lib/libcudart_static.a" ]]; then
    echo "CUDA runtime for $CUDA_TARGET ($(cuda_target_folder); NVIDIA's package cuda-cross-sbsa)"
  fi
  version="$(cmake --version 2>/dev/null | sed -n '1s/[^0-9.]*\([0-9]*\.[0-9]*\).*/\1/p' || true)"
  if [[ -z "$version" ]]; then
    echo "cmake 3.22 or newer (apt-get install cmake)"
  elif (( ${version%.*} < 3 || ( ${version%.*} == 3 && ${version#*.} < 22 ) )); then
    echo "cmake 3.22 or newer (this one is $version)"
  fi
  command -v ninja >/dev/null || command -v make >/dev/null || echo "ninja or make (apt-get install ninja-build)"
}

cuda_target_folder() { echo "$(dirname "$(dirname "$(readlink -f "$NVCC")")")/targets/$CUDA_TARGET"; }

# nvcc's options for another machine.
cross_options() { if [[ -n "$CROSS" ]]; then echo "-ccbin=${CROSS}g++ --target-directory=$CUDA_TARGET"; fi; }

# Why nvcc compiles nothing here (a g++ newer than it takes, half an installation), or nothing if it does. Asked once per
# build tree, for a second or two.
nvcc_refuses() {
  local folder status=0
  if [[ -f "$OUTPUT/cppbuild/CMakeCache.txt" ]]; then return; fi
  folder="$(mktemp -d)"
  echo '__global__ void probe() {}' >"$folder/probe.cu"
  # shellcheck disable=SC2046 # several options
  "$NVCC" $(cross_options) -arch="sm_$(cut -d, -f3 <<<"${BUILDS[0]}")" -c "$folder/probe.cu" -o "$folder/probe.o" \
    >"$folder/log" 2>&1 || status=$?
  if ((status != 0)); then
    echo "working nvcc ($NVCC ends with $status: $(grep -m 1 -i error "$folder/log" || sed -n '$p' "$folder/log"))"
  fi
  rm -rf "$folder"
}

jobs_allowed() {
  local cores asked="${MAKEJ:-0}"
  cores="$(nproc)"
  if [[ $asked =~ ^[0-9]+$ ]] && (( asked > 0 && asked < cores )); then echo "$asked"; else echo "$cores"; fi
}

# ------------------------------------------------------------------------------------------------------ the build

# For Maven, which decides by these what it builds and what it skips.
write_properties() {  # kernels_absent
  local compiler="${CROSS}g++"
  command -v "$compiler" >/dev/null && [[ $NATIVES != skip && $NATIVES != prebuilt ]] || compiler=true
  mkdir -p "$OUTPUT"
  {
    echo "attn4j.kernels.absent=$1"
    if [[ $compiler == true ]]; then echo "attn4j.cxx.absent=true"; else echo "attn4j.cxx.absent=false"; fi
    echo "attn4j.jni.cxx=${CROSS}g++"
    # The program that compiles the C++ ABI test: `true` does nothing, successfully. What is for elsewhere can't run here.
    if [[ $1 == true || -n "$CROSS" ]]; then echo "attn4j.cxx=true"; else echo "attn4j.cxx=$compiler"; fi
  } >"$OUTPUT/natives.properties"
}

cached() { sed -n "s/^$2:[A-Z]*=//p" "$1/CMakeCache.txt"; }  # build tree, variable

# CMake can't change the generator of a build tree, nor use one that was made elsewhere: in another place before the checkout
# was moved, copied or mounted into a container, or with another nvcc.
build_tree_fits() {  # build tree, generator
  [[ -f "$1/CMakeCache.txt" ]] || return 0
  [[ "$(cached "$1" CMAKE_GENERATOR)" == "$2" ]] && [[ "$(cached "$1" CMAKE_HOME_DIRECTORY)" -ef "$CPP" ]] &&
    [[ "$(cached "$1" CMAKE_SYSTEM_PROCESSOR)" == "${CROSS:+aarch64}" ]] && [[ "$(cached "$1" CMAKE_CACHEFILE_DIR)" -ef "$1" ]] && [[ "$(cached "$1" CMAKE_CUDA_COMPILER)" -ef "$NVCC" ]]
}

compile() {
  local generator="Unix Makefiles" build_dir="$OUTPUT/cppbuild"
  if command -v ninja >/dev/null; then generator=Ninja; fi
  build_tree_fits "$build_dir" "$generator" || rm -rf "$build_dir"
  local builds cross=()
  builds="$(IFS=';'; echo "${BUILDS[*]}")"
  if [[ -n "$CROSS" ]]; then
    cross=(-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 "-DCMAKE_CXX_COMPILER=${CROSS}g++"
      "-DCMAKE_CUDA_HOST_COMPILER=${CROSS}g++" "-DCMAKE_CUDA_FLAGS=--target-directory=$CUDA_TARGET")
  fi
  cmake -S "$CPP" -B "$build_dir" -G "$generator" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_COMPILER="$NVCC" \
    ${cross[@]+"${cross[@]}"} -DATTN4J_BUILDS="$builds" >"$build_dir.log" 2>&1 || { cat "$build_dir.log" >&2; fail "cmake failed"; }
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
# platform artifact resolves; what was not built holds the licence and a note that says why.
stage_licences() {  # why what is missing was not built
  local entry name names=(base)
  for entry in $DEFAULT_ARCHS; do
    entry="${entry%+PTX}"
    names+=("sm${entry/./}")
  done
  for entry in ${BUILDS[@]+"${BUILDS[@]}"}; do names+=("${entry%%,*}"); done
  rm -rf "$OUTPUT/natives" "$OUTPUT/jni"
  for name in "${names[@]}"; do
    mkdir -p "$OUTPUT/natives/$name/META-INF"
    cp "$ROOT/LICENSE" "$ROOT/NOTICE" "$OUTPUT/natives/$name/META-INF/"
    note_absence "$name" "$1"
  done
}

# The loader finds the note where the library would be: an empty JAR on the class path isn't a missing one.
note_absence() {  # name, why
  local folder="$OUTPUT/natives/$1/org/attn4j/natives/$PLATFORM-$1" file=arch.properties
  if [[ $1 == base ]]; then folder="$OUTPUT/natives/base/org/attn4j/runtime/$PLATFORM" file=absent.properties; fi
  mkdir -p "$folder"
  printf 'absent=%s\n' "${2//\\/\\\\}" >"$folder/$file"
}

# Writes CRC-32 and size of a library beside it. The loader compares them: a file with a part missing would end the process.
record_checksum() {  # library
  local crc size
  read -r crc size < <(gzip -1 -c "$1" | tail -c 8 | od -An -v -tu4)
  printf '%08x %d\n' "$crc" "$size" >"$1.crc32"
}

stage() {
  local build fields library classifier_dir field sass ptx
  stage_licences "TORCH_CUDA_ARCH_LIST named other architectures"
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
    record_checksum "$classifier_dir/libattn4j.so"
    # For C++ programs; any of them will do, their interfaces are the same.
    cp "$library" "$OUTPUT/natives/link/"
    printf 'arch=%s\nsass=%s\nptx=%s\ncuda=%s\n' "${fields[0]}" "$sass" "$ptx" "$(nvcc_version)" \
      >"$classifier_dir/arch.properties"
    say "$PLATFORM-${fields[0]}: ${fields[*]:2}, $(stat -c %s "$library") bytes"
  done
  build_trampolines
  report_registers >"$OUTPUT/ptxas.txt"
}

# What the JNI library is linked with in place of libattn4j.so, so that several of these can be open in one process.
build_trampolines() {
  local from="$ROOT/presets/src/main/cpp" link="$OUTPUT/natives/link" work="$OUTPUT/trampolines"
  mkdir -p "$work"
  "$JAVA" "$CPP/cmake/NativeCheck.java" symbols "$link/libattn4j.so" |
    awk '{ printf "ATTN4J_FUNCTION(%d, %s)\n", NR - 1, $1 }' >"$work/attn4j_functions.inc"
  "${CROSS}g++" -std=c++17 -O2 -Wall -Wextra -Werror -fPIC -fvisibility=hidden -I"$from" -I"$CPP/include" -I"$work" \
    -c "$from/libraries.cpp" -o "$work/libraries.o" || fail "the trampolines don't compile"
  rm -f "$link/libattn4j_libraries.a"
  "${CROSS}ar" rcs "$link/libattn4j_libraries.a" "$work/libraries.o"
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
  stage_licences "it was built without natives, as $1"
  write_properties true
  say "no native build, the Java side alone: $1"
}

install_natives() {
  case "$NATIVES" in
    skip) java_side_alone "natives=skip" ;;
    prebuilt)
      compgen -G "$OUTPUT/natives/sm*/org" >/dev/null || fail "natives=prebuilt, but $OUTPUT/natives holds none"
      write_properties true
      say "natives=prebuilt: the JARs are made of what $OUTPUT/natives holds" ;;
    *) build_natives ;;
  esac
}

build_natives() {
  local missing
  missing="$(missing_tools | paste -sd '|' | sed 's/|/; /g')"
  if [[ -z "$missing" ]] || $STRICT; then translate_archs; fi
  if [[ -z "$missing" && ${#BUILDS[@]} -gt 0 ]]; then missing="$(nvcc_refuses)"; fi
  if [[ -n "$missing" ]]; then
    if [[ $NATIVES == required ]]; then fail "natives=required, but this machine has no $missing"; fi
    java_side_alone "this machine has no $missing"
    return
  fi
  if ((${#BUILDS[@]} == 0)); then
    java_side_alone "$LIST_NAME names nothing that can be built"
    return
  fi
  mkdir -p "$OUTPUT"
  compile
  verify
  stage
  write_properties false
}

# The JNI libraries are the same for all architectures, and are in the base JAR: the bindings', which needs the kernels of a
# library of any architecture to run, and the probe's, which needs none.
stage_jni() {
  [[ $NATIVES != prebuilt ]] || return 0
  stage_base libjniattn4j.so "$OUTPUT/natives/base/org/attn4j/natives/$PLATFORM"
  stage_base libjniattn4jprobe.so "$OUTPUT/natives/base/org/attn4j/runtime/$PLATFORM"
}

stage_base() {  # library, folder
  [[ -f "$OUTPUT/jni/$1" ]] || return 0
  mkdir -p "$2"
  rm -f "$2/absent.properties"
  cp "$OUTPUT/jni/$1" "$2/"
  record_checksum "$2/$1"
}

parse_arguments "$@"
find_nvcc
JAVA="${JAVA_HOME:+$JAVA_HOME/bin/}java"
case "$OPERATION" in
  clean) rm -rf "$OUTPUT" ;;
  stage-jni) stage_jni ;;
  check)
    if [[ $NATIVES == skip || $NATIVES == prebuilt ]]; then say "natives=$NATIVES: nothing would be built"; exit; fi
    translate_archs
    describe_builds ;;
  install) install_natives ;;
esac
