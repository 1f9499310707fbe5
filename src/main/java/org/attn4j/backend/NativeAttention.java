package org.attn4j.backend;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HashMap;
import java.util.Map;
import org.attn4j.AttentionMask;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.AttentionTensor;
import org.attn4j.BlockGrid;
import org.attn4j.CausalMask;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.PackedSequences;
import org.attn4j.SparsityOptions;
import org.attn4j.SparsityTensors;
import org.attn4j.natives.PlanAddresses;
import org.attn4j.natives.PlanFacts;
import org.attn4j.natives.PlanHandle;
import org.attn4j.natives.PlanRequest;
import org.attn4j.natives.SiteDecision;
import org.attn4j.natives.SiteFacts;
import org.attn4j.natives.global.attn4j;
import org.attn4j.runtime.NativeLibrary;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;

/**
 * The only class that touches the generated attention bindings. A thread has one block of memory
 * that Java writes and the library reads: a request is planned with one native call and run with
 * one; a request that runs again needs the second alone. Runs allocate nothing on the Java heap.
 */
final class NativeAttention {
  private static final ThreadLocal<NativeAttention> OF_THREAD =
      ThreadLocal.withInitial(NativeAttention::new);

  private final ByteBuffer memory =
      ByteBuffer.allocateDirect(NativeLayout.TOTAL).order(ByteOrder.nativeOrder());
  private final long base = new Pointer(memory).address();
  private final PlanRequest request = new PlanRequest(new Address(base));
  private final PlanAddresses addresses =
      new PlanAddresses(new Address(base + NativeLayout.ADDRESSES_AT));
  private final PlanFacts facts = new PlanFacts(new Address(base + NativeLayout.FACTS_AT));
  private final PlanHandle handle = new PlanHandle(new Address(base + NativeLayout.HANDLE_AT));

  private final SiteDecision decision =
      new SiteDecision(new Address(base + NativeLayout.DECISION_AT));
  private final SiteFacts standing = new SiteFacts(new Address(base + NativeLayout.STANDING_AT));

  private CallSite decided; // whose decision lies in the memory; null after a run
  private AttentionRequest filled; // what the request's part of the memory holds
  private Support answer; // to `filled`, for answered; null after a run
  private NativeKernel answered;
  private NativePlan loaded; // the plan, with its addresses, that lies in the memory
  private final Map<Long, String> kernelNames = new HashMap<>(); // literals of the library

  private NativeAttention() {}

  /** A Pointer at an address that someone else owns. */
  private static final class Address extends Pointer {
    Address(long value) {
      address = value;
    }
  }

  /** Whether the native library has a kernel for the request, and its plan. */
  static Support supports(NativeKernel kernel, AttentionRequest request) {
    NativeAttention frame = OF_THREAD.get();
    if (frame.answer == null
        || frame.answered != kernel
        || !sameParameters(frame.filled, request)) {
      frame.answer = null;
      frame.answer = frame.plan(kernel, request);
      frame.answered = kernel;
    }
    return frame.answer;
  }

  /** The library's name of the request's call site; negative if no sparse kernel serves it. */
  static long site(NativeKernel kernel, AttentionRequest request) {
    NativeAttention frame = OF_THREAD.get();
    if (frame.filled == null || !sameParameters(frame.filled, request)) {
      frame.answer = null; // both are of what was filled in before
      frame.loaded = null;
    }
    frame.fill(request);
    frame.memory.putInt(NativeLayout.FUNCTION, NativeCodes.of(kernel));
    useLibraryOf(request);
    return attn4j.attention_site(frame.request);
  }

  /** Decides a call of a site and counts it; false if the library has forgotten the site. */
  static boolean decide(CallSite site, long name, AttentionRequest request) {
    NativeAttention frame = OF_THREAD.get();
    useLibraryOf(request);
    int status =
        attn4j.decide_site(
            name,
            NativeCodes.of(request.options().sparsityRule()),
            request.stream().handle(),
            frame.decision);
    frame.decided = status == NativeStatus.OK ? site : null;
    return status == NativeStatus.OK;
  }

  /** Whether this thread's last decision is for SpargeAttn. */
  static boolean decidedSparse() {
    return OF_THREAD.get().memory.get(NativeLayout.IS_SPARSE) != 0;
  }

  /** A call site as it stands; null if the library has forgotten it. */
  static CallSite.Standing standing(long name, AttentionRequest request) {
    NativeAttention frame = OF_THREAD.get();
    useLibraryOf(request);
    if (attn4j.describe_site(name, frame.standing) != NativeStatus.OK) {
      return null;
    }
    ByteBuffer memory = frame.memory;
    int state = memory.getInt(NativeLayout.STATE);
    return new CallSite.Standing(
        state != attn4j.SiteState.kUnknown.value,
        state == attn4j.SiteState.kSparse.value,
        memory.getFloat(NativeLayout.SHARE),
        memory.getFloat(NativeLayout.NEEDED),
        memory.getLong(NativeLayout.CALLS),
        memory.getLong(NativeLayout.SPARSE_CALLS));
  }

  /** Hands a run what its call site decided; nothing, if another one decided last. */
  private void enterDecision(CallSite site) {
    boolean mine = site != null && site == decided;
    decided = null;
    memory.putLong(NativeLayout.RUN_REPORT, mine ? memory.getLong(NativeLayout.REPORT) : 0);
    for (int i = 0; i < NativeLayout.DENSE_HEADS_WORDS; i++) {
      memory.putLong(
          NativeLayout.RUN_DENSE_HEADS + 8 * i,
          mine ? memory.getLong(NativeLayout.DENSE_HEADS + 8 * i) : 0);
    }
  }

  /**
   * Enqueues a planned request. {@code scratch} may be null if the plan needs none; {@code site} is
   * the call site that decided for it, or null.
   */
  static void run(NativePlan plan, AttentionRequest request, DeviceMemory scratch, CallSite site) {
    NativeAttention frame = OF_THREAD.get();
    if (frame.loaded != plan) {
      frame.load(plan, request);
    }
    ByteBuffer memory = frame.memory;
    boolean trusted = plan.trusts(scratch);
    memory.putLong(NativeLayout.WORKSPACE, scratch == null ? 0 : scratch.address());
    memory.putLong(NativeLayout.WORKSPACE_SIZE, scratch == null ? 0 : scratch.byteSize());
    memory.put(NativeLayout.TRUSTED, bit(trusted));
    frame.enterDecision(site);
    frame.filled = null; // don't keep its tensors alive
    frame.answer = null;
    useLibraryOf(request);
    int status = attn4j.run_plan(frame.handle, frame.addresses, request.stream().handle());
    if (status != NativeStatus.OK) {
      throw NativeStatus.exception(status, lastError());
    }
    if (!trusted) {
      plan.trust(scratch);
    }
  }

  /**
   * The blocks of a request.
   *
   * @throws org.attn4j.UnsupportedAttentionException if SpargeAttn can't serve it
   */
  static BlockGrid blockGrid(AttentionRequest request) {
    Support support = supports(NativeKernel.SPAS_MEANSIM, request);
    if (!support.supported()) {
      throw NativeStatus.exception(NativeStatus.UNSUPPORTED, support.reason());
    }
    return support.plan().grid();
  }

  private Support plan(NativeKernel kernel, AttentionRequest request) {
    int status = enterPlan(kernel, request);
    if (status == NativeStatus.OK) {
      loaded = described(kernel);
      if (ownsAll(request)) {
        loaded.trust(null);
      }
      return Support.served(loaded);
    }
    String reason = lastError();
    if (status == NativeStatus.UNSUPPORTED) {
      return Support.refused(reason);
    }
    throw NativeStatus.exception(status, reason);
  }

  /** Whether all memory was allocated here: then it is where we say, and nobody need ask CUDA. */
  private static boolean ownsAll(AttentionRequest request) {
    SparsityTensors tensors = request.sparsityTensors();
    return isOwned(request.q())
        && isOwned(request.k())
        && isOwned(request.v())
        && isOwned(request.o())
        && isOwned(request.lse())
        && isOwned(request.kvLengths())
        && isOwned(seen(request))
        && isOwned(bias(request))
        && isOwned(queryOffsets(request))
        && isOwned(keyOffsets(request))
        && isOwned(tensors.simthreshd1())
        && isOwned(tensors.cdfthreshd())
        && isOwned(tensors.topk())
        && isOwned(tensors.pvthreshd())
        && isOwned(tensors.blockMask())
        && isOwned(tensors.blockMap())
        && isOwned(tensors.sparsity());
  }

  private static boolean isOwned(AttentionTensor tensor) {
    return tensor == null || ((DeviceTensor) tensor).memory().isOwned();
  }

  /** Has the library plan the request; its plan, facts and addresses then lie in the memory. */
  private int enterPlan(NativeKernel kernel, AttentionRequest request) {
    loaded = null;
    fill(request);
    memory.putInt(NativeLayout.FUNCTION, NativeCodes.of(kernel));
    useLibraryOf(request);
    return attn4j.plan_attention(this.request, handle, facts);
  }

  /** A plan is the business of the library that made it: that of the request's device. */
  private static void useLibraryOf(AttentionRequest request) {
    NativeLibrary.use(((DeviceTensor) request.q()).device());
  }

  private NativePlan described(NativeKernel kernel) {
    boolean sparse = memory.getLong(NativeLayout.QUERY_BLOCK) > 0;
    return new NativePlan(
        kernel,
        kernelName(memory.getLong(NativeLayout.KERNEL)),
        NativeCodes.precision(
            memory.getInt(NativeLayout.QK), memory.getInt(NativeLayout.PV_PRECISION)),
        memory.getLong(NativeLayout.BYTES),
        memory.getInt(NativeLayout.LAUNCHES),
        memory.getLong(NativeLayout.SPARSE_FROM),
        sparse
            ? new BlockGrid(
                memory.getLong(NativeLayout.QUERY_BLOCK),
                memory.getLong(NativeLayout.KEY_BLOCK),
                memory.getLong(NativeLayout.QUERY_BLOCKS),
                memory.getLong(NativeLayout.KEY_BLOCKS))
            : null);
  }

  private String kernelName(long address) {
    String known = kernelNames.get(address);
    if (known == null) {
      known = new BytePointer(new Address(address)).getString();
      kernelNames.put(address, known);
    }
    return known;
  }

  /** Puts a plan that was made earlier, or on another thread, into the memory. */
  private void load(NativePlan plan, AttentionRequest request) {
    byte[] copy = plan.handle();
    if (copy != null) {
      loaded = null;
      fillAddresses(request);
      memory.put(NativeLayout.HANDLE_AT, copy);
    } else {
      int status = enterPlan(plan.function(), request);
      if (status != NativeStatus.OK) {
        throw NativeStatus.exception(status, lastError());
      }
      copy = new byte[NativeLayout.HANDLE_BYTES];
      memory.get(NativeLayout.HANDLE_AT, copy);
      plan.handle(copy);
    }
    loaded = plan;
  }

  /** A backend asks what an earlier one asked: the second time everything is in place. */
  private static boolean sameParameters(AttentionRequest a, AttentionRequest b) {
    return a.q() == b.q()
        && a.k() == b.k()
        && a.v() == b.v()
        && a.o() == b.o()
        && a.lse() == b.lse()
        && a.kvLengths() == b.kvLengths()
        && a.mask() == b.mask()
        && a.packed() == b.packed()
        && a.options() == b.options()
        && a.sparsityTensors() == b.sparsityTensors();
  }

  private void fill(AttentionRequest request) {
    if (filled != null && sameParameters(filled, request)) {
      fillAddresses(request);
      return;
    }
    filled = null; // an address may be refused halfway
    fillAddresses(request);
    fill(NativeLayout.Q, request.q());
    fill(NativeLayout.K, request.k());
    fill(NativeLayout.V, request.v());
    fill(NativeLayout.O, request.o());
    memory.putInt(NativeLayout.DEVICE, ((DeviceTensor) request.q()).device());
    memory.putLong(NativeLayout.LSE, address(request.lse()));
    memory.putLong(NativeLayout.KV_LENGTHS, address(request.kvLengths()));
    fillMask(NativeLayout.SEEN, seen(request));
    fillMask(NativeLayout.BIAS, bias(request));
    fillPacked(request.packed());
    AttentionMask masks = request.mask();
    memory.putLong(NativeLayout.WINDOW_LEFT, masks == null ? -1 : masks.windowLeft());
    memory.putLong(NativeLayout.WINDOW_RIGHT, masks == null ? -1 : masks.windowRight());
    memory.putLong(NativeLayout.WINDOW_PREFIX, masks == null ? 0 : masks.windowPrefix());
    AttentionOptions options = request.options();
    memory.putLong(NativeLayout.SITE_KEY, NativeCodes.ofCallSite(options.callSite()));
    CausalMask mask = options.causalMask();
    memory.putInt(NativeLayout.LAYOUT, NativeCodes.of(options.layout()));
    memory.put(NativeLayout.IS_CAUSAL, bit(mask != CausalMask.NONE));
    memory.putInt(NativeLayout.ALIGN_CAUSAL, NativeCodes.of(mask));
    memory.put(NativeLayout.HAS_SM_SCALE, bit(options.hasSmScale()));
    memory.putFloat(NativeLayout.SM_SCALE, options.hasSmScale() ? options.smScale() : 0f);
    memory.putInt(NativeLayout.GRANULARITY, NativeCodes.of(options.quantGranularity()));
    memory.putInt(NativeLayout.ACCUMULATOR, NativeCodes.of(options.pvAccumulator()));
    memory.put(NativeLayout.SMOOTH_K, bit(options.smoothK()));
    fill(options.sparsity(), request.sparsityTensors());
    memory.putLong(NativeLayout.TOKEN_ORDER, memory.getLong(NativeLayout.RUN_ORDER));
    filled = request;
  }

  private void fill(SparsityOptions options, SparsityTensors tensors) {
    memory.putFloat(NativeLayout.SIM, options.simthreshd1());
    memory.putLong(NativeLayout.SIM_PER_HEAD, address(tensors.simthreshd1()));
    memory.putFloat(NativeLayout.CDF, options.cdfthreshd());
    memory.putLong(NativeLayout.CDF_PER_HEAD, address(tensors.cdfthreshd()));
    memory.putFloat(NativeLayout.TOPK, options.topk());
    memory.putLong(NativeLayout.TOPK_PER_HEAD, address(tensors.topk()));
    memory.putFloat(NativeLayout.PV, options.pvthreshd());
    memory.putLong(NativeLayout.PV_PER_HEAD, address(tensors.pvthreshd()));
    memory.put(NativeLayout.SINK, bit(options.attentionSink()));
    memory.putLong(NativeLayout.BLOCK_MASK, address(tensors.blockMask()));
    memory.putLong(NativeLayout.BLOCK_MAP, address(tensors.blockMap()));
    memory.putLong(NativeLayout.LEFT_OUT, address(tensors.sparsity()));
  }

  private void fill(int at, AttentionTensor tensor) {
    memory.putLong(at + NativeLayout.DATA, address(tensor));
    memory.putInt(at + NativeLayout.DTYPE, NativeCodes.of(tensor.dtype()));
    for (int i = 0; i < 4; i++) {
      memory.putLong(at + NativeLayout.SIZES + 8 * i, tensor.size(i));
      memory.putLong(at + NativeLayout.STRIDES + 8 * i, tensor.stride(i));
    }
  }

  private void fillMask(int at, AttentionTensor mask) {
    memory.putLong(at + NativeLayout.MASK_DATA, address(mask));
    if (mask == null) {
      return;
    }
    memory.putInt(at + NativeLayout.MASK_TYPE, NativeCodes.ofMask(mask.dtype()));
    boolean isKeys = mask.shape().rank() == 2; // (batch, keys)
    for (int i = 0; i < 4; i++) {
      int dimension = isKeys ? i / 3 : i;
      boolean repeats = isKeys && (i == 1 || i == 2) || mask.size(dimension) == 1;
      memory.putLong(at + NativeLayout.MASK_STRIDES + 8 * i, repeats ? 0 : mask.stride(dimension));
    }
  }

  private void fillPacked(PackedSequences packed) {
    memory.putLong(NativeLayout.CU_SEQLENS_Q, packed == null ? 0 : address(packed.cuSeqlensQ()));
    memory.putLong(NativeLayout.CU_SEQLENS_K, packed == null ? 0 : address(packed.cuSeqlensK()));
    memory.putLong(NativeLayout.SEQUENCES, packed == null ? 0 : packed.count());
    memory.putLong(NativeLayout.MAX_SEQLEN_Q, packed == null ? 0 : packed.maxSeqlenQ());
    memory.putLong(NativeLayout.MAX_SEQLEN_K, packed == null ? 0 : packed.maxSeqlenK());
  }

  private static AttentionTensor queryOffsets(AttentionRequest request) {
    return request.packed() == null ? null : request.packed().cuSeqlensQ();
  }

  private static AttentionTensor keyOffsets(AttentionRequest request) {
    return request.packed() == null ? null : request.packed().cuSeqlensK();
  }

  private static AttentionTensor seen(AttentionRequest request) {
    return request.mask() == null ? null : request.mask().seen();
  }

  private static AttentionTensor bias(AttentionRequest request) {
    return request.mask() == null ? null : request.mask().bias();
  }

  private void fillAddresses(AttentionRequest request) {
    SparsityTensors tensors = request.sparsityTensors();
    memory.putLong(NativeLayout.RUN_Q, address(request.q()));
    memory.putLong(NativeLayout.RUN_K, address(request.k()));
    memory.putLong(NativeLayout.RUN_V, address(request.v()));
    memory.putLong(NativeLayout.RUN_O, address(request.o()));
    memory.putLong(NativeLayout.RUN_LSE, address(request.lse()));
    memory.putLong(NativeLayout.RUN_LENGTHS, address(request.kvLengths()));
    memory.putLong(NativeLayout.RUN_SEEN, address(seen(request)));
    memory.putLong(NativeLayout.RUN_BIAS, address(bias(request)));
    memory.putLong(NativeLayout.RUN_CU_SEQLENS_Q, address(queryOffsets(request)));
    memory.putLong(NativeLayout.RUN_CU_SEQLENS_K, address(keyOffsets(request)));
    memory.putLong(NativeLayout.RUN_SIM, address(tensors.simthreshd1()));
    memory.putLong(NativeLayout.RUN_CDF, address(tensors.cdfthreshd()));
    memory.putLong(NativeLayout.RUN_TOPK, address(tensors.topk()));
    memory.putLong(NativeLayout.RUN_PV, address(tensors.pvthreshd()));
    memory.putLong(NativeLayout.RUN_MASK, address(tensors.blockMask()));
    memory.putLong(NativeLayout.RUN_ORDER, TokenTables.address(request));
    memory.putLong(NativeLayout.RUN_MAP, address(tensors.blockMap()));
    memory.putLong(NativeLayout.RUN_LEFT_OUT, address(tensors.sparsity()));
  }

  private static byte bit(boolean value) {
    return (byte) (value ? 1 : 0);
  }

  private static long address(AttentionTensor tensor) {
    return tensor == null ? 0 : ((DeviceTensor) tensor).address();
  }

  private static String lastError() {
    BytePointer text = attn4j.last_error();
    String message = text == null || text.isNull() ? "" : text.getString();
    return message.isEmpty() ? "the native library gave no reason" : message;
  }
}
