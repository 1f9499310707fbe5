package org.attn4j.runtime;

/**
 * A GPU as the driver reports it.
 *
 * @param ordinal CUDA's number of the device, after {@code CUDA_VISIBLE_DEVICES}
 * @param computeCapability 10 * major + minor: 90 for 9.0
 * @param name the product name, or an empty string
 */
public record Device(int ordinal, int computeCapability, String name) {

  /** The compute capability as NVIDIA writes it: "9.0". */
  public String capability() {
    return format(computeCapability);
  }

  static String format(int computeCapability) {
    return computeCapability / 10 + "." + computeCapability % 10;
  }
}
