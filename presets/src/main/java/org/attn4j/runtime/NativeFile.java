package org.attn4j.runtime;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.net.JarURLConnection;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.zip.CRC32;
import org.bytedeco.javacpp.Loader;

/**
 * A native library of the class path as a file that is whole. A library with a part missing ends
 * the process with SIGBUS when it is loaded, so each is compared with the checksum that the build
 * left beside it.
 */
final class NativeFile {
  /** What the build appends to a library's name for the file with its CRC-32 and size. */
  private static final String CHECKSUM = ".crc32";

  private static final int BUFFER = 1 << 16;

  private static final Map<String, Path> FOUND = new ConcurrentHashMap<>();

  private NativeFile() {}

  /** What a library can't be loaded for, as a sentence. */
  static final class DamagedException extends Exception {
    private static final long serialVersionUID = 1L;

    DamagedException(String message) {
      super(message);
    }
  }

  /**
   * The library of a resource, extracted to JavaCPP's cache if it lies in a JAR; null if there is
   * no such resource.
   *
   * @throws DamagedException if it can't be extracted whole
   */
  static Path find(String resource) throws DamagedException {
    Path known = FOUND.get(resource);
    if (known != null) {
      return known;
    }
    Path file = look(resource);
    if (file != null) {
      FOUND.put(resource, file);
    }
    return file;
  }

  private static Path look(String resource) throws DamagedException {
    URL url = NativeFile.class.getClassLoader().getResource(resource);
    if (url == null) {
      return null;
    }
    String wanted = checksum(resource);
    try {
      Path file = extract(url);
      if (wanted == null || wanted.equals(checksum(file))) {
        return file;
      }
      if (isInJar(url)) {
        // The copy may be old or cut off where what is in the JAR is fine.
        Files.delete(file);
        file = extract(url);
      }
      String found = checksum(file);
      if (wanted.equals(found)) {
        return file;
      }
      throw new DamagedException(
          "%s is damaged: it has CRC-32 and size %s, and the build recorded %s; replace %s"
              .formatted(name(resource), found, wanted, place(url)));
    } catch (IOException | URISyntaxException e) {
      throw new DamagedException(
          "%s can't be taken from %s: %s"
              .formatted(name(resource), place(url), LoadFailure.text(LoadFailure.innermost(e))));
    }
  }

  private static Path extract(URL url) throws IOException, URISyntaxException {
    if (!isInJar(url)) {
      return Path.of(url.toURI());
    }
    File file = Loader.cacheResource(url);
    if (file == null) {
      throw new IOException("JavaCPP's cache doesn't take it");
    }
    return file.toPath();
  }

  private static boolean isInJar(URL url) {
    return !url.getProtocol().equals("file");
  }

  /** What the build recorded, or null if it recorded nothing. */
  private static String checksum(String resource) {
    ClassLoader loader = NativeFile.class.getClassLoader();
    try (InputStream stream = loader.getResourceAsStream(resource + CHECKSUM)) {
      return stream == null
          ? null
          : new String(stream.readAllBytes(), StandardCharsets.US_ASCII).strip();
    } catch (IOException e) {
      return null; // the library itself will tell
    }
  }

  /** CRC-32 and size, as cppbuild.sh writes them. */
  static String checksum(Path file) throws IOException {
    CRC32 crc = new CRC32();
    long size = 0;
    byte[] buffer = new byte[BUFFER];
    try (InputStream stream = Files.newInputStream(file)) {
      for (int read = stream.read(buffer); read >= 0; read = stream.read(buffer)) {
        crc.update(buffer, 0, read);
        size += read;
      }
    }
    return "%08x %d".formatted(crc.getValue(), size);
  }

  private static String name(String resource) {
    return resource.substring(resource.lastIndexOf('/') + 1);
  }

  /** The JAR, or the file itself. */
  private static String place(URL url) {
    try {
      return url.openConnection() instanceof JarURLConnection jar
          ? new File(jar.getJarFileURL().toURI()).toString()
          : url.getPath();
    } catch (IOException | URISyntaxException | IllegalArgumentException e) {
      return url.toString();
    }
  }
}
