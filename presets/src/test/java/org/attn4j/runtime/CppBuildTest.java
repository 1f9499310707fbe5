package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.attn4j.runtime.Build.Outcome;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** cppbuild.sh: what it makes of its arguments, before anything is compiled. */
public class CppBuildTest {
  private static final String SCRIPT = Build.ROOT.resolve("cppbuild.sh").toString();

  @DataProvider
  public Object[][] lists() {
    return new Object[][] {
      {"9.0", "sm90: family 90, code 90a"},
      {"9.0a", "sm90: family 90, code 90a"},
      {"8.6;9.0", "sm86: family 86, code 86|sm90: family 90, code 90a"},
      {"8.6, 8.9", "sm86: family 86, code 86|sm89: family 89, code 89"},
      {" 8.0+PTX  12.0 ", "sm80: family 80, code 80 80+PTX|sm120: family 120, code 120"},
      {
        "8.7;10.0;12.1",
        "sm87: family 86, code 87|sm100: family 80, code 100|sm121: family 120, code 121"
      },
      {"10.0+PTX", "sm100: family 80, code 100 100+PTX"},
      {"8.6 8.6", "sm86: family 86, code 86"},
    };
  }

  @Test(dataProvider = "lists")
  public void translatesLists(String list, String expected) {
    Outcome outcome = check("-archs=" + list);
    assertEquals(outcome.status(), 0, outcome.output());
    List<String> lines =
        outcome.output().lines().map(line -> line.replace("cppbuild: linux-x86_64-", "")).toList();
    assertEquals(lines, Arrays.asList(expected.split("\\|")));
  }

  @Test
  public void defaultIsTheFiveReleased() {
    Outcome outcome = check("-archs=");
    assertEquals(outcome.output().lines().count(), 5, outcome.output());
    assertTrue(outcome.output().contains("sm80: family 80, code 80 80+PTX"), outcome.output());
  }

  @Test
  public void optionWinsOverEnvironment() {
    Map<String, String> environment = Map.of("TORCH_CUDA_ARCH_LIST", "8.6");
    Outcome both = Build.run(List.of("bash", SCRIPT, "-archs=9.0", "check"), environment);
    assertTrue(both.output().contains("sm90") && !both.output().contains("sm86"), both.output());
    Outcome alone = Build.run(List.of("bash", SCRIPT, "-archs=", "check"), environment);
    assertTrue(alone.output().contains("sm86") && !alone.output().contains("sm90"), alone.output());
  }

  @Test
  public void javacppExtensionPicksOneArch() {
    Outcome outcome = Build.run(List.of("bash", SCRIPT, "check"), Map.of("EXTENSION", "-sm80"));
    assertEquals(
        outcome.output().strip(), "cppbuild: linux-x86_64-sm80: family 80, code 80 80+PTX");
  }

  @DataProvider
  public Object[][] rejected() {
    return new Object[][] {
      {"9.x", "'9.x' is misspelt"},
      {"90", "'90' is misspelt"},
      {"Hopper", "'Hopper' is misspelt"},
      {"*", "'*' is misspelt"},
      {"8.6 9.0+ptx", "'9.0+ptx' is misspelt"},
      {"7.5", "'7.5': there are no kernels for it"},
      {"8.6;6.1", "'6.1': there are no kernels for it"},
      {"99.9", "'99.9': there are no kernels for it"},
      {"9.0+PTX", "whose PTX runs on no other device"},
      {"8.6a", "arch-specific code starts at 9.0a"},
      {"9.0f", "family-specific code starts at 10.0f"},
      {"8.6 8.6+PTX", "names sm86 twice"},
    };
  }

  @Test(dataProvider = "rejected")
  public void rejectsBeforeCompiling(String list, String sentence) throws IOException {
    Path output = Files.createTempDirectory("attn4j-cppbuild-test");
    Outcome outcome =
        Build.run(
            List.of("bash", SCRIPT, "-archs=" + list, "-output=" + output, "install"), Map.of());
    assertEquals(outcome.status(), 2, outcome.output());
    assertTrue(outcome.output().contains(sentence), outcome.output());
    assertEquals(output.toFile().list().length, 0, "something was built");
    Files.delete(output);
  }

  @Test
  public void unknownListsWhatIsKnown() {
    assertTrue(check("-archs=7.5").output().contains("8.0, 8.6, 8.7, 8.9, 9.0, 10.0"));
  }

  @Test
  public void codeThatNvccDoesNotKnowIsRejected() throws IOException {
    Path old = Files.createTempFile("nvcc", "");
    Files.writeString(old, "#!/bin/sh\nprintf 'sm_80\\nsm_90\\n'\n");
    assertTrue(old.toFile().setExecutable(true));
    Outcome outcome =
        Build.run(
            List.of("bash", SCRIPT, "-archs=9.0 12.0", "check"), Map.of("CUDACXX", old.toString()));
    Files.delete(old);
    assertEquals(outcome.status(), 2, outcome.output());
    assertTrue(outcome.output().contains("it knows: sm_80 sm_90"), outcome.output());
  }

  @Test
  public void otherMistakesAreNamed() {
    assertTrue(check("-platform=windows-x86_64").output().contains("linux-x86_64 is"));
    assertTrue(check("-extension=-gpu").output().contains("'-gpu' is none of ours"));
    assertTrue(
        check("-natives=perhaps").output().contains("auto, required, skip and prebuilt are"));
    assertTrue(check("--help").output().contains("unknown argument '--help'"));
  }

  @Test
  public void requiredNativesWithoutACompilerFail() throws IOException {
    Outcome outcome = installWithoutTools("required");
    assertEquals(outcome.status(), 2, outcome.output());
    assertTrue(
        outcome.output().contains("natives=required, but this machine has no"), outcome.output());
  }

  @Test
  public void autoWithoutACompilerBuildsTheJavaSideInOneLine() throws IOException {
    Outcome outcome = installWithoutTools("auto");
    assertEquals(outcome.status(), 0, outcome.output());
    assertEquals(outcome.output().lines().count(), 1, outcome.output());
    assertTrue(outcome.output().contains("the Java side alone"), outcome.output());
  }

  /** cmake is hidden by a PATH that holds everything else that the script calls. */
  private static Outcome installWithoutTools(String natives) throws IOException {
    Path folder = Files.createTempDirectory("attn4j-no-tools");
    Path bin = Files.createDirectory(folder.resolve("bin"));
    for (String tool :
        new String[] {
          "bash", "awk", "dirname", "paste", "sed", "rm", "mkdir", "tr", "nproc", "cp"
        }) {
      Path real = Path.of("/usr/bin", tool);
      Files.createSymbolicLink(
          bin.resolve(tool), Files.exists(real) ? real : Path.of("/bin", tool));
    }
    Path output = Files.createDirectory(folder.resolve("target"));
    Outcome outcome =
        Build.run(
            List.of("/bin/bash", SCRIPT, "-natives=" + natives, "-output=" + output, "install"),
            Map.of("PATH", bin.toString(), "CUDACXX", "", "CUDA_HOME", "", "CUDA_PATH", ""));
    assertFalse(Files.exists(output.resolve("natives/link")), "something was built");
    return outcome;
  }

  private static Outcome check(String argument) {
    List<String> command = new ArrayList<>(List.of("bash", SCRIPT, argument, "check"));
    return Build.run(command, Map.of("TORCH_CUDA_ARCH_LIST", "", "EXTENSION", ""));
  }
}
