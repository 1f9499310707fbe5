import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import javax.tools.ToolProvider;

/**
 * Gives each folder of natives, which becomes a JAR, a module descriptor and the service that makes
 * the module system resolve it. Run by Maven (presets/pom.xml):
 *
 * <pre>java NativeModules.java FOLDER PLATFORM</pre>
 *
 * where FOLDER holds base, sm80, sm86, ...
 */
public final class NativeModules {
  private static final String BINDINGS = "org.attn4j.natives";
  private static final String SERVICE = "org.attn4j.runtime.NativesModule";

  private NativeModules() {}

  public static void main(String[] args) throws IOException {
    Path natives = Path.of(args[0]);
    String prefix = BINDINGS + "." + args[1].replace('-', '.');
    Path work = Files.createTempDirectory("attn4j-modules");
    try (Stream<Path> list = Files.list(natives)) {
      List<Path> folders =
          list.filter(Files::isDirectory).filter(folder -> !folder.endsWith("link")).toList();
      compile(folders, prefix, work);
      for (Path folder : folders) {
        copy(work.resolve("out").resolve(module(folder, prefix)), folder);
      }
    } finally {
      try (Stream<Path> files = Files.walk(work)) {
        for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(file);
        }
      }
    }
  }

  private static String module(Path folder, String prefix) {
    return folder.endsWith("base") ? prefix : prefix + "." + folder.getFileName();
  }

  /** All of them in one run, against a stub of the module that they require. */
  private static void compile(List<Path> folders, String prefix, Path work) throws IOException {
    Path sources = work.resolve("src");
    write(sources, BINDINGS, "module-info", "module %s { exports org.attn4j.runtime; }", BINDINGS);
    write(
        sources,
        BINDINGS,
        SERVICE,
        "package org.attn4j.runtime; public interface NativesModule {}");
    List<String> modules = new ArrayList<>();
    for (Path folder : folders) {
      String module = module(folder, prefix);
      modules.add(module);
      write(
          sources,
          module,
          "module-info",
          "module %1$s { requires %2$s; provides %3$s with %1$s.Natives; }",
          module,
          BINDINGS,
          SERVICE);
      write(
          sources,
          module,
          module + ".Natives",
          "package %s; public final class Natives implements %s {}",
          module,
          SERVICE);
    }
    String out = work.resolve("out").toString();
    // -module: it advises against digits at the end of a name, which our classifiers have.
    String[] options = {
      "-Xlint:-module",
      "--release",
      "17",
      "-d",
      out,
      "--module-source-path",
      sources.toString(),
      "--module"
    };
    List<String> command = new ArrayList<>(List.of(options));
    command.add(String.join(",", modules));
    int status =
        ToolProvider.getSystemJavaCompiler()
            .run(null, System.out, System.err, command.toArray(String[]::new));
    if (status != 0) {
      throw new IOException("javac ended with " + status);
    }
  }

  private static void write(Path sources, String module, String type, String text, Object... names)
      throws IOException {
    Path file = sources.resolve(module).resolve(type.replace('.', '/') + ".java");
    Files.createDirectories(file.getParent());
    Files.writeString(file, text.formatted(names));
  }

  private static void copy(Path from, Path to) throws IOException {
    try (Stream<Path> files = Files.walk(from)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        Path target = to.resolve(from.relativize(file));
        Files.createDirectories(target.getParent());
        Files.copy(file, target, StandardCopyOption.REPLACE_EXISTING);
      }
    }
  }
}
