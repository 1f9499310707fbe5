package org.attn4j.backend;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.DType;
import org.attn4j.HostTensor;
import org.attn4j.SdpaBackend;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** How the chain follows the decisions of a call site, with backends that only note their runs. */
public class CallSitePlanTest {
  private static final long SPARSE_BYTES = 70;
  private static final long DENSE_BYTES = 40;

  private final List<SdpaBackend> ran = new ArrayList<>();
  private final List<Boolean> decisions = new ArrayList<>(); // to come; false when they run out
  private final AtomicInteger decided = new AtomicInteger();

  private final CallSite site =
      new CallSite() {
        @Override
        public boolean decide(AttentionRequest request) {
          decided.incrementAndGet();
          return !decisions.isEmpty() && decisions.remove(0);
        }

        @Override
        public Standing standing(AttentionRequest request) {
          return null;
        }
      };

  private class Noting implements AttentionBackend {
    private final SdpaBackend name;
    private final long bytes;

    Noting(SdpaBackend name, long bytes) {
      this.name = name;
      this.bytes = bytes;
    }

    @Override
    public SdpaBackend name() {
      return name;
    }

    @Override
    public BackendInfo info() {
      return new BackendInfo(name.id(), true, "yes");
    }

    @Override
    public Support supports(AttentionRequest request) {
      return Support.served("kernel of " + name, bytes);
    }

    @Override
    public void run(AttentionRequest request, Support answer) {
      assertEquals(answer.workspaceBytes(), bytes);
      assertSame(answer.site(), name == SdpaBackend.SPARGE ? site : null);
      ran.add(name);
    }
  }

  private final class Deciding extends Noting {
    Deciding() {
      super(SdpaBackend.SPARGE, SPARSE_BYTES);
    }

    @Override
    public Support plan(AttentionRequest request) {
      return site.decide(request)
          ? supports(request).at(site)
          : Support.refused(CallSite.PAYS_NOT).at(site);
    }
  }

  private final BackendChain chain =
      new BackendChain(
          new Settings(SdpaBackend.AUTO, false),
          List.of(new Deciding(), new Noting(SdpaBackend.SAGE, DENSE_BYTES)),
          System.getLogger("test"));

  @BeforeMethod
  public void reset() {
    ran.clear();
    decisions.clear();
    decided.set(0);
  }

  private static AttentionRequest request() {
    HostTensor tensor = HostTensor.allocate(DType.FLOAT32, 1, 1, 1, 1);
    HostTensor o = HostTensor.allocate(DType.FLOAT32, 1, 1, 1, 1);
    return AttentionRequest.builder()
        .q(tensor)
        .k(tensor)
        .v(tensor)
        .o(o)
        .options(AttentionOptions.DEFAULTS)
        .build();
  }

  @Test
  public void eachCallOfARequestIsDecidedOnce() {
    decisions.addAll(List.of(true, false, false, true, true, false));
    AttentionRequest request = request();
    Plan plan = null;
    for (int i = 0; i < 6; i++) {
      plan = chain.run(request, plan);
    }
    assertEquals(
        ran,
        List.of(
            SdpaBackend.SPARGE,
            SdpaBackend.SAGE,
            SdpaBackend.SAGE,
            SdpaBackend.SPARGE,
            SdpaBackend.SPARGE,
            SdpaBackend.SAGE));
    assertEquals(decided.get(), 6);
  }

  /** Steady state: whatever is decided, the same two objects serve. */
  @Test
  public void plansAreMadeOnce() {
    AttentionRequest request = request();
    decisions.addAll(List.of(true, false, true, false));
    Plan sparse = chain.run(request, null);
    Plan dense = chain.run(request, sparse);
    assertSame(chain.run(request, dense), sparse);
    assertSame(chain.run(request, sparse), dense);
    assertSame(chain.run(request, dense), dense);
  }

  /** The drop-in plans, allocates what the plan says, and runs: that is one call. */
  @Test
  public void aPlannedCallKeepsItsDecision() {
    decisions.addAll(List.of(true, false));
    AttentionRequest request = request();
    Plan plan = chain.plan(request);
    assertEquals(plan.backend(), SdpaBackend.SPARGE);
    assertSame(chain.run(request, plan), plan);
    assertEquals(decided.get(), 1);
    assertEquals(chain.run(request, plan).backend(), SdpaBackend.SAGE);
    assertEquals(decided.get(), 2);
  }

  /** A caller's workspace is for all calls of a request. */
  @Test
  public void workspaceIsForEitherDecision() {
    decisions.addAll(List.of(false, true));
    AttentionRequest request = request();
    Plan plan = chain.plan(request);
    assertEquals(plan.workspaceBytes(), DENSE_BYTES);
    assertEquals(chain.workspaceBytes(request, plan), SPARSE_BYTES);
    assertEquals(decided.get(), 1);
    chain.run(request, plan);
    chain.run(request, plan);
    assertEquals(ran, List.of(SdpaBackend.SAGE, SdpaBackend.SPARGE));
  }
}
