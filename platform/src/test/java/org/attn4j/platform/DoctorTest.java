package org.attn4j.platform;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.nio.file.Path;
import java.util.List;
import org.attn4j.Attention;
import org.attn4j.runtime.NativeLibrary;
import org.testng.annotations.Test;

/** The doctor, run as a user runs it: in a JVM of its own, with the real JARs. */
public class DoctorTest {
  @Test
  public void reportsEverythingAndItsStatusFollowsTheGpu() throws Exception {
    Process process =
        new ProcessBuilder(
                List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "-cp",
                    System.getProperty("java.class.path"),
                    Doctor.class.getName()))
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes());
    boolean gpu = NativeLibrary.gpuObstacle().isEmpty();
    assertEquals(process.waitFor(), gpu ? 0 : 1, output);
    for (String line : new String[] {"system", "driver", "found", "choice", "library", "verdict"}) {
      assertTrue(output.contains("\n" + line) || output.startsWith(line), line + " in\n" + output);
    }
    assertTrue(output.contains(NativeLibrary.selection().message()), output);
    Attention.backends()
        .forEach(backend -> assertTrue(output.contains("\n" + backend.name() + " "), output));
  }
}
