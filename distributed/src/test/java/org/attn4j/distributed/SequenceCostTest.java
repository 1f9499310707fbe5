package org.attn4j.distributed;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.attn4j.InvalidAttentionArgumentException;
import org.testng.annotations.Test;

/** The cost model is that of bench/sequence_cost.py, and chooses what the study found. */
public class SequenceCostTest {
  private static final double EXACT = 1e-6;

  @Test
  public void costsAreThoseOfTheProgramInBench() throws IOException {
    int cases = 0;
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(
                SequenceCostTest.class.getResourceAsStream("sequence_cost.tsv"),
                StandardCharsets.UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        if (!line.startsWith("#")) {
          check(line);
          cases++;
        }
      }
    }
    assertEquals(cases, 60);
  }

  private static void check(String line) {
    String[] cell = line.split("\t");
    int[] n = new int[9];
    for (int i = 0; i < n.length; i++) {
      n[i] = Integer.parseInt(cell[i]);
    }
    SequenceProblem problem = new SequenceProblem(n[2], n[3], n[4], n[5], n[6], n[7] == 1);
    SequenceCost cost =
        SequenceCost.of(SequenceMesh.of(n[0], n[1]), Cluster.H200.withGpusPerNode(n[8]), problem);
    double[] found = {
      cost.total(), cost.oneGpu(), cost.exchange(), cost.exposed(), cost.merge(), cost.message()
    };
    for (int i = 0; i < found.length; i++) {
      double wanted = Double.parseDouble(cell[9 + i]);
      assertEquals(found[i], wanted, EXACT * Math.abs(wanted) + 1e-15, line + ", figure " + i);
    }
  }

  @Test
  public void ulyssesWithinAMachineAndARingBetween() {
    SequenceProblem wan = SequenceProblem.of(75_600, 40, 40, 128);
    assertEquals(SequenceMesh.choose(8, Cluster.H200, wan), SequenceMesh.of(1, 8));
    assertEquals(SequenceMesh.choose(16, Cluster.H200, wan), SequenceMesh.of(2, 8));
  }

  @Test
  public void headsThatDontDivideCount() {
    SequenceProblem oneHead = SequenceProblem.of(200_000, 1, 1, 128);
    assertEquals(SequenceMesh.choose(4, Cluster.H200, oneHead), SequenceMesh.of(4, 1));
  }

  @Test
  public void explainHasALineForEachMesh() {
    SequenceMesh mesh =
        SequenceMesh.choose(4, Cluster.H200, SequenceProblem.of(75_600, 40, 40, 128));
    String[] lines = mesh.explain().split("\n");
    assertEquals(lines.length, 3);
    assertTrue(lines[0].startsWith(mesh.toString()), lines[0]);
    assertTrue(SequenceMesh.of(2, 2).explain().contains("as asked"));
  }

  @Test
  public void badSizesAreSentences() {
    expectThrows(InvalidAttentionArgumentException.class, () -> SequenceProblem.of(8, 3, 2, 64));
    expectThrows(InvalidAttentionArgumentException.class, () -> Cluster.H200.withGpusPerNode(0));
    expectThrows(
        InvalidAttentionArgumentException.class,
        () -> SequenceMesh.choose(0, Cluster.H200, SequenceProblem.of(8, 2, 2, 64)));
  }
}
