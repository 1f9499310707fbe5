package org.attn4j.server.diffusion;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import org.testng.SkipException;
import org.testng.annotations.Test;

/** The weights that this build ships, if it ships any. */
public class BuildModelTest {
  private static final int MOST_BYTES = 6_000_000;

  private static Model model() throws IOException {
    return Model.ofBuild()
        .orElseThrow(
            () -> new SkipException("this build has no weights: the model isn't trained yet"));
  }

  @Test
  public void weightsAreSmallAndSayWhereTheyComeFrom() throws IOException {
    ModelFacts facts = model().facts();
    assertTrue(facts.commit().matches("[0-9a-f]{40}"), facts.commit());
    assertTrue(facts.sides().contains(128), facts.sides().toString());
    for (String name : new String[] {"model.safetensors", "model.pt"}) {
      try (InputStream in = Model.class.getResourceAsStream(Model.RESOURCES + name)) {
        assertTrue(in.readAllBytes().length <= MOST_BYTES, name);
      }
    }
  }

  /** A picture, unlike noise, has neighbours that are alike. */
  @Test
  public void itPaintsWhatIsNoNoise() throws IOException {
    Model model = model();
    int side = model.facts().sides().get(0);
    float[] x =
        Sampler.DDIM.sample(
            model.onCpu(null),
            Sampler.noise(side, 1),
            side,
            model.words(model.facts().words().get(1)),
            8,
            1,
            (number, millis) -> {});
    double neighbours = 0;
    double all = 0;
    for (int i = 1; i < x.length; i++) {
      neighbours += i % side == 0 ? 0 : (x[i] - x[i - 1]) * (x[i] - x[i - 1]);
      all += x[i] * x[i];
    }
    assertEquals(x.length, 3 * side * side);
    // In noise a pixel differs from its neighbour by twice what it is from 0, squared.
    assertTrue(neighbours < 0.5 * all, neighbours + " of " + all);
  }
}
