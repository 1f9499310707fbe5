package org.attn4j.server;

import org.attn4j.samples.BlockMap;
import org.attn4j.samples.Picture;

/**
 * What one attention call made of a picture.
 *
 * @param backend who served
 * @param kernel in the backend's words
 * @param picture the result
 * @param millis of the call; on the CPU the sum of its steps
 * @param map the blocks that were computed, or null for dense attention
 * @param cached whether the result is that of an earlier request for the same picture
 */
record Served(
    String backend, String kernel, Picture picture, double millis, BlockMap map, boolean cached) {
  Served fromCache() {
    return new Served(backend, kernel, picture, millis, map, true);
  }
}
