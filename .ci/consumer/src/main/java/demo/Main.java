package demo;

import java.io.File;
import java.util.Enumeration;
import java.util.Set;
import java.util.TreeSet;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionTensor;
import org.attn4j.DType;
import org.attn4j.HostTensor;

/** A stranger's program: attention on the host, and which natives are on its class path. */
public final class Main {
  private Main() {}

  /** Prints the first number of an attention, then the architectures whose JARs are there. */
  public static void main(String[] args) throws Exception {
    float[] values = {1, 2, 3, 4};
    try (HostTensor q = HostTensor.of(DType.FLOAT32, new float[] {0, 0}, 1, 1, 1, 2);
        HostTensor kv = HostTensor.of(DType.FLOAT32, values, 1, 1, 2, 2);
        AttentionTensor o = Attention.sdpa(q, kv, kv, AttentionOptions.DEFAULTS)) {
      System.out.println("attention " + ((HostTensor) o).get(0, 0, 0, 0)); // the mean of 1 and 3
    }
    Set<String> natives = new TreeSet<>();
    for (String entry : System.getProperty("java.class.path").split(File.pathSeparator)) {
      if (!entry.endsWith(".jar")) {
        continue;
      }
      try (JarFile jar = new JarFile(entry)) {
        for (Enumeration<JarEntry> files = jar.entries(); files.hasMoreElements(); ) {
          String name = files.nextElement().getName();
          if (name.matches("org/attn4j/natives/linux-x86_64-sm\\d+/arch.properties")) {
            natives.add(name.replaceAll(".*-(sm\\d+)/.*", "$1"));
          }
        }
      }
    }
    System.out.println("natives " + String.join(" ", natives));
  }
}
