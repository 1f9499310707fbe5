package org.attn4j.backend;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;

import java.util.List;
import java.util.Map;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.SparsityDecisions;
import org.attn4j.SparsityDecisions.Site;
import org.attn4j.SparsityDecisions.State;
import org.attn4j.SparsityProfiles;
import org.attn4j.SparsityRule;
import org.attn4j.TensorShape;
import org.attn4j.runtime.NativeLibrary;
import org.testng.SkipException;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** Call sites in the native library's table, which needs the library, and no GPU. */
public class CallSiteTest {
  private static final NativeKernel KERNEL = NativeKernel.SPAS_MEANSIM;

  @BeforeMethod
  public void forget() {
    NativeLibrary.loadFailure()
        .ifPresent(
            failure -> {
              throw new SkipException("no native library: " + failure);
            });
    if (NativeCallSite.of(KERNEL, request(SparsityRule.LEARN, "")) == null) {
      throw new SkipException("the library has no kernel of SpargeAttn");
    }
    SparsityDecisions.forget();
  }

  private static AttentionRequest request(SparsityRule rule, String name) {
    return AttentionRequest.builder()
        .q(tensor(1))
        .k(tensor(2))
        .v(tensor(3))
        .o(tensor(4))
        .options(AttentionOptions.builder().sparsityRule(rule).callSite(name).build())
        .build();
  }

  private static DeviceTensor tensor(long place) {
    DeviceMemory memory = DeviceMemory.wrap(0, place << 32, 1L << 32); // nothing reads it
    return DeviceTensor.view(memory, 0, DType.FLOAT16, TensorShape.contiguous(1, 4, 16384, 64));
  }

  private static CallSite site(AttentionRequest request) {
    return NativeCallSite.of(KERNEL, request);
  }

  /** What a file says of a site, as another process has learnt it. */
  private static SparsityDecisions learnt(AttentionRequest request, State state, float share) {
    site(request);
    Site now = SparsityDecisions.ofThisProcess().sites().get(0);
    Site then = new Site(now.key(), state, share, now.needed(), List.of(1), 0, 0);
    return SparsityDecisions.of(List.of(then));
  }

  @Test
  public void frozenSitesAreAsTheyWereRestored() {
    AttentionRequest request = request(SparsityRule.FROZEN, "layer 3");
    assertFalse(site(request).decide(request), "nothing is known");
    SparsityDecisions sparse = learnt(request, State.SPARSE, 0.5f);
    SparsityDecisions.forget();
    String file = SparsityProfiles.of("m", Map.of()).withDecisions(sparse).toJson();
    SparsityDecisions read = SparsityProfiles.fromJson(file).decisions();
    assertEquals(read, sparse);
    read.restore();
    for (int i = 0; i < 20; i++) {
      assertTrue(site(request).decide(request));
    }
    CallSite.Standing standing = site(request).standing(request);
    assertTrue(standing.sparse() && standing.known());
    assertEquals(standing.calls(), 20);
    assertEquals(standing.sparseCalls(), 20);
    assertTrue(
        standing.phrase().startsWith("50.0 % of the blocks is left out and it pays from "),
        standing.phrase());
    assertEquals(SparsityDecisions.ofThisProcess().sites().get(0).denseHeads(), List.of(1));
    AttentionRequest other = request(SparsityRule.FROZEN, "layer 4");
    assertFalse(site(other).decide(other), "another name is another site");
  }

  @Test
  public void explainCountsNothing() {
    AttentionRequest request = request(SparsityRule.LEARN, "");
    CallSite.Standing standing = site(request).standing(request);
    assertFalse(standing.known() || standing.sparse());
    assertEquals(standing.calls(), 0);
    assertTrue(
        standing.phrase().startsWith("no call of this site has reported yet"), standing.phrase());
    assertTrue(standing.needed() > 0 && standing.needed() < 0.5, standing.toString());
  }

  @Test
  public void aForgottenSiteIsFoundAgain() {
    AttentionRequest request = request(SparsityRule.FROZEN, "a");
    SparsityDecisions sparse = learnt(request, State.SPARSE, 0.5f);
    CallSite site = site(request);
    SparsityDecisions.forget();
    assertNull(site.standing(request));
    assertFalse(site.decide(request));
    sparse.restore();
    assertTrue(site.decide(request));
  }

  /** A request asked in between must not get another's plan. */
  @Test
  public void sitesLeaveAnswersAlone() {
    AttentionRequest small =
        AttentionRequest.builder()
            .q(tensor(1))
            .k(tensor(2))
            .v(tensor(3))
            .o(tensor(4))
            .options(AttentionOptions.builder().smoothK(false).build())
            .build();
    AttentionRequest large = request(SparsityRule.LEARN, "b");
    Support first = NativeAttention.supports(NativeKernel.SAGE, small);
    site(large);
    Support second = NativeAttention.supports(NativeKernel.SAGE, large);
    assertNotEquals(second.plan(), first.plan());
    site(large);
    assertEquals(NativeAttention.supports(NativeKernel.SAGE, large).plan(), second.plan());
  }

  @Test
  public void namesBecomeNumbers() {
    assertEquals(NativeCodes.ofCallSite(""), 0);
    assertEquals(NativeCodes.ofCallSite("a"), 0xaf63dc4c8601ec8cL); // FNV-1a's own test vector
    assertNotEquals(NativeCodes.ofCallSite("ab"), NativeCodes.ofCallSite("ba"));
  }
}
