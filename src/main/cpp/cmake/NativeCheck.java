import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SortedSet;
import java.util.TreeSet;

/**
 * Reads a built library and says what is really inside. A program of one file that needs the JDK
 * alone, because cuobjdump, readelf and python are not on every build machine.
 *
 * <pre>
 * java NativeCheck.java fatbin LIBRARY CODE...   fails unless each fat binary holds exactly these: 90a, 80+PTX, ...
 * java NativeCheck.java symbols LIBRARY          prints the exported symbols
 * java NativeCheck.java needed LIBRARY           prints the shared libraries that it links to
 * </pre>
 */
final class NativeCheck {
  private static final int FATBIN_MAGIC = 0xBA55ED50;
  private static final int KIND_PTX = 1;
  private static final int KIND_CUBIN = 2;
  // Bits of a fat binary entry's flags; seen in what nvcc 13.0 writes for sm_90a and sm_120f.
  private static final long FLAG_ARCH_SPECIFIC = 1L << 20;
  private static final long FLAG_FAMILY_SPECIFIC = 1L << 21;
  private static final int SHT_DYNAMIC = 6;
  private static final int SHT_DYNSYM = 11;
  private static final long DT_NEEDED = 1;

  private record Section(String name, int type, int link, ByteBuffer bytes) {}

  private NativeCheck() {}

  public static void main(String[] args) throws IOException {
    if (args.length < 2) {
      System.err.println("usage: java NativeCheck.java fatbin|symbols|needed LIBRARY [CODE...]");
      System.exit(2);
    }
    List<Section> sections = sections(Path.of(args[1]));
    switch (args[0]) {
      case "fatbin" -> {
        List<String> asked = Arrays.asList(args).subList(2, args.length);
        List<String> faults = fatbinFaults(sections, new TreeSet<>(asked));
        faults.forEach(fault -> System.err.println(args[1] + ": " + fault));
        System.exit(faults.isEmpty() ? 0 : 1);
      }
      case "symbols" -> exportedSymbols(sections).forEach(System.out::println);
      case "needed" -> needed(sections).forEach(System.out::println);
      default -> throw new IllegalArgumentException("unknown operation " + args[0]);
    }
  }

  // -------------------------------------------------------------------------------- fat binaries

  /** One sentence per fat binary whose content is not what was asked for. */
  private static List<String> fatbinFaults(List<Section> sections, SortedSet<String> asked) {
    List<SortedSet<String>> found = new ArrayList<>();
    for (Section section : sections) {
      if (section.name().equals(".nv_fatbin")) {
        found.addAll(fatbins(section.bytes()));
      }
    }
    List<String> faults = new ArrayList<>();
    if (found.isEmpty()) {
      faults.add("no device code inside");
    }
    for (SortedSet<String> content : found) {
      if (!content.equals(asked)) {
        faults.add("a fat binary holds " + content + " where " + asked + " was asked for");
      }
    }
    return faults;
  }

  /**
   * The code inside each fat binary of a section, such as [80, 80+PTX]. Fat binaries without any
   * code are left out.
   */
  private static List<SortedSet<String>> fatbins(ByteBuffer section) {
    List<SortedSet<String>> result = new ArrayList<>();
    int at = 0;
    while (at + 16 <= section.limit()) {
      if (section.getInt(at) != FATBIN_MAGIC) {
        at += 8; // the linker pads between fat binaries
        continue;
      }
      int begin = at + section.getShort(at + 6);
      int end = begin + Math.toIntExact(section.getLong(at + 8));
      SortedSet<String> content = new TreeSet<>();
      for (int entry = begin; entry < end; ) {
        content.add(codeName(section, entry));
        entry += section.getInt(entry + 4) + Math.toIntExact(section.getLong(entry + 8));
      }
      if (!content.isEmpty()) {
        result.add(content);
      }
      at = end;
    }
    return result;
  }

  private static String codeName(ByteBuffer section, int entry) {
    int kind = section.getShort(entry);
    int arch = section.getInt(entry + 0x1c);
    long flags = section.getLong(entry + 0x28);
    String suffix =
        (flags & FLAG_ARCH_SPECIFIC) != 0 ? "a" : (flags & FLAG_FAMILY_SPECIFIC) != 0 ? "f" : "";
    return switch (kind) {
      case KIND_CUBIN -> arch + suffix;
      case KIND_PTX -> arch + suffix + "+PTX";
      default -> arch + suffix + "+unknown kind " + kind;
    };
  }

  // ----------------------------------------------------------------------------------------- ELF

  private static List<Section> sections(Path library) throws IOException {
    ByteBuffer file = ByteBuffer.wrap(Files.readAllBytes(library)).order(ByteOrder.LITTLE_ENDIAN);
    if (file.limit() < 64 || file.getInt(0) != 0x464c457f || file.get(4) != 2) {
      throw new IOException(library + " is no 64-bit ELF file");
    }
    int table = Math.toIntExact(file.getLong(0x28));
    int entrySize = file.getShort(0x3a);
    int count = file.getShort(0x3c);
    int names = contentOffset(file, table + file.getShort(0x3e) * entrySize);
    List<Section> result = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int header = table + i * entrySize;
      int type = file.getInt(header + 4);
      boolean hasContent = type != 0 && type != 8; // SHT_NULL, SHT_NOBITS
      int size = hasContent ? Math.toIntExact(file.getLong(header + 0x20)) : 0;
      int offset = hasContent ? contentOffset(file, header) : 0;
      ByteBuffer bytes = file.slice(offset, size).order(ByteOrder.LITTLE_ENDIAN);
      String name = string(file, names + file.getInt(header));
      result.add(new Section(name, type, file.getInt(header + 0x28), bytes));
    }
    return result;
  }

  private static int contentOffset(ByteBuffer file, int header) {
    return Math.toIntExact(file.getLong(header + 0x18));
  }

  private static String string(ByteBuffer bytes, int offset) {
    int end = offset;
    while (bytes.get(end) != 0) {
      end++;
    }
    byte[] text = new byte[end - offset];
    bytes.get(offset, text);
    return new String(text, StandardCharsets.UTF_8);
  }

  private static SortedSet<String> exportedSymbols(List<Section> sections) {
    SortedSet<String> result = new TreeSet<>();
    for (Section section : sections) {
      if (section.type() != SHT_DYNSYM) {
        continue;
      }
      ByteBuffer names = sections.get(section.link()).bytes();
      for (int symbol = 0; symbol < section.bytes().limit(); symbol += 24) {
        int definedIn = section.bytes().getShort(symbol + 6);
        if (definedIn != 0) {
          result.add(string(names, section.bytes().getInt(symbol)));
        }
      }
    }
    return result;
  }

  private static SortedSet<String> needed(List<Section> sections) {
    SortedSet<String> result = new TreeSet<>();
    for (Section section : sections) {
      if (section.type() != SHT_DYNAMIC) {
        continue;
      }
      ByteBuffer names = sections.get(section.link()).bytes();
      for (int entry = 0; entry < section.bytes().limit(); entry += 16) {
        if (section.bytes().getLong(entry) == DT_NEEDED) {
          result.add(string(names, Math.toIntExact(section.bytes().getLong(entry + 8))));
        }
      }
    }
    return result;
  }
}
