package org.attn4j.server.diffusion;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import org.attn4j.samples.DenoiseDemo;
import org.attn4j.samples.Picture;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** The weights that this build ships. */
public class BuildModelTest {
  private static final int MOST_BYTES = 6_000_000;
  private static final int SIDE = 64;
  private static final int PLANE = SIDE * SIDE;

  private Model model;

  @BeforeClass
  public void read() throws IOException {
    model = Model.ofBuild();
  }

  @Test
  public void weightsAreSmallAndSayWhereTheyComeFrom() throws IOException {
    ModelFacts facts = model.facts();
    assertTrue(facts.commit().matches("[0-9a-f]{40}"), facts.commit());
    assertTrue(facts.sides().contains(128), facts.sides().toString());
    assertEquals(facts.words().size(), 12);
    for (String name : new String[] {"model.safetensors", "model.pt"}) {
      try (InputStream in = Model.class.getResourceAsStream(Model.RESOURCES + name)) {
        byte[] file = in.readAllBytes();
        assertTrue(file.length <= MOST_BYTES, name);
        String text = new String(file, StandardCharsets.ISO_8859_1);
        assertFalse(text.contains("cuda:") || text.contains(".debug_pkl"), "see repack.py");
      }
    }
    try (InputStream in = Model.class.getResourceAsStream(Model.RESOURCES + "model.json")) {
      String json = new String(in.readAllBytes(), StandardCharsets.UTF_8);
      assertFalse(json.contains("/root") || json.contains("/tmp"), "model.json names a machine");
      assertTrue(json.contains("\"licence\"") && json.contains("--stages"), json);
    }
  }

  private static float[] cat() throws IOException {
    try (InputStream in = DenoiseDemo.class.getResourceAsStream("chelsea.png")) {
      Picture square =
          Picture.read(new ByteArrayInputStream(in.readAllBytes()), "chelsea").centreSquare(SIDE);
      float[] x = new float[3 * PLANE];
      for (int i = 0; i < x.length; i++) {
        x[i] = 2 * square.value(i % PLANE, i / PLANE) - 1;
      }
      return x;
    }
  }

  /** One look at a photograph under as much noise finds most of it, in Java and in PyTorch. */
  @Test
  public void itFindsThePhotographUnderItsNoise() throws IOException {
    float[] cat = cat();
    double phi = Math.PI / 4;
    float[] noise = Sampler.noise(SIDE, 3);
    float[] x = new float[cat.length];
    for (int i = 0; i < x.length; i++) {
      x[i] = (float) (Math.cos(phi) * cat[i] + Math.sin(phi) * noise[i]);
    }
    int[] words = model.words("cat");
    float[] v = model.onCpu(null).velocity(x, SIDE, SIDE, phi, words);
    double error = 0;
    double before = 0;
    for (int i = 0; i < x.length; i++) {
      double found = Math.cos(phi) * x[i] - Math.sin(phi) * v[i];
      error += (found - cat[i]) * (found - cat[i]);
      before += noise[i] * noise[i];
    }
    assertTrue(error < before / 20, error + " of " + before);

    float[] torch = model.onTorch().velocity(x, SIDE, SIDE, phi, words);
    double most = 0;
    for (int i = 0; i < v.length; i++) {
      most = Math.max(most, Math.abs(torch[i] - v[i]));
    }
    assertTrue(most < (model.onTorch().onGpu() ? 0.05 : 0.002), "they differ by " + most);
  }

  /** Each channel's mean of a picture for a word. */
  private double[] colour(String word) {
    float[] x =
        Sampler.DDIM.sample(
            model.onCpu(null),
            Sampler.noise(SIDE, 1),
            SIDE,
            model.words(word),
            2,
            1,
            (number, millis) -> {});
    double[] means = new double[3];
    double neighbours = 0;
    double all = 0;
    for (int i = 1; i < x.length; i++) {
      means[i / PLANE] += x[i] / PLANE;
      neighbours += i % SIDE == 0 ? 0 : (x[i] - x[i - 1]) * (x[i] - x[i - 1]);
      all += x[i] * x[i];
    }
    // In noise a pixel differs from its neighbour by twice what it is from 0, squared.
    assertTrue(neighbours < 0.5 * all, word + " is noise: " + neighbours + " of " + all);
    return means;
  }

  /** A galaxy is mostly black, coffee red and brown. */
  @Test
  public void wordsPaintWhatTheySay() {
    double[] galaxies = colour("galaxies");
    double[] coffee = colour("coffee");
    for (double channel : galaxies) {
      assertTrue(channel < -0.7, "galaxies of brightness " + channel);
    }
    assertTrue(coffee[0] - coffee[2] > 0.4, "coffee: red " + coffee[0] + ", blue " + coffee[2]);
  }
}
