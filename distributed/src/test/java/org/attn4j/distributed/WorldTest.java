package org.attn4j.distributed;

import static org.testng.Assert.assertEquals;

import java.io.IOException;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Runs {@link WorldScenarios}. */
public class WorldTest {
  @DataProvider
  public Object[][] scenarios() {
    return new Object[][] {
      {"refusals"},
      {"taken port"},
      {"never comes"},
      {"no store"},
      {"same rank twice"},
      {"threads"},
      {"agent"}
    };
  }

  @Test(dataProvider = "scenarios")
  public void scenario(String name) throws IOException, InterruptedException {
    try (Processes process = Processes.start(1, WorldScenarios.class, name)) {
      Processes.Ended ended = process.awaitSuccess(100).get(0);
      assertEquals(ended.line("passed"), name, "" + ended);
    }
  }
}
