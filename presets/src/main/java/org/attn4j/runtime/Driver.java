package org.attn4j.runtime;

import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import org.attn4j.runtime.Arch.Fit;

/**
 * What the NVIDIA driver says about itself and its devices.
 *
 * @param status 0 if it works, one of the constants below, or the positive CUresult of cuInit
 * @param version the newest CUDA version that the driver serves, as 1000 * major + 10 * minor, or 0
 * @param devices in CUDA's order; empty unless the status is 0
 * @param detail the reason if the status is {@link #NOT_ASKED} or {@link #NOT_OPENED}, otherwise
 *     empty
 */
public record Driver(int status, int version, List<Device> devices, String detail) {
  /** There is no libcuda.so.1. */
  public static final int NOT_FOUND = -1;

  /** There is a libcuda.so.1, but it is no CUDA driver. */
  public static final int NOT_A_DRIVER = -2;

  /** The probe's own library could not be loaded. */
  public static final int NOT_ASKED = -3;

  /** There is a libcuda.so.1, but it can't be opened. */
  public static final int NOT_OPENED = -4;

  /** CUDA_ERROR_NO_DEVICE. */
  static final int NO_DEVICE = 100;

  /** Creates a snapshot with a copy of the list. */
  public Driver {
    devices = List.copyOf(devices);
  }

  /** "13.0", or "unknown". */
  public String versionText() {
    return version <= 0 ? "unknown" : version / 1000 + "." + version % 1000 / 10;
  }

  /**
   * Whether it runs a library's code. Binary code needs a driver of the same major version of CUDA
   * or a newer one; PTX is compiled by the driver, which knows that of its own version and older.
   */
  boolean runs(Arch arch, Fit fit) {
    int builtWith = arch.cudaNumber();
    if (version <= 0 || builtWith <= 0) {
      return true; // not known
    }
    return fit == Fit.PTX ? version >= builtWith : version / 1000 >= builtWith / 1000;
  }

  /** Asks the driver. Opens libcuda.so.1 if there is one; creates no CUDA context. */
  static Driver probe(Inventory inventory, String platform) {
    Path file = null;
    try {
      file = NativeFile.find(Inventory.probe(platform));
      GpuProbe.load();
      int status = GpuProbe.status();
      List<Device> devices =
          IntStream.range(0, GpuProbe.device_count()).mapToObj(Driver::device).toList();
      return new Driver(status, GpuProbe.driver_version(), devices, GpuProbe.status_detail());
    } catch (NativeFile.DamagedException e) {
      return notAsked(e.getMessage());
    } catch (RuntimeException | LinkageError e) {
      return notAsked(
          file == null
              ? inventory.noProbe(platform)
              : LoadFailure.describe("the driver probe", e, file));
    }
  }

  private static Driver notAsked(String reason) {
    return new Driver(NOT_ASKED, 0, List.of(), reason);
  }

  private static Device device(int ordinal) {
    return new Device(ordinal, GpuProbe.compute_capability(ordinal), GpuProbe.device_name(ordinal));
  }
}
