package org.attn4j.pytorch.samples;

import static org.testng.Assert.assertEquals;

import java.io.IOException;
import java.lang.reflect.Modifier;
import java.net.URI;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.attn4j.Attention;
import org.attn4j.pytorch.Attn4j;
import org.testng.annotations.Test;

/** That {@link WildcardImports}, which the compiler checks, names all that there is. */
public class WildcardImportsTest {
  @Test
  public void everyPublicTypeIsTried() throws Exception {
    Set<String> tried = new TreeSet<>();
    Arrays.stream(WildcardImports.OURS).map(Class::getName).forEach(tried::add);
    Set<String> there = publicTypes(Attention.class);
    there.addAll(publicTypes(Attn4j.class));
    assertEquals(tried, there);
  }

  /** The public top-level types of a class's package, from where the class was loaded. */
  private static Set<String> publicTypes(Class<?> one) throws Exception {
    String folder = "/" + one.getPackageName().replace('.', '/');
    URI place = one.getProtectionDomain().getCodeSource().getLocation().toURI();
    if (Files.isDirectory(Path.of(place))) {
      return publicTypes(Path.of(place).resolve(folder.substring(1)), one.getPackageName());
    }
    try (FileSystem jar = FileSystems.newFileSystem(Path.of(place), Map.of())) {
      return publicTypes(jar.getPath(folder), one.getPackageName());
    }
  }

  private static Set<String> publicTypes(Path folder, String name)
      throws IOException, ClassNotFoundException {
    Set<String> types = new TreeSet<>();
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.toList()) {
        String type = file.getFileName().toString();
        if (type.endsWith(".class") && !type.contains("$") && !type.startsWith("module-info")) {
          Class<?> found =
              Class.forName(
                  name + "." + type.substring(0, type.length() - 6),
                  false,
                  Attention.class.getClassLoader());
          if (Modifier.isPublic(found.getModifiers())) {
            types.add(found.getName());
          }
        }
      }
    }
    return types;
  }
}
