package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Profiles as JSON: one layer, and many of a model. */
public class SparsityProfileTest {
  private static final SparsityProfile PROFILE = SparsityTunerTest.PROFILE;

  /** As the first version wrote them. */
  private static final String OLD =
      """
      {
        "simthreshd1": [0.2, 1.0],
        "cdfthreshd": [0.90625, 1.0],
        "pvthreshd": [15.0, 32.0],
        "l1": [0.04, 0.5],
        "sparsity": [0.25, 0.0]
      }
      """;

  @Test
  public void aFileKeepsTheProfile() throws IOException {
    Path file = Files.createTempFile("profile", ".json");
    try {
      PROFILE.save(file);
      assertEquals(SparsityProfile.load(file), PROFILE);
    } finally {
      Files.delete(file);
    }
  }

  @Test
  public void aFileWithoutAVersionLoads() {
    SparsityProfile old = SparsityProfile.fromJson(OLD);
    assertEquals(old.cdfthreshd(), new float[] {0.90625f, 1});
    assertEquals(old.pvthreshd(), new float[] {15, 32});
    assertNotEquals(old, PROFILE);
    assertEquals(SparsityProfile.fromJson(old.toJson()), old);
  }

  @Test
  public void aRowOfNumbersIsALine() {
    String json = SparsityProfile.fromJson(OLD).toJson();
    assertEquals(json, OLD.replace("{\n", "{\n  \"version\": 1,\n"));
  }

  @Test
  public void entriesOfOthersArePassedOver() {
    String json =
        OLD.replace(
            "  \"l1\"",
            "  \"model\": \"flux\", \"tuned\": {\"on\": [[1], {\"a\": null}]}, \"by\": \"é\\n\",\n  \"l1\"");
    assertEquals(SparsityProfile.fromJson(json), SparsityProfile.fromJson(OLD));
  }

  @DataProvider
  public Object[][] heads() {
    return new Object[][] {{0}, {1}, {400}, {400_000}};
  }

  @Test(dataProvider = "heads")
  public void anyNumberOfHeadsComesBackBitForBit(int heads) {
    Random random = new Random(5);
    Map<String, float[]> columns = new LinkedHashMap<>();
    for (String name : List.of("simthreshd1", "cdfthreshd", "pvthreshd", "l1", "sparsity")) {
      float[] values = new float[heads];
      for (int i = 0; i < heads; i++) {
        values[i] = random.nextFloat();
      }
      columns.put(name, values);
    }
    SparsityProfile profile = new SparsityProfile(columns);
    SparsityProfile read = SparsityProfile.fromJson(profile.toJson());
    assertEquals(read, profile);
    assertEquals(read.hashCode(), profile.hashCode());
    assertEquals(read.heads(), heads);
  }

  /** Relative L1 against zeros is 0 / 0. */
  @Test
  public void anErrorThatIsNoNumberIsNull() {
    SparsityProfile profile = SparsityProfile.fromJson(OLD.replace("0.5]", "null]"));
    assertTrue(Float.isNaN(profile.l1()[1]));
    assertTrue(profile.toJson().contains("\"l1\": [0.04, null]"), profile.toJson());
    assertTrue(message(OLD.replace("0.2,", "null,")).contains("simthreshd1 is NaN"));
  }

  @DataProvider
  public Object[][] wrong() {
    return new Object[][] {
      {null, "is null; JSON is needed"},
      {"", "is no valid JSON: End of input at line 1 column 1 path $"},
      {"[1]", "has begin array at $; an object is needed"},
      {OLD.replace("}", ""), "is no valid JSON: End of input"},
      {OLD + "x", "is no valid JSON: "},
      {OLD + "{}", "is no valid JSON: "},
      {OLD.replace(",\n", "\n"), "is no valid JSON: Unterminated object"},
      {OLD.replace("1.0", "0x1p0"), "is no valid JSON: "},
      {OLD.replace("1.0", "1.0f"), "is no valid JSON: "},
      {OLD.replace("1.0", "\"1\""), "has string at $.simthreshd1[1]; a number is needed"},
      {OLD.replace("[0.2, 1.0]", "0.2"), "has number at $.simthreshd1; an array of numbers"},
      {OLD.replace("l1", "l2"), "has no entry 'l1'"},
      {OLD.replace("[0.25,", "[0.25, 0.5,"), "has 3 values of sparsity and 2 of simthreshd1;"},
      {OLD.replace("l1", "pvthreshd"), "has two entries 'pvthreshd' at $.pvthreshd"},
      {OLD.replace("{\n", "{ \"version\": 2,\n"), "is of version 2; this attn4j reads version 1"},
      {OLD.replace("{\n", "{ \"version\": \"1\",\n"), "has string at $.version; a number is"},
      {"{\"a\":".repeat(10_000), "is no valid JSON: "},
      {"{\"layers\": {}}", "holds a model of 0 layers; SparsityProfiles reads it"},
    };
  }

  @Test(dataProvider = "wrong")
  public void anythingElseIsRefusedInOneSentence(String json, String sentence) {
    String message = message(json);
    assertTrue(message.startsWith("the sparsity profile " + sentence), message);
    assertEquals(message.lines().count(), 1, message);
  }

  @Test
  public void thresholdsAreThoseOfOptions() {
    assertTrue(message(OLD.replace("0.90625", "1.5")).contains("1.5;"));
  }

  private static String message(String json) {
    return expectThrows(
            InvalidAttentionArgumentException.class, () -> SparsityProfile.fromJson(json))
        .getMessage();
  }

  private static SparsityProfiles model() {
    Map<String, SparsityProfile> layers = new LinkedHashMap<>();
    layers.put("blocks.1.attn \"a\"", PROFILE);
    layers.put("blocks.0.attn", SparsityProfile.fromJson(OLD));
    return SparsityProfiles.of("flux \u2713", layers);
  }

  @Test
  public void aFileKeepsTheLayersOfAModel() throws IOException {
    SparsityProfiles model = model();
    Path file = Files.createTempFile("profiles", ".json");
    try {
      model.save(file);
      SparsityProfiles read = SparsityProfiles.load(file);
      assertEquals(read, model);
      assertEquals(read.hashCode(), model.hashCode());
      assertEquals(read.model(), "flux \u2713");
      assertEquals(List.copyOf(read.layers().keySet()), List.copyOf(model.layers().keySet()));
      assertEquals(read.layer("blocks.0.attn"), SparsityProfile.fromJson(OLD));
    } finally {
      Files.delete(file);
    }
  }

  @Test
  public void whatIsWrongWithALayerNamesIt() {
    String json = model().toJson();
    for (String bad : Arrays.asList("0.90625", "0.2")) {
      assertTrue(
          modelMessage(json.replace(bad, "-7")).startsWith("layer 'blocks."),
          modelMessage(json.replace(bad, "-7")));
    }
    assertTrue(
        modelMessage(json.replace("blocks.0.attn", "blocks.1.attn \\\"a\\\"")).contains("two"));
    assertTrue(modelMessage(OLD).contains("SparsityProfile reads it"));
    assertTrue(modelMessage("{}").contains("has no entry 'layers'"));
    InvalidAttentionArgumentException absent =
        expectThrows(InvalidAttentionArgumentException.class, () -> model().layer("x"));
    assertTrue(absent.getMessage().contains("has no layer 'x'; it has [blocks.1"));
    expectThrows(
        InvalidAttentionArgumentException.class, () -> SparsityProfiles.of(null, Map.of()));
  }

  private static String modelMessage(String json) {
    return expectThrows(
            InvalidAttentionArgumentException.class, () -> SparsityProfiles.fromJson(json))
        .getMessage();
  }
}
