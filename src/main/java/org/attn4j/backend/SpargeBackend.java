package org.attn4j.backend;

import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.BackendMode;
import org.attn4j.BlockGrid;
import org.attn4j.DeviceTensor;
import org.attn4j.SageKernel;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions.Selection;
import org.attn4j.SparsityRule;

/** SpargeAttn on the GPU. */
final class SpargeBackend extends GpuBackend {
  private final Settings settings;

  SpargeBackend(Settings settings) {
    super(SdpaBackend.SPARGE);
    this.settings = settings;
  }

  @Override
  NativeKernel kernel(AttentionRequest request) {
    return switch (request.options().sparsity().selection()) {
      case MASS, OFF -> NativeKernel.SPAS_MEANSIM; // OFF is refused before it gets here
      case TOPK -> NativeKernel.SPAS_MEANSIM_TOPK;
      case MASK -> NativeKernel.BLOCK_SPARSE;
    };
  }

  @Override
  String refusal(AttentionRequest request) {
    if (request.options().sparsity().selection() == Selection.OFF) {
      return "the options switch sparsity off";
    }
    String order = TokenTables.refusal(request);
    if (order != null) {
      return order;
    }
    // First, as it costs nothing where a call is short.
    return askedFor(request) ? null : SpargeRule.refusal(request);
  }

  /** As the site stands; nothing is counted. */
  @Override
  public Support supports(AttentionRequest request) {
    Support answer = super.supports(request);
    CallSite site = answer.supported() && isOpen(request) ? site(request) : null;
    CallSite.Standing standing = site == null ? null : site.standing(request);
    if (standing == null) {
      return answer;
    }
    boolean tries = !standing.known() && request.options().sparsityRule() == SparsityRule.LEARN;
    return standing.sparse() || tries
        ? answer.with(standing.phrase())
        : Support.refused(standing.phrase());
  }

  @Override
  public Support plan(AttentionRequest request) {
    Support obstacle = obstacle(request);
    if (obstacle != null) {
      return obstacle;
    }
    CallSite site = isOpen(request) ? site(request) : null;
    if (site != null && !site.decide(request)) {
      return Support.refused(CallSite.PAYS_NOT).at(site);
    }
    return answer(request).at(site);
  }

  private CallSite site(AttentionRequest request) {
    return NativeCallSite.of(kernel(request), request);
  }

  /** Whether dense attention may serve instead, so that what earlier calls left out decides. */
  private boolean isOpen(AttentionRequest request) {
    AttentionOptions options = request.options();
    return !askedFor(request)
        && options.sparsityRule() != SparsityRule.ALWAYS
        && (options.mode() != BackendMode.REQUIRE || options.sageKernel() == SageKernel.AUTO)
        && NativeAttention.supports(NativeKernel.SAGE, request).supported();
  }

  @Override
  String misfit(AttentionRequest request, NativePlan plan) {
    BlockGrid grid = plan.grid();
    String wrongSize = wrongSize("blockMask", request.sparsityTensors().blockMask(), grid);
    if (wrongSize == null) {
      wrongSize = wrongSize("blockMap", request.sparsityTensors().blockMap(), grid);
    }
    return wrongSize;
  }

  private static String wrongSize(String name, DeviceTensor tensor, BlockGrid grid) {
    if (tensor == null
        || (tensor.size(2) == grid.queryBlocks() && tensor.size(3) == grid.keyBlocks())) {
      return null;
    }
    return name
        + " has "
        + tensor.size(2)
        + " by "
        + tensor.size(3)
        + " blocks; this request has "
        + grid.queryBlocks()
        + " by "
        + grid.keyBlocks();
  }

  /** Whether the caller wants sparse attention whatever it costs. */
  private boolean askedFor(AttentionRequest request) {
    SdpaBackend chosen = request.options().backend();
    return (chosen == SdpaBackend.AUTO ? settings.backend() : chosen) == SdpaBackend.SPARGE
        || request.sparsityTensors().needSparge();
  }

  @Override
  public BackendInfo info() {
    return settings.quantisedDisabled()
        ? new BackendInfo(name().id(), false, Settings.DISABLED)
        : super.info();
  }
}
