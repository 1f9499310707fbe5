package org.attn4j.samples;

import static org.testng.Assert.assertEquals;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.attn4j.SdpaBackend;
import org.testng.annotations.Test;

/** What the demo says about the backends that it doesn't run. */
public class BackendChoiceTest {
  @Test
  public void aReasonIsGivenOnce() {
    Map<String, String> leftOut = new LinkedHashMap<>();
    leftOut.put("sparge", "no driver");
    leftOut.put("sage", "no driver");
    leftOut.put("pytorch", "not here");
    assertEquals(
        new BackendChoice(List.of(SdpaBackend.CPU), leftOut).whyLeftOut(),
        List.of("sparge, sage stay out: no driver", "pytorch stays out: not here"));
  }
}
