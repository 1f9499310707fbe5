package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.nio.file.Path;
import java.util.List;
import org.testng.annotations.Test;

/** The sentences for libraries that can't be loaded. */
public class LoadFailureTest {
  @Test
  public void innermostReasonIsKept() {
    UnsatisfiedLinkError outer = new UnsatisfiedLinkError("no x in java.library.path");
    outer.initCause(new UnsatisfiedLinkError("/x.so: /x.so: failed to map\n  segment"));
    assertEquals(
        LoadFailure.describe("x", outer, null),
        "x could not be loaded: /x.so: failed to map segment");
    assertEquals(
        LoadFailure.describe(
            "x", new ExceptionInInitializerError(new NullPointerException()), null),
        "x could not be loaded: java.lang.NullPointerException");
  }

  @Test
  public void olderGlibcIsNamed() {
    String reason = "/lib/libc.so.6: version `GLIBC_2.34' not found (required by /x.so)";
    assertEquals(
        LoadFailure.describe("x", reason, null),
        "x could not be loaded: " + reason + "; this system's glibc is older than GLIBC 2.34");
  }

  @Test
  public void deniedNativeAccessNamesTheOption() {
    Throwable thrown =
        new ExceptionInInitializerError(new IllegalCallerException("Illegal native access"));
    assertEquals(
        LoadFailure.describe("x", thrown, null),
        "x could not be loaded: Illegal native access; start Java with"
            + " --enable-native-access=ALL-UNNAMED");
  }

  /** The remedy follows from what the kernel says of the mounts, not from the words alone. */
  @Test
  public void noexecIsCheckedBeforeItIsNamed() {
    List<String> mounts =
        List.of(
            "20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw",
            "21 20 0:20 / /nowhere/cache rw,nosuid,noexec,relatime shared:1 - tmpfs tmpfs rw",
            "22 21 0:21 / /nowhere/cache/run rw,nosuid - tmpfs tmpfs rw",
            "23 20 0:22 / /nowhere/with\\040blank rw,noexec - tmpfs tmpfs rw");
    assertTrue(LoadFailure.isNoexec(Path.of("/nowhere/cache/a/x.so"), mounts));
    assertTrue(LoadFailure.isNoexec(Path.of("/nowhere/with blank/x.so"), mounts));
    assertFalse(LoadFailure.isNoexec(Path.of("/nowhere/cache/run/x.so"), mounts));
    assertFalse(LoadFailure.isNoexec(Path.of("/nowhere/cached/x.so"), mounts));
    String reason = "failed to map segment from shared object";
    Path java = Path.of(System.getProperty("java.home"), "bin", "java"); // it runs: not noexec
    assertEquals(LoadFailure.describe("x", reason, java), "x could not be loaded: " + reason);
  }
}
