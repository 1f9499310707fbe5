package org.attn4j.cli;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.testng.annotations.Test;

/** Files as numpy.save writes them. */
public class NpyFileTest {
  /** Writes a file with a header of version 1. */
  static Path file(String type, String shape, byte[] data) throws IOException {
    return file(type, "False", shape, data);
  }

  private static Path file(String type, String fortran, String shape, byte[] data)
      throws IOException {
    String header =
        "{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }".formatted(type, fortran, shape);
    header = header + " ".repeat(117 - header.length()) + "\n"; // numpy pads to 64 bytes
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.write(new byte[] {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (byte) header.length(), 0});
    out.write(header.getBytes(StandardCharsets.ISO_8859_1));
    out.write(data);
    Path file = Files.createTempFile("attn4j", ".npy");
    Files.write(file, out.toByteArray());
    return file;
  }

  @Test
  public void readsSinglesAndHalves() throws Exception {
    ByteBuffer singles = ByteBuffer.allocate(24).order(ByteOrder.LITTLE_ENDIAN);
    for (float value : new float[] {1, -2.5f, 1e-9f, Float.POSITIVE_INFINITY, 0, 7}) {
      singles.putFloat(value);
    }
    NpyFile read = NpyFile.read(file("<f4", "1, 1, 2, 3", singles.array()));
    assertEquals(read.sizes(), new long[] {1, 1, 2, 3});
    assertEquals(read.values(), new float[] {1, -2.5f, 1e-9f, Float.POSITIVE_INFINITY, 0, 7});
    ByteBuffer halves = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    halves
        .putShort((short) 0x3c00)
        .putShort((short) 0xc000)
        .putShort((short) 1)
        .putShort((short) 0);
    assertEquals(
        NpyFile.read(file("<f2", "1, 2, 1, 2", halves.array())).values(),
        new float[] {1, -2, 0x1p-24f, 0});
  }

  @Test
  public void refusesOthersWithASentence() throws Exception {
    refuses(file("<f4", "1, 1, 2, 3", new byte[23]), "is cut off: it has 23 bytes of 24");
    refuses(file("<f8", "1, 1, 2, 3", new byte[48]), "holds <f8; float16 and float32");
    refuses(file("<f4", "True", "1, 1, 2, 3", new byte[24]), "in Fortran order");
    refuses(file("<f4", "2, 3", new byte[24]), "has the shape (2, 3); four sizes");
    refuses(file("<f4", "99999, 99999, 99999, 99999", new byte[1]), "is too large");
    refuses(Files.writeString(Files.createTempFile("attn4j", ".npy"), "no"), "is no .npy file");
    assertThrows(IOException.class, () -> NpyFile.read(Path.of("no-such-file")));
  }

  private static void refuses(Path file, String sentence) {
    IOException e = expectThrows(IOException.class, () -> NpyFile.read(file));
    assertTrue(e.getMessage().contains(sentence), e.getMessage());
  }
}
