package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.attn4j.runtime.Build.Outcome;
import org.testng.annotations.Test;

/** What is inside the libraries, read by NativeCheck, and whether the bindings are complete. */
public class BuiltLibraryTest {
  private static final String CHECK =
      Build.ROOT.resolve("src/main/cpp/cmake/NativeCheck.java").toString();
  private static final Pattern EXPORTED_FUNCTION =
      Pattern.compile("ATTN4J_API [\\w: ]+?[ *]+(\\w+)\\(");

  @Test
  public void everyLibraryHoldsTheCodeItNames() throws IOException {
    Build.anyClassifier();
    for (Path folder : Build.classifiers()) {
      List<String> command = new ArrayList<>(fatbinCheck(folder));
      Properties properties = new Properties();
      try (InputStream stream = Files.newInputStream(folder.resolve("arch.properties"))) {
        properties.load(stream);
      }
      Arch arch = Arch.of(properties);
      command.addAll(arch.sass());
      arch.ptx().forEach(code -> command.add(code + "+PTX"));
      Outcome outcome = Build.run(command, Map.of());
      assertEquals(outcome.status(), 0, outcome.output());
    }
  }

  @Test
  public void otherCodeIsNoticed() {
    List<String> command = new ArrayList<>(fatbinCheck(Build.anyClassifier()));
    command.add("70");
    Outcome outcome = Build.run(command, Map.of());
    assertEquals(outcome.status(), 1, outcome.output());
    assertTrue(outcome.output().contains("where [70] was asked for"), outcome.output());
  }

  @Test
  public void aLibraryWithoutDeviceCodeIsNoticed() {
    Path glue = Build.bindings();
    Outcome outcome = nativeCheck("fatbin", glue);
    assertNotEquals(outcome.status(), 0);
    assertTrue(outcome.output().contains("no device code inside"), outcome.output());
  }

  @Test
  public void onlyTheHeadersFunctionsAreExported() throws IOException {
    for (Path folder : Build.classifiers()) {
      Outcome outcome = nativeCheck("symbols", folder.resolve("libattn4j.so"));
      List<String> foreign =
          outcome.output().lines().filter(symbol -> !symbol.startsWith("_ZN6attn4j")).toList();
      assertEquals(foreign, List.of(), folder.toString());
      for (String function : headerFunctions()) {
        String mangled = "_ZN6attn4j" + function.length() + function + "E";
        assertTrue(outcome.output().contains(mangled), function + " is not exported");
      }
    }
  }

  @Test
  public void noLibraryButTheSystemsOwnIsNeeded() {
    List<Path> libraries = new ArrayList<>(List.of(Build.bindings()));
    Build.classifiers().forEach(folder -> libraries.add(folder.resolve("libattn4j.so")));
    for (Path library : libraries) {
      Outcome outcome = nativeCheck("needed", library);
      for (String needed : outcome.output().lines().toList()) {
        assertTrue(
            needed.matches("(libstdc\\+\\+|libm|libc|libgcc_s|libpthread|libdl|librt|ld-linux).*"),
            library + " needs " + needed);
      }
    }
  }

  /** JavaCPP leaves a class or method that it can't handle out, with no more than a warning. */
  @Test
  public void everyNativeMethodIsInTheGlue() throws Exception {
    Set<String> symbols =
        nativeCheck("symbols", Build.bindings())
            .output()
            .lines()
            .collect(Collectors.toCollection(TreeSet::new));
    int methods = 0;
    for (Class<?> type : bindings()) {
      for (Method method : type.getDeclaredMethods()) {
        if (Modifier.isNative(method.getModifiers())) {
          methods++;
          String name = "Java_" + mangle(type.getName()) + "_" + mangle(method.getName());
          assertTrue(
              symbols.contains(name) || symbols.stream().anyMatch(s -> s.startsWith(name + "__")),
              name + " is not in libjniattn4j.so");
        }
      }
    }
    assertTrue(methods > 50, methods + " native methods");
  }

  @Test
  public void everyFunctionOfTheHeadersIsBound() throws Exception {
    Class<?> bindings = Class.forName("org.attn4j.natives.global.attn4j", false, loader());
    Set<String> bound =
        Arrays.stream(bindings.getDeclaredMethods())
            .map(Method::getName)
            .collect(Collectors.toSet());
    Set<String> functions = headerFunctions();
    assertTrue(functions.size() > 30, functions.toString());
    for (String function : functions) {
      assertTrue(bound.contains(function), function + " is not bound");
    }
  }

  private static Set<String> headerFunctions() throws IOException {
    Set<String> names = new TreeSet<>();
    for (String header : new String[] {"attn4j.h", "sparse.h", "device.h"}) {
      Path file = Build.ROOT.resolve("src/main/cpp/include/attn4j").resolve(header);
      Matcher matcher = EXPORTED_FUNCTION.matcher(Files.readString(file));
      while (matcher.find()) {
        names.add(matcher.group(1));
      }
    }
    return names;
  }

  private static List<Class<?>> bindings() throws Exception {
    Path classes = Build.OUTPUT.resolve("classes");
    List<Class<?>> types = new ArrayList<>();
    try (Stream<Path> files = Files.walk(classes.resolve("org/attn4j/natives"))) {
      for (Path file : files.filter(path -> path.toString().endsWith(".class")).toList()) {
        String name = classes.relativize(file).toString().replace('/', '.').replace(".class", "");
        types.add(Class.forName(name, false, loader()));
      }
    }
    return types;
  }

  private static ClassLoader loader() {
    return BuiltLibraryTest.class.getClassLoader();
  }

  private static String mangle(String name) {
    return name.replace("_", "_1").replace('.', '_').replace("$", "_00024");
  }

  private static List<String> fatbinCheck(Path folder) {
    return List.of(Build.java(), CHECK, "fatbin", folder.resolve("libattn4j.so").toString());
  }

  private static Outcome nativeCheck(String operation, Path library) {
    return Build.run(List.of(Build.java(), CHECK, operation, library.toString()), Map.of());
  }
}
