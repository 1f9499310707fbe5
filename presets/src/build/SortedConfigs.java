import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * Sorts the entries of the native-image configuration that JavaCPP wrote: it writes them in the
 * order of a hash table, which is another in every build. Run by Maven (presets/pom.xml):
 *
 * <pre>{@code java SortedConfigs.java FOLDER}</pre>
 */
final class SortedConfigs {
  private SortedConfigs() {}

  public static void main(String[] args) throws IOException {
    try (Stream<Path> files = Files.walk(Path.of(args[0]))) {
      for (Path file : files.filter(path -> path.toString().endsWith("-config.json")).toList()) {
        Files.writeString(file, sorted(Files.readString(file)));
      }
    }
  }

  /** A list of objects, each at an indentation of two; what looks otherwise stays as it is. */
  private static String sorted(String json) {
    List<String> lines = json.lines().toList();
    List<String> entries = new ArrayList<>();
    StringBuilder entry = new StringBuilder();
    if (lines.size() < 2 || !lines.get(0).equals("[") || !lines.get(lines.size() - 1).equals("]")) {
      return json;
    }
    for (String line : lines.subList(1, lines.size() - 1)) {
      entry.append(entry.isEmpty() ? "" : "\n").append(line.equals("  },") ? "  }" : line);
      if (line.startsWith("  }")) {
        entries.add(entry.toString());
        entry.setLength(0);
      }
    }
    entries.sort(null);
    return entry.isEmpty() ? "[\n" + String.join(",\n", entries) + "\n]\n" : json;
  }
}
