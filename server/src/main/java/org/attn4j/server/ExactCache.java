package org.attn4j.server;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;
import org.attn4j.samples.Picture;

/**
 * The exact results of the last pictures, so that another threshold on the same picture doesn't pay
 * for exact attention again. Thread-safe.
 */
final class ExactCache {
  private static final int MOST = 16;

  private final Map<String, Served> results =
      new LinkedHashMap<>(MOST, 0.75f, true) {
        private static final long serialVersionUID = 1;

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Served> eldest) {
          return size() > MOST;
        }
      };

  /** What two requests share if and only if they ask for the same. */
  static String key(Picture noisy, double h, String backend) {
    ByteBuffer bytes =
        ByteBuffer.allocate(Float.BYTES * Picture.CHANNELS * noisy.pixels() + 2 * Double.BYTES);
    for (int i = 0; i < Picture.CHANNELS * noisy.pixels(); i++) {
      bytes.putFloat(noisy.value(i / Picture.CHANNELS, i % Picture.CHANNELS));
    }
    bytes.putInt(noisy.width()).putDouble(h);
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      return backend + " " + Base64.getEncoder().encodeToString(digest.digest(bytes.array()));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }

  /** The result for this key, or null. */
  synchronized Served get(String key) {
    return results.get(key);
  }

  synchronized void put(String key, Served result) {
    results.put(key, result);
  }
}
