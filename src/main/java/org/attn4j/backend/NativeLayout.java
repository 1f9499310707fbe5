package org.attn4j.backend;

import org.attn4j.natives.AttentionParams;
import org.attn4j.natives.BlockGrid;
import org.attn4j.natives.KeyWindow;
import org.attn4j.natives.MaskView;
import org.attn4j.natives.PackedSequences;
import org.attn4j.natives.PlanAddresses;
import org.attn4j.natives.PlanFacts;
import org.attn4j.natives.PlanHandle;
import org.attn4j.natives.PlanRequest;
import org.attn4j.natives.SiteDecision;
import org.attn4j.natives.SiteFacts;
import org.attn4j.natives.SparsityParams;
import org.attn4j.natives.TensorView;
import org.attn4j.natives.Workspace;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.Pointer;

/**
 * Where the fields of the plan's structs lie in one block of memory that Java writes and the
 * library reads. The offsets are those that the C++ compiler gave the structs: JavaCPP's glue tells
 * them when it is loaded, so a header that changed can't be read wrongly.
 */
final class NativeLayout {
  private static final int ALIGNMENT = 64;

  /** A tensor's fields, within it. */
  static final int DATA = offset(TensorView.class, "data");

  static final int SIZES = offset(TensorView.class, "size");
  static final int STRIDES = offset(TensorView.class, "stride");
  static final int DTYPE = offset(TensorView.class, "dtype");

  /** A mask's fields, within it. */
  static final int MASK_DATA = offset(MaskView.class, "data");

  static final int MASK_STRIDES = offset(MaskView.class, "stride");
  static final int MASK_TYPE = offset(MaskView.class, "type");

  // The request.
  private static final int REQUEST_AT = 0;
  private static final int ATTENTION = REQUEST_AT + offset(PlanRequest.class, "attention");
  private static final int SPARSITY = REQUEST_AT + offset(PlanRequest.class, "sparsity");
  static final int FUNCTION = REQUEST_AT + offset(PlanRequest.class, "function");
  static final int DEVICE = REQUEST_AT + offset(PlanRequest.class, "device");
  static final int SITE_KEY = REQUEST_AT + offset(PlanRequest.class, "site_key");
  static final int MULTIPROCESSORS = REQUEST_AT + offset(PlanRequest.class, "multiprocessors");

  static final int Q = ATTENTION + offset(AttentionParams.class, "q");
  static final int K = ATTENTION + offset(AttentionParams.class, "k");
  static final int V = ATTENTION + offset(AttentionParams.class, "v");
  static final int O = ATTENTION + offset(AttentionParams.class, "o");
  static final int LSE = ATTENTION + offset(AttentionParams.class, "lse");
  static final int KV_LENGTHS = ATTENTION + offset(AttentionParams.class, "kv_lengths");
  static final int SEEN = ATTENTION + offset(AttentionParams.class, "seen");
  static final int BIAS = ATTENTION + offset(AttentionParams.class, "bias");
  private static final int WINDOW = ATTENTION + offset(AttentionParams.class, "window");
  static final int WINDOW_LEFT = WINDOW + offset(KeyWindow.class, "left");
  static final int WINDOW_RIGHT = WINDOW + offset(KeyWindow.class, "right");
  static final int WINDOW_PREFIX = WINDOW + offset(KeyWindow.class, "prefix");
  static final int LAYOUT = ATTENTION + offset(AttentionParams.class, "tensor_layout");
  static final int IS_CAUSAL = ATTENTION + offset(AttentionParams.class, "is_causal");
  static final int ALIGN_CAUSAL = ATTENTION + offset(AttentionParams.class, "causal_alignment");
  static final int SM_SCALE = ATTENTION + offset(AttentionParams.class, "sm_scale");
  static final int HAS_SM_SCALE = ATTENTION + offset(AttentionParams.class, "has_sm_scale");
  static final int GRANULARITY = ATTENTION + offset(AttentionParams.class, "qk_quant_gran");
  static final int ACCUMULATOR = ATTENTION + offset(AttentionParams.class, "pv_accum_dtype");
  static final int SMOOTH_K = ATTENTION + offset(AttentionParams.class, "smooth_k");

  private static final int PACKED = ATTENTION + offset(AttentionParams.class, "packed");
  static final int CU_SEQLENS_Q = PACKED + offset(PackedSequences.class, "cu_seqlens_q");
  static final int CU_SEQLENS_K = PACKED + offset(PackedSequences.class, "cu_seqlens_k");
  static final int SEQUENCES = PACKED + offset(PackedSequences.class, "count");
  static final int MAX_SEQLEN_Q = PACKED + offset(PackedSequences.class, "max_seqlen_q");
  static final int MAX_SEQLEN_K = PACKED + offset(PackedSequences.class, "max_seqlen_k");

  static final int SIM = SPARSITY + offset(SparsityParams.class, "simthreshd1");
  static final int SIM_PER_HEAD = SPARSITY + offset(SparsityParams.class, "simthreshd1_per_head");
  static final int CDF = SPARSITY + offset(SparsityParams.class, "cdfthreshd");
  static final int CDF_PER_HEAD = SPARSITY + offset(SparsityParams.class, "cdfthreshd_per_head");
  static final int TOPK = SPARSITY + offset(SparsityParams.class, "topk");
  static final int TOPK_PER_HEAD = SPARSITY + offset(SparsityParams.class, "topk_per_head");
  static final int PV = SPARSITY + offset(SparsityParams.class, "pvthreshd");
  static final int PV_PER_HEAD = SPARSITY + offset(SparsityParams.class, "pvthreshd_per_head");
  static final int SINK = SPARSITY + offset(SparsityParams.class, "attention_sink");
  static final int TOKEN_ORDER = SPARSITY + offset(SparsityParams.class, "token_order");
  static final int BLOCK_MASK = SPARSITY + offset(SparsityParams.class, "block_mask");
  static final int BLOCK_MAP = SPARSITY + offset(SparsityParams.class, "block_map");
  static final int LEFT_OUT = SPARSITY + offset(SparsityParams.class, "sparsity");

  // The addresses of a run.
  static final int ADDRESSES_AT = after(REQUEST_AT, PlanRequest.class);
  static final int RUN_Q = ADDRESSES_AT + offset(PlanAddresses.class, "q");
  static final int RUN_K = ADDRESSES_AT + offset(PlanAddresses.class, "k");
  static final int RUN_V = ADDRESSES_AT + offset(PlanAddresses.class, "v");
  static final int RUN_O = ADDRESSES_AT + offset(PlanAddresses.class, "o");
  static final int RUN_LSE = ADDRESSES_AT + offset(PlanAddresses.class, "lse");
  static final int RUN_LENGTHS = ADDRESSES_AT + offset(PlanAddresses.class, "kv_lengths");
  static final int RUN_SEEN = ADDRESSES_AT + offset(PlanAddresses.class, "seen");
  static final int RUN_BIAS = ADDRESSES_AT + offset(PlanAddresses.class, "bias");
  static final int RUN_CU_SEQLENS_Q = ADDRESSES_AT + offset(PlanAddresses.class, "cu_seqlens_q");
  static final int RUN_CU_SEQLENS_K = ADDRESSES_AT + offset(PlanAddresses.class, "cu_seqlens_k");
  static final int RUN_SIM = ADDRESSES_AT + offset(PlanAddresses.class, "simthreshd1_per_head");
  static final int RUN_CDF = ADDRESSES_AT + offset(PlanAddresses.class, "cdfthreshd_per_head");
  static final int RUN_TOPK = ADDRESSES_AT + offset(PlanAddresses.class, "topk_per_head");
  static final int RUN_PV = ADDRESSES_AT + offset(PlanAddresses.class, "pvthreshd_per_head");
  static final int RUN_MASK = ADDRESSES_AT + offset(PlanAddresses.class, "block_mask");
  static final int RUN_ORDER = ADDRESSES_AT + offset(PlanAddresses.class, "token_order");
  static final int RUN_MAP = ADDRESSES_AT + offset(PlanAddresses.class, "block_map");
  static final int RUN_LEFT_OUT = ADDRESSES_AT + offset(PlanAddresses.class, "sparsity");
  static final int WORKSPACE =
      ADDRESSES_AT + offset(PlanAddresses.class, "workspace") + offset(Workspace.class, "data");
  static final int WORKSPACE_SIZE =
      ADDRESSES_AT + offset(PlanAddresses.class, "workspace") + offset(Workspace.class, "size");
  static final int TRUSTED = ADDRESSES_AT + offset(PlanAddresses.class, "trusted");
  static final int RUN_REPORT = ADDRESSES_AT + offset(PlanAddresses.class, "report");
  static final int RUN_DENSE_HEADS = ADDRESSES_AT + offset(PlanAddresses.class, "dense_heads");

  // What came of it.
  static final int FACTS_AT = after(ADDRESSES_AT, PlanAddresses.class);
  static final int BYTES = FACTS_AT + offset(PlanFacts.class, "workspace_size");
  static final int KERNEL = FACTS_AT + offset(PlanFacts.class, "kernel");
  static final int QK = FACTS_AT + offset(PlanFacts.class, "qk");
  static final int PV_PRECISION = FACTS_AT + offset(PlanFacts.class, "pv");
  static final int LAUNCHES = FACTS_AT + offset(PlanFacts.class, "launches");
  static final int SPARSE_FROM = FACTS_AT + offset(PlanFacts.class, "sparse_from");
  private static final int GRID = FACTS_AT + offset(PlanFacts.class, "grid");
  static final int QUERY_BLOCK = GRID + offset(BlockGrid.class, "query_block");
  static final int KEY_BLOCK = GRID + offset(BlockGrid.class, "key_block");
  static final int QUERY_BLOCKS = GRID + offset(BlockGrid.class, "query_blocks");
  static final int KEY_BLOCKS = GRID + offset(BlockGrid.class, "key_blocks");

  // The plan.
  static final int HANDLE_AT = after(FACTS_AT, PlanFacts.class);
  static final int HANDLE_BYTES = Loader.sizeof(PlanHandle.class);

  // What a call site decides, and how it stands.
  static final int DECISION_AT = after(HANDLE_AT, PlanHandle.class);
  static final int IS_SPARSE = DECISION_AT + offset(SiteDecision.class, "sparse");
  static final int REPORT = DECISION_AT + offset(SiteDecision.class, "report");
  static final int DENSE_HEADS = DECISION_AT + offset(SiteDecision.class, "dense_heads");
  static final int DENSE_HEADS_WORDS = 4;
  static final int STANDING_AT = after(DECISION_AT, SiteDecision.class);
  static final int STATE = STANDING_AT + offset(SiteFacts.class, "state");
  static final int SHARE = STANDING_AT + offset(SiteFacts.class, "share");
  static final int NEEDED = STANDING_AT + offset(SiteFacts.class, "needed");
  static final int CALLS = STANDING_AT + offset(SiteFacts.class, "calls");
  static final int SPARSE_CALLS = STANDING_AT + offset(SiteFacts.class, "sparse_calls");
  static final int TOTAL = after(STANDING_AT, SiteFacts.class);

  private NativeLayout() {}

  private static int offset(Class<? extends Pointer> struct, String field) {
    return Loader.offsetof(
        struct, field); // registered for all structs when the bindings were loaded
  }

  private static int after(int start, Class<? extends Pointer> struct) {
    return (start + Loader.sizeof(struct) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }
}
