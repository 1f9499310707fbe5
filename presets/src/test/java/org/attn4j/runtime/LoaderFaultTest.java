package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.attn4j.runtime.Build.Outcome;
import org.testng.SkipException;
import org.testng.annotations.Test;

/**
 * What is broken, missing or forbidden is a sentence with its own reason, and never the end of the
 * process.
 */
public class LoaderFaultTest extends LoaderTestBase {
  @Test
  public void absentProbeIsASentenceNotAnError() {
    Outcome report = new Child(FIVE).withoutProbe().with("FAKE_CC", "90").report();
    assertEquals(report.value("state"), "DRIVER_ERROR");
    assertTrue(
        report.value("message").endsWith("linux-x86_64 is not on the class path; add it"),
        report.output());
    assertEquals(report.status(), 0);
  }

  @Test
  public void brokenLibraryIsASentenceNotAnError() throws IOException {
    Child child = new Child("90a").with("FAKE_CC", "90");
    Files.writeString(child.classifier("90a").resolve("libattn4j.so"), "not a library");
    Outcome report = child.report();
    assertEquals(report.status(), 0, report.output());
    assertTrue(report.value("failure").contains("could not be loaded"), report.output());
    assertFalse(report.value("failure").contains("; add "), report.output());
  }

  /** As on a system whose libc is older than that of the build. */
  @Test
  public void innermostReasonOfTheLibraryIsKept() throws IOException {
    Child child = new Child("90a").with("FAKE_CC", "90");
    compileUnloadable(child.classifier("90a").resolve("libattn4j.so"));
    Outcome report = child.report();
    assertEquals(report.status(), 0, report.output());
    assertTrue(
        report.value("obstacle").contains("undefined symbol: glibc_of_tomorrow"), report.output());
    assertFalse(report.value("obstacle").contains("; add "), report.output());
  }

  @Test
  public void innermostReasonOfTheProbeIsKept() throws IOException {
    Child child = new Child("90a").with("FAKE_CC", "90").withoutProbe();
    compileUnloadable(child.probe());
    Outcome report = child.report();
    assertEquals(report.status(), 0, report.output());
    assertEquals(report.value("state"), "DRIVER_ERROR", report.output());
    String message = report.value("message");
    assertTrue(message.contains("undefined symbol: glibc_of_tomorrow"), report.output());
    assertFalse(message.contains("add "), report.output());
  }

  @Test
  public void truncatedLibraryIsASentenceNotASignal() throws IOException {
    Child child = new Child("80+PTX 90a").with("FAKE_CC", "90,80");
    Path library = child.classifier("90a").resolve("libattn4j.so");
    Files.writeString(
        Path.of(library + ".crc32"), NativeFile.checksum(library) + System.lineSeparator());
    byte[] bytes = Files.readAllBytes(library);
    Files.write(library, Arrays.copyOf(bytes, bytes.length / 3));
    Outcome report = child.report();
    assertEquals(report.status(), 0, report.output());
    String refusal = report.values("refusal").get(0);
    assertTrue(refusal.startsWith("libattn4j.so is damaged: "), report.output());
    assertTrue(refusal.contains(bytes.length + "; replace " + library), report.output());
    assertEquals(report.values("refusal").get(1), "", report.output());
  }

  @Test
  public void damagedCopyInTheCacheIsMadeAnew() throws IOException {
    Child child = new Child("90a").with("FAKE_CC", "90");
    Path library = child.classifier("90a").resolve("libattn4j.so");
    Files.writeString(Path.of(library + ".crc32"), NativeFile.checksum(library));
    Path jar = child.intoJar("90a");
    assertEquals(child.report().value("obstacle"), "");
    Path copy =
        child.root.resolve(
            "cache/" + jar.getFileName() + "/org/attn4j/natives/linux-x86_64-sm90/libattn4j.so");
    byte[] bytes = Files.readAllBytes(copy);
    bytes[bytes.length / 2] ^= 1; // same size, same time: JavaCPP doesn't see it
    FileTime time = Files.getLastModifiedTime(copy);
    Files.write(copy, bytes);
    Files.setLastModifiedTime(copy, time);
    Outcome report = child.report();
    assertEquals(report.value("obstacle"), "", report.output());
    bytes[bytes.length / 2] ^= 1;
    assertEquals(Files.readAllBytes(copy), bytes);
  }

  @Test
  public void truncatedJarIsNamed() throws IOException {
    Child child = new Child("90a").with("FAKE_CC", "90");
    Path jar = child.intoJar("90a");
    byte[] bytes = Files.readAllBytes(jar);
    Files.write(jar, Arrays.copyOf(bytes, bytes.length / 2));
    Outcome report = child.report();
    assertEquals(report.value("state"), "NO_ARCH_INSTALLED", report.output());
    assertTrue(report.value("message").contains(jar + " is damaged: "), report.output());
    assertFalse(report.value("message").contains("add "), report.output());
  }

  @Test
  public void emptyJarsSayWhy() throws IOException {
    Child child = new Child("90a").with("FAKE_CC", "90");
    Files.delete(child.classifier("90a").resolve("libattn4j.so"));
    Files.writeString(
        child.classifier("90a").resolve("arch.properties"),
        "absent=it was built without natives, as this machine has no nvcc\n");
    Outcome report = child.report();
    assertEquals(report.value("state"), "NO_ARCH_INSTALLED", report.output());
    assertTrue(report.value("failure").contains("(sm90) are empty"), report.output());
    assertTrue(report.value("failure").contains("this machine has no nvcc"), report.output());
  }

  @Test
  public void driverThatCannotBeOpenedIsNotAMissingOne() throws IOException {
    Child child = new Child("90a").with("FAKE_CC", "90");
    Path folder = Files.createDirectory(child.root.resolve("driver"));
    Files.writeString(folder.resolve("libcuda.so.1"), "this is no library, but long enough to be");
    Outcome report = child.with("LD_LIBRARY_PATH", folder.toString()).report();
    assertEquals(report.value("state"), "DRIVER_ERROR", report.output());
    assertTrue(report.value("message").contains("can't be opened: "), report.output());
    assertTrue(report.value("message").contains(folder.toString()), report.output());
    assertFalse(report.value("message").contains("install"), report.output());
  }

  @Test
  public void deniedNativeAccessNamesTheOption() {
    if (Runtime.version().feature() < 24) {
      throw new SkipException("this Java has no --illegal-native-access");
    }
    Outcome report =
        new Child("90a").with("FAKE_CC", "90").option("--illegal-native-access=deny").report();
    assertEquals(report.status(), 0, report.output());
    assertTrue(
        report.value("obstacle").endsWith("start Java with --enable-native-access=ALL-UNNAMED"),
        report.output());
  }

  @Test
  public void ptxOfANewerToolkitNeedsANewerDriver() throws IOException {
    Child child = new Child("80+PTX").with("FAKE_CC", "100").with("FAKE_VERSION", "13000");
    Path properties = child.classifier("80").resolve("arch.properties");
    Files.writeString(properties, Files.readString(properties).replace("13.0", "13.2"));
    Outcome report = child.report();
    assertEquals(report.value("state"), "DRIVER_ERROR", report.output());
    assertTrue(report.value("message").contains("PTX of CUDA 13.2"), report.output());
  }

  @Test
  public void unreadablePropertiesAreIgnored() throws IOException {
    Child child = new Child("86 90a").with("FAKE_CC", "90");
    Files.writeString(child.classifier("86").resolve("arch.properties"), "sass=nonsense\n");
    assertLoaded(child.report(), "sm90");
  }

  @Test
  public void oneLibraryThatCannotBeLoadedLeavesTheOthers() throws IOException {
    Child child = new Child("80+PTX 90a").with("FAKE_CC", "90,80");
    Files.writeString(child.classifier("90a").resolve("libattn4j.so"), "not a library");
    Outcome report = child.report();
    assertEquals(report.value("obstacle"), "", report.output());
    assertTrue(
        report.values("refusal").get(0).contains("the library of sm90 could not be loaded: "),
        report.output());
    assertEquals(report.values("refusal").get(1), "", report.output());
    assertTrue(report.value("summary").contains("sm90 could not be loaded"), report.output());
  }

  @Test
  public void noClassifierIsASentenceNotAnError() {
    Outcome report = new Child("").with("FAKE_CC", "90").report();
    assertEquals(report.value("state"), "NO_ARCH_INSTALLED");
    assertTrue(report.value("failure").contains("attn4j-native:linux-x86_64-sm90"));
    assertEquals(report.status(), 0);
  }

  @Test
  public void driverTooOldForTheLibrary() {
    Outcome report = new Child(FIVE).with("FAKE_VERSION", "12040").with("FAKE_CC", "90").report();
    assertEquals(report.value("state"), "DRIVER_ERROR");
    assertTrue(report.value("message").contains("CUDA 12.4"), report.output());
  }

  private static void compileUnloadable(Path library) throws IOException {
    Path source = Files.createTempFile("unloadable", ".c");
    Files.writeString(
        source, "int glibc_of_tomorrow(void); int f(void) { return glibc_of_tomorrow(); }");
    Outcome gcc =
        Build.run(
            List.of(
                "gcc",
                "-shared",
                "-fPIC",
                "-Wl,-z,now",
                "-o",
                library.toString(),
                source.toString()),
            Map.of());
    Files.delete(source);
    assertEquals(gcc.status(), 0, gcc.output());
  }
}
