package org.attn4j.torch;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import com.google.gson.stream.JsonReader;
import java.io.IOException;
import java.lang.reflect.Modifier;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.attn4j.runtime.NativeLibrary;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/**
 * What our JARs tell GraalVM's native-image: it reads these files from META-INF, and what they lack
 * fails in the image alone. No GraalVM is here to build one; the files are held against the
 * classes.
 */
public class NativeImageConfigTest {
  private final List<Map<?, ?>> jni = new ArrayList<>();
  private final List<Map<?, ?>> reflection = new ArrayList<>();
  private final List<Pattern> resources = new ArrayList<>();
  private final Set<String> classes = new TreeSet<>();

  @BeforeClass
  public void read() throws Exception {
    for (Class<?> inside : List.of(NativeLibrary.class, TorchHook.class)) {
      Path place = Path.of(inside.getProtectionDomain().getCodeSource().getLocation().toURI());
      if (Files.isDirectory(place)) {
        read(place);
      } else {
        try (FileSystem jar = FileSystems.newFileSystem(place)) {
          read(jar.getPath("/"));
        }
      }
    }
  }

  private void read(Path root) throws IOException {
    try (Stream<Path> all = Files.walk(root)) {
      for (Path file : all.filter(Files::isRegularFile).toList()) {
        String name = root.relativize(file).toString();
        if (name.startsWith("org/attn4j/") && name.endsWith(".class")) {
          classes.add(name.replaceFirst("\\.class$", "").replace('/', '.'));
        } else if (name.startsWith("META-INF/native-image/org.attn4j/")) {
          try (JsonReader reader = new JsonReader(Files.newBufferedReader(file))) {
            add(file.getFileName().toString(), value(reader));
          }
        }
      }
    }
  }

  /** Objects become maps, arrays lists. */
  private static Object value(JsonReader reader) throws IOException {
    switch (reader.peek()) {
      case BEGIN_OBJECT -> {
        Map<String, Object> object = new LinkedHashMap<>();
        reader.beginObject();
        while (reader.hasNext()) {
          object.put(reader.nextName(), value(reader));
        }
        reader.endObject();
        return object;
      }
      case BEGIN_ARRAY -> {
        List<Object> array = new ArrayList<>();
        reader.beginArray();
        while (reader.hasNext()) {
          array.add(value(reader));
        }
        reader.endArray();
        return array;
      }
      case BOOLEAN -> {
        return reader.nextBoolean();
      }
      default -> {
        return reader.nextString();
      }
    }
  }

  private void add(String name, Object content) {
    switch (name) {
      case "jni-config.json" -> maps(content).forEach(jni::add);
      case "reflect-config.json" -> maps(content).forEach(reflection::add);
      case "resource-config.json" -> {
        // JavaCPP writes an older form, without "includes".
        Object all = ((Map<?, ?>) content).get("resources");
        Object list = all instanceof Map<?, ?> newer ? newer.get("includes") : all;
        maps(list).forEach(entry -> resources.add(Pattern.compile((String) entry.get("pattern"))));
      }
      default -> throw new IllegalArgumentException(name + " is no file that native-image reads");
    }
  }

  private static Stream<Map<?, ?>> maps(Object list) {
    return ((List<?>) list).stream().map(entry -> (Map<?, ?>) entry);
  }

  @Test
  public void everyClassAndMethodThatIsNamedExists() throws Exception {
    assertTrue(jni.size() > 20 && reflection.size() > 20, jni.size() + " " + reflection.size());
    for (Map<?, ?> entry : Stream.concat(jni.stream(), reflection.stream()).toList()) {
      Class<?> named = load((String) entry.get("name"));
      if (entry.containsKey("methods")) {
        for (Map<?, ?> method : maps(entry.get("methods")).toList()) {
          List<Class<?>> types = new ArrayList<>();
          for (Object type : (List<?>) method.get("parameterTypes")) {
            types.add(type.equals("int") ? int.class : load((String) type));
          }
          named.getDeclaredMethod((String) method.get("name"), types.toArray(Class<?>[]::new));
        }
      }
    }
  }

  @Test
  public void everyClassWithNativeMethodsIsNamed() throws Exception {
    Set<String> named = new TreeSet<>();
    jni.forEach(entry -> named.add((String) entry.get("name")));
    int found = 0;
    for (String name : classes) {
      boolean natives =
          Arrays.stream(load(name).getDeclaredMethods())
              .anyMatch(method -> Modifier.isNative(method.getModifiers()));
      if (natives) {
        found++;
        assertTrue(
            named.contains(name), name + " has native methods, and no jni-config.json names it");
      }
    }
    assertTrue(found > 10, found + " classes with native methods");
  }

  @Test
  public void whatTheLoaderLooksForIsInTheImage() {
    String[] wanted = {
      "org/attn4j/natives/linux-x86_64-sm90/libattn4j.so",
      "org/attn4j/natives/linux-x86_64-sm90/libattn4j.so.crc32",
      "org/attn4j/natives/linux-x86_64-sm90/arch.properties",
      "org/attn4j/natives/linux-x86_64/libjniattn4j.so",
      "org/attn4j/runtime/linux-x86_64/libjniattn4jprobe.so",
      "org/attn4j/runtime/linux-x86_64/absent.properties",
      "org/attn4j/torch/linux-x86_64/libattn4jtorch.so",
      "org/bytedeco/pytorch/global/torch.class",
      "ai/djl/pytorch/engine/PtEngine.class"
    };
    for (String name : wanted) {
      assertTrue(isIncluded(name), name + " is not in the image");
    }
    assertFalse(isIncluded("org/attn4j/natives/PlanFacts.class"));
    assertEquals(
        HookLibrary.class.getPackageName().replace('.', '/') + "/linux-x86_64/libattn4jtorch.so",
        wanted[6]);
  }

  private boolean isIncluded(String name) {
    return resources.stream().anyMatch(pattern -> pattern.matcher(name).matches());
  }

  private static Class<?> load(String name) throws ClassNotFoundException {
    return Class.forName(name, false, NativeImageConfigTest.class.getClassLoader());
  }
}
