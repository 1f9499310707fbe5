package org.attn4j.backend;

import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.PvAccumulator;
import org.attn4j.QuantGranularity;
import org.attn4j.SparsityRule;
import org.attn4j.TensorLayout;
import org.attn4j.natives.global.attn4j;

/** Java's enums as the header's numbers, name by name: a constant without one doesn't compile. */
final class NativeCodes {
  private NativeCodes() {}

  static int of(DType dtype) {
    return switch (dtype) {
      case FLOAT16 -> attn4j.DType.kFloat16.value;
      case BFLOAT16 -> attn4j.DType.kBFloat16.value;
      case FLOAT32, INT32, INT8 ->
          throw new InvalidAttentionArgumentException(
              "dtype is " + dtype + "; kernels read FLOAT16 and BFLOAT16");
    };
  }

  static int of(TensorLayout layout) {
    return switch (layout) {
      case HND -> attn4j.TensorLayout.kHND.value;
      case NHD -> attn4j.TensorLayout.kNHD.value;
    };
  }

  static int of(CausalMask mask) {
    return switch (mask) {
      case NONE, TOP_LEFT -> attn4j.CausalAlignment.kTopLeft.value;
      case BOTTOM_RIGHT -> attn4j.CausalAlignment.kBottomRight.value;
    };
  }

  static int of(QuantGranularity granularity) {
    return switch (granularity) {
      case PER_BLOCK -> attn4j.QuantGranularity.kPerBlock.value;
      case PER_WARP -> attn4j.QuantGranularity.kPerWarp.value;
      case PER_THREAD -> attn4j.QuantGranularity.kPerThread.value;
    };
  }

  static int of(PvAccumulator accumulator) {
    return switch (accumulator) {
      case DEFAULT -> attn4j.PvAccumDType.kDefault.value;
      case FP32 -> attn4j.PvAccumDType.kFp32.value;
      case FP16 -> attn4j.PvAccumDType.kFp16.value;
      case FP16_FP32 -> attn4j.PvAccumDType.kFp16Fp32.value;
      case FP32_FP32 -> attn4j.PvAccumDType.kFp32Fp32.value;
      case FP32_FP16 -> attn4j.PvAccumDType.kFp32Fp16.value;
    };
  }

  static int of(NativeKernel kernel) {
    return switch (kernel) {
      case SAGE -> attn4j.AttentionFunction.kSageattn.value;
      case SAGE_QK_INT8_PV_FP16 -> attn4j.AttentionFunction.kSageattnInt8Fp16.value;
      case SAGE_QK_INT8_PV_FP8 -> attn4j.AttentionFunction.kSageattnInt8Fp8.value;
      case SAGE_QK_INT8_PV_FP8_SM90 -> attn4j.AttentionFunction.kSageattnInt8Fp8Sm90.value;
      case SPAS_MEANSIM -> attn4j.AttentionFunction.kSpasMeansim.value;
      case SPAS_MEANSIM_TOPK -> attn4j.AttentionFunction.kSpasMeansimTopk.value;
      case BLOCK_SPARSE -> attn4j.AttentionFunction.kBlockSparse.value;
      case EXACT -> attn4j.AttentionFunction.kExactAttn.value;
    };
  }

  static attn4j.SiteMode of(SparsityRule rule) {
    return switch (rule) {
      case LEARN -> attn4j.SiteMode.kLearn;
      case FROZEN -> attn4j.SiteMode.kFrozen;
      case ALWAYS -> attn4j.SiteMode.kAlways;
    };
  }

  /**
   * A call site's name as a number, the same in every process: FNV-1a of its UTF-16; 0: no name.
   */
  static long ofCallSite(String name) {
    long hash = 0;
    for (int i = 0; i < name.length(); i++) {
      hash = ((i == 0 ? 0xcbf29ce484222325L : hash) ^ name.charAt(i)) * 0x100000001b3L;
    }
    return hash;
  }

  /** What a mask's elements are. */
  static int ofMask(DType dtype) {
    return switch (dtype) {
      case INT8 -> attn4j.MaskType.kSeen.value;
      case FLOAT16 -> attn4j.MaskType.kFloat16.value;
      case BFLOAT16 -> attn4j.MaskType.kBFloat16.value;
      case FLOAT32 -> attn4j.MaskType.kFloat32.value;
      case INT32 -> throw new IllegalStateException("INT32"); // TensorMask refuses it
    };
  }

  /** What the products of matrices read, in words. */
  static String precision(int qk, int pv) {
    return qk == attn4j.Precision.k16Bit.value ? "16-bit" : word(qk) + " Q K, " + word(pv) + " P V";
  }

  private static String word(int precision) {
    if (precision == attn4j.Precision.kInt8.value) {
      return "INT8";
    }
    return precision == attn4j.Precision.kFp8.value ? "FP8" : "16-bit";
  }
}
