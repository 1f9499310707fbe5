package org.attn4j.torch;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.testng.Assert;
import org.testng.annotations.Test;

/**
 * What the library asks of the system that loads it: glibc 2.28 and the libstdc++ of GCC 8, as in
 * Debian 10 and Red Hat Enterprise Linux 8, and nothing of libtorch or CUDA.
 */
public class HookBinaryTest {
  @Test
  public void oldSystemsCanLoadIt() throws IOException {
    Hooked.requireNatives();
    String binary = read();
    assertNotAbove(binary, "GLIBC_", 2, 28, 0);
    assertNotAbove(binary, "GLIBCXX_", 3, 4, 25);
    assertNotAbove(binary, "CXXABI_", 1, 3, 11);
  }

  @Test
  public void itLinksTheSystemAlone() throws IOException {
    Hooked.requireNatives();
    Set<String> needed = new TreeSet<>();
    Matcher names = Pattern.compile("\0((lib|ld)[-\\w+]+\\.so\\.\\d+)\0").matcher(read());
    for (int from = 0; names.find(from); from = names.end() - 1) {
      needed.add(names.group(1));
    }
    Assert.assertEquals(
        needed,
        Set.of(
            "ld-linux-x86-64.so.2",
            "libc.so.6",
            "libdl.so.2",
            "libgcc_s.so.1",
            "libm.so.6",
            "libstdc++.so.6"));
  }

  private static String read() throws IOException {
    try (InputStream stream =
        HookLibrary.class.getResourceAsStream("linux-x86_64/libattn4jtorch.so")) {
      return new String(stream.readAllBytes(), StandardCharsets.ISO_8859_1);
    }
  }

  /** Version names stand in the table of strings; each is one that the library needs. */
  private static void assertNotAbove(String binary, String prefix, int... highest) {
    Matcher versions = Pattern.compile("\0" + prefix + "([0-9.]+)(?=\0)").matcher(binary);
    int found = 0;
    while (versions.find()) {
      found++;
      String[] parts = versions.group(1).split("\\.");
      for (int i = 0; i < parts.length; i++) {
        int part = Integer.parseInt(parts[i]);
        Assert.assertTrue(part <= highest[i], "the library needs " + versions.group());
        if (part < highest[i]) {
          break;
        }
      }
    }
    Assert.assertTrue(found > 0, "no version " + prefix + " was found");
  }
}
