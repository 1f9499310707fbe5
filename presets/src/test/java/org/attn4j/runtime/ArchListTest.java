package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;

import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** Whatever lists architectures by hand agrees with src/main/cpp/archs.list. */
public class ArchListTest {
  private final List<String> known = new ArrayList<>(); // "sm80"
  private final List<String> released = new ArrayList<>();
  private final List<String> entries = new ArrayList<>(); // "8.0+PTX"

  @BeforeClass
  public void readTheList() throws IOException {
    for (String line : read("src/main/cpp/archs.list").split("\n")) {
      if (line.startsWith("#") || line.isBlank()) {
        continue;
      }
      String[] columns = line.trim().split("\\s+");
      String name = "sm" + columns[0].replace(".", "");
      known.add(name);
      if (!columns[3].equals("-")) {
        assertEquals(columns[3].replace("+PTX", ""), columns[0], "the entry is of its own line");
        released.add(name);
        entries.add(columns[3]);
      }
    }
    assertEquals(released, List.of("sm80", "sm86", "sm89", "sm90", "sm120"), "README names five");
  }

  private static String read(String file) throws IOException {
    return Files.readString(Build.ROOT.resolve(file));
  }

  /** The first groups of all matches, in the order of the text, each once. */
  private static List<String> found(String text, String pattern) {
    List<String> all = new ArrayList<>();
    Matcher matcher = Pattern.compile(pattern).matcher(text);
    while (matcher.find()) {
      if (!all.contains(matcher.group(1))) {
        all.add(matcher.group(1));
      }
    }
    return all;
  }

  @Test
  public void theLoaderRecommendsWhatIsReleased() {
    assertEquals(ArchSelector.RELEASED.stream().map(arch -> "sm" + arch).toList(), released);
  }

  @Test
  public void theWorkflowBuildsWhatIsReleased() throws IOException {
    String workflow = read(".github/workflows/native.yml");
    assertEquals(found(workflow, "classifier: linux-x86_64-(sm\\d+)"), released);
    assertEquals(found(workflow, "\\{arch: \"?([^,\"]+)\"?,"), entries);
  }

  @Test
  public void thePomsHaveAJarForEach() throws IOException {
    String presets = read("presets/pom.xml");
    List<String> jars = found(presets, "<classifier>\\$\\{javacpp.platform}-(sm\\d+)</classifier>");
    assertEquals(jars.subList(0, released.size()), released);
    assertEquals(jars.stream().sorted().toList(), known.stream().sorted().toList());
    assertEquals(found(presets, "natives/\\$\\{javacpp.platform}-(sm\\d+)/libattn4j.so"), released);
    assertEquals(
        found(read("platform/pom.xml"), "<classifier>\\$\\{javacpp.platform}-(sm\\d+)<"), released);
    assertEquals(
        found(read("bom/pom.xml"), "<classifier>\\$\\{javacpp.platform}-(sm\\d+)<"), released);
    assertEquals(found(read("src/pom.xml"), "\\$\\{natives.dir}/(sm\\d+)<"), released);
  }

  @Test
  public void theReadmeTellsOfEach() throws IOException {
    assertEquals(found(read("README.md"), "\\| `linux-x86_64-(sm\\d+)` \\|"), released);
  }
}
