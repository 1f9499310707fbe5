#!/usr/bin/env bash
# bench/distributed_pack.sh OUT: packs what bench/distributed_gpu.sh needs on a machine with GPUs, a driver and a python3 that
# has PyTorch of CUDA 13 (for NVIDIA's libraries), but no JDK, no Maven and no network. Three folders, OUT/1 to OUT/3, of at most
# 40 MB each. Needs what a build needs.
#
# It packs bytedeco's own libtorch: process groups are C++ classes whose layout changes with every release of PyTorch, so the
# preset's JNI libraries run over no other. libtorch_cuda.so keeps the kernels of KERNELS for sm_90 alone. attn4j's library has
# head_dim 128 and f16. CACHE keeps the compressed libtorch, which takes minutes (OUT/cache).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OUT="$(realpath -m "${1:?usage: distributed_pack.sh OUT}")"
CACHE="$(realpath -m "${CACHE:-$OUT/cache}")"
PRESET=2.10.0-1.5.13 CUDA=13.1-9.19-1.5.13 OPENBLAS=0.3.31-1.5.13
KERNELS='direct_copy|copy_kernel|Copy_cu|FillFunctor|sigmoid_kernel|lerp|logaddexp|nan_to_num|CUDAFunctor_add|CUDAFunctorOnSelf_add'
KERNELS+='|abs_kernel|AbsFunctor|sum_functor|mul_kernel|MulFunctor|div_true|DivFunctor|exp_kernel|DistributionNormal|arange|CatArray'
KERNELS+='|FillKernel|softmax_warp_forward|cunn_SoftMaxForward|CompareEQ|compare_scalar|isnan|MaxOps|where_kernel'
JDK="${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")}"
REPOSITORY="${MAVEN_REPO:-$HOME/.m2/repository}/org/bytedeco"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$CACHE"
rm -rf "$OUT"/[123]
mkdir -p "$OUT/1/cp" "$OUT/2" "$OUT/3/cp/native" "$OUT/3/cp/test-classes"

jar_of() { # ARTIFACT VERSION CLASSIFIER
  local file="$REPOSITORY/$1/$2/$1-$2-$3.jar"
  [[ -f $file ]] || mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get -Dtransitive=false \
    "-Dartifact=org.bytedeco:$1:$2:jar:$3" >&2
  echo "$file"
}
shrink() { xz -c --x86 --lzma2=preset=3,dict=64MiB "$1"; }

# 1. libtorch: compressed once.
if [[ ! -f $CACHE/libtorch_cpu.so.xz || ! -f $CACHE/libtorch_cuda.so.xz || ! -f $CACHE/jni.tar.xz ]]; then
  (cd "$work" && unzip -qo "$(jar_of pytorch $PRESET linux-x86_64-gpu)" '*.so*' &&
    unzip -qo "$(jar_of openblas $OPENBLAS linux-x86_64)" '*.so*')
  torch="$work/org/bytedeco/pytorch/linux-x86_64-gpu" blas="$work/org/bytedeco/openblas/linux-x86_64"
  strip --strip-unneeded "$torch"/libtorch*.so "$torch"/libc10*.so
  shrink "$torch/libtorch_cpu.so" >"$CACHE/libtorch_cpu.so.xz"
  python3 bench/slim_cuda.py "$torch/libtorch_cuda.so" "$work/slim.so" 90 "$KERNELS"
  shrink "$work/slim.so" >"$CACHE/libtorch_cuda.so.xz"
  rm -f "$torch/libtorch_cpu.so" "$torch/libtorch_cuda.so" "$blas/libjniopenblas_full.so"
  ln -sf libopenblas.so.0 "$blas/libopenblas_nolapack.so.0"
  tar c -C "$work" org | xz -6 >"$CACHE/jni.tar.xz"
fi
split -n 2 "$CACHE/libtorch_cpu.so.xz" "$OUT/1/libtorch_cpu.so.xz."
mv "$OUT/1/libtorch_cpu.so.xz.ab" "$OUT/2/"
cp "$CACHE/jni.tar.xz" "$OUT/2/"
cp "$CACHE/libtorch_cuda.so.xz" "$OUT/3/"

# 2. A small JRE.
if [[ ! -f $CACHE/jre.tar.xz ]]; then
  "$JDK/bin/jlink" --add-modules java.base,java.logging,java.xml,java.management,jdk.management,jdk.unsupported --strip-debug \
    --no-man-pages --no-header-files --compress=0 --output "$work/jre"
  strip -s "$work/jre/lib/server/libjvm.so"
  rm -rf "$work/jre/legal"
  tar c -C "$work" jre | xz -6 >"$CACHE/jre.tar.xz"
fi
cp "$CACHE/jre.tar.xz" "$OUT/3/"

# 3. The Java side of this tree, and the kernels of a copy of it with a shorter list of variants.
mvn -q -B ${MAVEN_OFFLINE:+-o} -DskipTests -Dnatives=skip -Pranks -pl distributed -am package
if [[ ! -d $CACHE/native ]]; then
  mkdir -p "$work/tree"
  git archive HEAD | tar x -C "$work/tree"
  cat >"$work/tree/src/main/cpp/variants.list" <<'LIST'
ExactMma        attention/mma/exact.cuh       128  f16   *
ExactSplit      attention/split/exact.cuh     128  f16   *
ExactWgmma      attention/f16_wgmma/exact.cuh 128  f16   90
MmaInt8F16      attention/mma/int8.cuh        128  f16   *
WgmmaInt8Fp8    attention/fp8_wgmma/fp8.cuh   128  f16   90                0 6
WgmmaInt8F16    attention/f16_wgmma/int8.cuh  128  f16   90
LIST
  (cd "$work/tree" && mvn -q -B -DskipTests -Dnatives=required -DTORCH_CUDA_ARCH_LIST=9.0 -pl presets package)
  mkdir -p "$CACHE/native"
  for name in base sm90; do cp -r "$work/tree/presets/target/natives/$name/." "$CACHE/native/"; done
fi
cp -r "$CACHE/native/." "$OUT/3/cp/native/"
cp -r distributed/target/test-classes/. "$OUT/3/cp/test-classes/"
for jar in distributed/target/ranks/*.jar "$(jar_of cuda $CUDA linux-x86_64)"; do
  case "$(basename "$jar")" in
    pytorch-*linux* | openblas-*linux*) ;;
    pytorch-* | cuda-*linux*) cp "$jar" "$OUT/1/cp/" ;;
    *) cp "$jar" "$OUT/3/cp/" ;;
  esac
done
mkdir -p "$OUT/3/syslib"
for name in libz.so.1 libstdc++.so.6 libgcc_s.so.1; do
  cp -L "$(ldconfig -p | awk -v name="$name" '$1 == name && /x86-64/ { print $NF; exit }')" "$OUT/3/syslib/"
done
git rev-parse --short HEAD >"$OUT/3/COMMIT"
cp bench/distributed_results.py bench/distributed_gpu.sh "$OUT/3/"
du -sm "$OUT"/[123] >&2
