package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
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
      {"8.6 8.6+PTX", "sm86: family 86, code 86 86+PTX"},
      {"8.6+PTX,8.6", "sm86: family 86, code 86 86+PTX"},
      {"9.0 9.0a", "sm90: family 90, code 90a"},
      {"10.0a;10.0f;10.0", "sm100: family 80, code 100"},
      {"Ampere", "sm80: family 80, code 80|sm86: family 86, code 86 86+PTX"},
      {"Ampere+Tegra;Ada", "sm87: family 86, code 87|sm89: family 89, code 89 89+PTX"},
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
      {"hopper", "'hopper' is misspelt"},
      {"Volta", "'7.0+PTX': there are no kernels for it"},
      {"*", "'*' is misspelt"},
      {"8.6 9.0+ptx", "'9.0+ptx' is misspelt"},
      {"7.5", "'7.5': there are no kernels for it"},
      {"8.6;6.1", "'6.1': there are no kernels for it"},
      {"99.9", "'99.9': there are no kernels for it"},
      {"8.6a", "arch-specific code starts at 9.0a"},
      {"9.0f", "family-specific code starts at 10.0f"},
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

  /** PyTorch takes +PTX behind any entry; that of arch-specific code would run nowhere else. */
  @Test
  public void ptxThatRunsNowhereElseIsLeftOutAloud() {
    for (String list : new String[] {"Hopper", "9.0+PTX", "9.0a+PTX"}) {
      Outcome outcome = check("-archs=" + list);
      assertEquals(outcome.status(), 0, outcome.output());
      List<String> lines = outcome.output().lines().toList();
      assertEquals(lines.size(), 2, outcome.output());
      assertTrue(lines.get(0).contains("sm_90a runs on no other device"), outcome.output());
      assertTrue(lines.get(1).endsWith("sm90: family 90, code 90a"), outcome.output());
    }
  }

  /** A container sets the list for PyTorch's sake: nobody asked us for 7.5. */
  @Test
  public void aPresetListStopsOnlyRequiredNatives() {
    Map<String, String> preset = Map.of("TORCH_CUDA_ARCH_LIST", "7.5 8.6 sm_90 12.0+PTX");
    Outcome auto = Build.run(List.of("bash", SCRIPT, "-archs=", "check"), preset);
    assertEquals(auto.status(), 0, auto.output());
    String left = "TORCH_CUDA_ARCH_LIST in the environment: left out: entry ";
    assertTrue(auto.output().contains(left + "'7.5': there are no kernels"), auto.output());
    assertTrue(auto.output().contains(left + "'sm_90' is misspelt"), auto.output());
    assertTrue(auto.output().contains("sm86: family 86, code 86\n"), auto.output());
    assertTrue(auto.output().contains("code 120 120+PTX"), auto.output());
    Outcome required = Build.run(List.of("bash", SCRIPT, "-natives=required", "check"), preset);
    assertEquals(required.status(), 2, required.output());
    Outcome skip = Build.run(List.of("bash", SCRIPT, "-natives=skip", "check"), preset);
    assertEquals(skip.output().strip(), "cppbuild: natives=skip: nothing would be built");
  }

  @Test
  public void aPresetListWithoutAnythingForUsLeavesTheJavaSide() throws IOException {
    Tools tools = Tools.make("13.0", 0);
    Outcome outcome = tools.install("auto", Map.of("TORCH_CUDA_ARCH_LIST", "7.0 7.5+PTX"));
    assertEquals(outcome.status(), 0, outcome.output());
    assertTrue(outcome.output().contains("the Java side alone"), outcome.output());
    assertTrue(outcome.output().contains("names nothing that can be built"), outcome.output());
  }

  @Test
  public void anOlderNvccLeavesTheJavaSide() throws IOException {
    Tools tools = Tools.make("12.4", 0);
    Outcome auto = tools.install("auto", Map.of());
    assertEquals(auto.status(), 0, auto.output());
    assertEquals(auto.output().lines().count(), 1, auto.output());
    assertTrue(auto.output().contains("nvcc is of CUDA 12.4"), auto.output());
    assertFalse(auto.output().contains("TORCH_CUDA_ARCH_LIST"), "nobody set it");
    assertEquals(tools.install("skip", Map.of()).status(), 0);
    Outcome required = tools.install("required", Map.of());
    assertEquals(required.status(), 2, required.output());
    assertTrue(required.output().contains("nvcc is of CUDA 12.4"), required.output());
  }

  /** A g++ that is newer than nvcc takes, or half an installation. */
  @Test
  public void anNvccThatCompilesNothingLeavesTheJavaSide() throws IOException {
    Tools tools = Tools.make("13.0", 1);
    Outcome auto = tools.install("auto", Map.of());
    assertEquals(auto.status(), 0, auto.output());
    assertTrue(auto.output().contains("error: unsupported GNU version"), auto.output());
    assertEquals(tools.install("required", Map.of()).status(), 2);
  }

  /** As after a move or a copy of the checkout, or a mount into a container. */
  @Test
  public void aBuildTreeOfAnotherPlaceIsMadeAfresh() throws IOException {
    Tools tools = Tools.make("13.0", 0);
    Path tree = Files.createDirectories(tools.folder().resolve("target/cppbuild"));
    Path cache = tree.resolve("CMakeCache.txt");
    String generator = "CMAKE_GENERATOR:INTERNAL=Ninja\nCMAKE_GENERATOR:INTERNAL=Unix Makefiles\n";
    Files.writeString(cache, generator + "CMAKE_HOME_DIRECTORY:INTERNAL=/elsewhere/src/main/cpp\n");
    Outcome outcome = tools.install("auto", Map.of());
    assertTrue(outcome.output().contains("this cmake builds nothing"), outcome.output());
    assertFalse(Files.exists(cache), "the cache of another place was kept");
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
    assertTrue(
        check("-platform=windows-x86_64").output().contains("linux-x86_64 and linux-arm64 are"));
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

  /** An nvcc and a cmake that build nothing, in front of the real tools. */
  private record Tools(Path folder) {
    static Tools make(String release, int statusOfNvcc) throws IOException {
      Path folder = Files.createTempDirectory("attn4j fake tools");
      script(
          folder.resolve("nvcc"),
          "case \"$1\" in --list-gpu-code) printf 'sm_80\\nsm_86\\nsm_89\\nsm_90\\nsm_120\\n' ;;"
              + " --version) echo 'Cuda compilation tools, release "
              + release
              + ", V"
              + release
              + ".0' ;; *) echo 'error: unsupported GNU version' >&2; exit "
              + statusOfNvcc
              + " ;; esac");
      script(
          folder.resolve("cmake"),
          "if [ \"$1\" = --version ]; then echo 'cmake version 3.25.1'; else"
              + " echo 'this cmake builds nothing' >&2; exit 1; fi");
      return new Tools(folder);
    }

    private static void script(Path file, String body) throws IOException {
      Files.writeString(file, "#!/bin/sh\n" + body + "\n");
      assertTrue(file.toFile().setExecutable(true));
    }

    Outcome install(String natives, Map<String, String> more) {
      Map<String, String> environment = new HashMap<>(Map.of("TORCH_CUDA_ARCH_LIST", ""));
      environment.put("CUDACXX", folder.resolve("nvcc").toString());
      environment.put("PATH", folder + ":" + System.getenv("PATH"));
      environment.putAll(more);
      String output = "-output=" + folder.resolve("target");
      return Build.run(
          List.of("bash", SCRIPT, "-natives=" + natives, output, "install"), environment);
    }
  }

  private static Outcome check(String argument) {
    List<String> command = new ArrayList<>(List.of("bash", SCRIPT, argument, "check"));
    return Build.run(command, Map.of("TORCH_CUDA_ARCH_LIST", "", "EXTENSION", ""));
  }
}
