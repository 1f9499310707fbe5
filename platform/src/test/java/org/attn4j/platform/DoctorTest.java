package org.attn4j.platform;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.attn4j.Attention;
import org.attn4j.runtime.NativeLibrary;
import org.testng.annotations.Test;

/** The doctor, run as a user runs it: in a JVM of its own, with the real JARs. */
public class DoctorTest {
  private static final String CLASS_PATH = System.getProperty("java.class.path");

  @Test
  public void reportsEverythingAndItsStatusFollowsTheGpu() throws Exception {
    Report report = report(CLASS_PATH, Map.of());
    String output = report.output();
    boolean gpu = NativeLibrary.gpuObstacle().isEmpty();
    assertEquals(report.status(), gpu ? 0 : 1, output);
    for (String line :
        new String[] {"system", "settings", "driver", "found", "choice", "library", "verdict"}) {
      assertTrue(output.contains("\n" + line) || output.startsWith(line), line + " in\n" + output);
    }
    assertTrue(output.contains(NativeLibrary.selection().message()), output);
    Attention.backends()
        .forEach(backend -> assertTrue(output.contains("\n" + backend.name() + " "), output));
  }

  @Test
  public void misspeltSettingsAreReported() throws Exception {
    Report variable = report(CLASS_PATH, Map.of("LD_DISABLE_SAGE_ATTENTION", "maybe"));
    assertEquals(variable.status(), 1, variable.output());
    assertTrue(
        variable
            .output()
            .contains(
                "settings  the environment variable LD_DISABLE_SAGE_ATTENTION is maybe; 1, true,"),
        variable.output());
    for (String property :
        new String[] {
          "-Dorg.attn4j.backend=sageattention", "-Dorg.attn4j.sparsity.cdfthreshd=many"
        }) {
      Report report = report(CLASS_PATH, Map.of(), property);
      assertEquals(report.status(), 1, report.output());
      assertTrue(report.output().contains("settings  the system property org.attn4j."), property);
      assertTrue(report.output().contains("verdict   every call ends"), report.output());
      assertFalse(report.output().contains("Exception"), report.output());
    }
  }

  @Test
  public void variableTakesWhatPeopleWrite() throws Exception {
    Report report = report(CLASS_PATH, Map.of("LD_DISABLE_SAGE_ATTENTION", "True"));
    assertTrue(
        report.output().contains("sage      not ready: LD_DISABLE_SAGE_ATTENTION switches it off"),
        report.output());
  }

  @Test
  public void aloneItSaysWhatIsMissing() throws Exception {
    String classes =
        Path.of(Doctor.class.getProtectionDomain().getCodeSource().getLocation().toURI())
            .toString();
    Report report = report(classes, Map.of());
    assertEquals(report.status(), 2, report.output());
    assertTrue(report.output().contains("run java -cp CLASSPATH org.attn4j.Doctor"));
  }

  @Test
  public void forProgramsItIsOneJsonObject() throws Exception {
    Report report = run(CLASS_PATH, Map.of(), List.of(), "--json");
    boolean gpu = NativeLibrary.gpuObstacle().isEmpty();
    assertEquals(report.status(), gpu ? 0 : 1, report.output());
    JsonObject json = new Gson().fromJson(report.output(), JsonObject.class);
    assertEquals(json.get("ready").getAsBoolean(), gpu);
    assertEquals(json.get("state").getAsString(), NativeLibrary.selection().state().name());
    assertEquals(json.get("choice").getAsString(), NativeLibrary.selection().message());
    assertEquals(
        json.getAsJsonArray("backends").size(), Attention.backends().size(), report.output());
    assertEquals(json.has("trials"), gpu, "kernels run where there is a GPU");
  }

  @Test
  public void otherArgumentsAreRefused() throws Exception {
    Report report = run(CLASS_PATH, Map.of(), List.of(), "--jsn");
    assertEquals(report.status(), 2);
    assertEquals(
        report.output().strip(),
        "the argument is --jsn; accepted is nothing, or --json for one JSON object instead of lines");
  }

  private record Report(int status, String output) {}

  private static Report report(String classPath, Map<String, String> environment, String... options)
      throws Exception {
    return run(classPath, environment, List.of(options));
  }

  private static Report run(
      String classPath, Map<String, String> environment, List<String> options, String... args)
      throws Exception {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(options);
    command.addAll(List.of("-cp", classPath, Doctor.class.getName()));
    command.addAll(List.of(args));
    ProcessBuilder builder = new ProcessBuilder(command);
    if (List.of(args).contains("--json")) { // a program reads stdout; newer JDKs warn on stderr
      builder.redirectError(ProcessBuilder.Redirect.DISCARD);
    } else {
      builder.redirectErrorStream(true);
    }
    builder.environment().putAll(environment);
    Process process = builder.start();
    String output = new String(process.getInputStream().readAllBytes());
    return new Report(process.waitFor(), output);
  }
}
