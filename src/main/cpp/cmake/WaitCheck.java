import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Counts, in sm_90a machine code, the waits for warpgroup multiplies that have exponentials before
 * them. ptxas likes to move a wait to the top of its basic block, and the exponentials that should
 * hide the multiplies below it; nothing warns of that (docs/hopper.md, "What the compiler must be
 * told"). A program of one file that needs the JDK alone.
 *
 * <pre>
 * java WaitCheck.java CUBIN WAITS EXPONENTIALS        fails unless every kernel has WAITS such
 *                                                     waits, each behind EXPONENTIALS or more that
 *                                                     follow the last multiply; more are fine
 * java WaitCheck.java CUBIN WAITS EXPONENTIALS amid   the same, but those between the multiplies
 *                                                     of a wait count too
 * </pre>
 */
final class WaitCheck {
  // The low 12 bits of an instruction, 128 bits long; read off what ptxas 13.0 makes of known code.
  private static final int EX2 = 0x308;
  private static final int WARPGROUP = 0x9c5; // arrive, and wait (depbar)
  private static final int IGMMA = 0x9f1; // s8, A in shared memory
  private static final int QGMMA = 0xdf3; // e4m3, A in registers

  private WaitCheck() {}

  public static void main(String[] args) throws IOException {
    boolean amid = args.length == 4 && args[3].equals("amid");
    if (args.length != 3 && !amid) {
      System.err.println("usage: java WaitCheck.java CUBIN WAITS EXPONENTIALS [amid]");
      System.exit(2);
    }
    int waits = Integer.parseInt(args[1]);
    int exponentials = Integer.parseInt(args[2]);
    ByteBuffer elf = ByteBuffer.wrap(Files.readAllBytes(Path.of(args[0])));
    elf.order(ByteOrder.LITTLE_ENDIAN);
    long table = elf.getLong(0x28);
    int entry = elf.getShort(0x3a);
    int count = elf.getShort(0x3c);
    int names = offset(elf, table + (long) entry * elf.getShort(0x3e));
    int kernels = 0;
    boolean good = true;
    for (int i = 0; i < count; i++) {
      int header = Math.toIntExact(table + (long) i * entry);
      String name = string(elf, names + elf.getInt(header));
      if (!name.startsWith(".text.")) {
        continue;
      }
      int start = offset(elf, header);
      int end = start + Math.toIntExact(elf.getLong(header + 32));
      int found = hidden(elf, start, end, exponentials, amid);
      kernels++;
      if (found < waits) {
        System.err.printf(
            "%s: %d waits for multiplies have %d exponentials before them, %d should%n",
            name.substring(".text.".length()), found, exponentials, waits);
        good = false;
      }
    }
    if (kernels == 0) {
      System.err.println(args[0] + ": no kernel inside");
    }
    System.exit(good && kernels > 0 ? 0 : 1);
  }

  /**
   * Waits with at least `least` exponentials between them and their last (amid: first) multiply.
   */
  private static int hidden(ByteBuffer elf, int start, int end, int least, boolean amid) {
    int hidden = 0;
    int exponentials = -1; // since the last multiply; -1: none is in flight
    for (int at = start; at < end; at += 16) {
      int opcode = elf.getShort(at) & 0xfff;
      if (opcode == IGMMA || opcode == QGMMA) {
        exponentials = amid ? Math.max(exponentials, 0) : 0;
      } else if (opcode == EX2 && exponentials >= 0) {
        exponentials++;
      } else if (opcode == WARPGROUP && exponentials >= 0) {
        hidden += exponentials >= least ? 1 : 0;
        exponentials = -1;
      }
    }
    return hidden;
  }

  private static int offset(ByteBuffer elf, long header) {
    return Math.toIntExact(elf.getLong(Math.toIntExact(header) + 24));
  }

  private static String string(ByteBuffer elf, int at) {
    int end = at;
    while (elf.get(end) != 0) {
      end++;
    }
    byte[] bytes = new byte[end - at];
    elf.get(at, bytes);
    return new String(bytes, StandardCharsets.UTF_8);
  }
}
