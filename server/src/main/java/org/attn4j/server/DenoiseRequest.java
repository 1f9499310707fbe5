package org.attn4j.server;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.attn4j.Attention;
import org.attn4j.BackendInfo;
import org.attn4j.SparsityOptions;
import org.attn4j.samples.PictureOrder;

/**
 * What {@code POST /api/denoise} asks for.
 *
 * @param backend {@code auto} or the name of a backend
 * @param sparsity what may be left out, or null for dense attention
 * @param order of the tokens
 * @param side pixels on a side of the square that is cut out of the picture
 * @param sigma standard deviation of the noise; brightness runs from 0 to 1
 * @param addNoise whether that noise is added first, so that the clean picture is known
 * @param seed of the noise
 */
record DenoiseRequest(
    String backend,
    SparsityOptions sparsity,
    PictureOrder order,
    int side,
    double sigma,
    boolean addNoise,
    long seed) {
  static final String AUTO = "auto";
  static final int LEAST_SIDE = 16;
  static final int USUAL_SIDE = 64;

  private static final String ON = "on";
  private static final List<String> KNOWN =
      List.of(
          "backend",
          "sparsity",
          "simthreshd1",
          "cdfthreshd",
          "order",
          "size",
          "sigma",
          "noise",
          "seed");

  /** Reads the parameters, or throws a {@link Problem}. */
  static DenoiseRequest of(Map<String, String> given, int maxSide) {
    Parameters parameters = Parameters.of(given, KNOWN);
    String backend = parameters.word("backend", AUTO, backends());
    boolean dense = backend.equals("sage") || backend.equals("exact");
    boolean sparse = parameters.word("sparsity", dense ? "off" : ON, List.of(ON, "off")).equals(ON);
    if (dense && sparse) {
      throw Problem.badRequest("sparsity is on; with backend " + backend + " it can only be off");
    }
    if (backend.equals("sparge") && !sparse) {
      throw Problem.badRequest("sparsity is off; with backend sparge it can only be on");
    }
    return new DenoiseRequest(
        backend,
        sparse ? sparsity(parameters) : null,
        PictureOrder.parse(
            parameters.word("order", "hilbert", List.of("raster", "tiles", "hilbert"))),
        parameters.integer("size", Math.min(USUAL_SIDE, maxSide), LEAST_SIDE, maxSide),
        parameters.number("sigma", 0.1, 0.005, 0.5),
        parameters.word("noise", "add", List.of("add", "none")).equals("add"),
        parameters.whole("seed", 1, Long.MIN_VALUE, Long.MAX_VALUE));
  }

  /** SpargeAttn's options with the thresholds that were given. */
  static SparsityOptions sparsity(Parameters given) {
    SparsityOptions usual = SparsityOptions.DEFAULTS;
    return usual
        .withSimthreshd1((float) given.number("simthreshd1", usual.simthreshd1(), -1, 1))
        .withCdfthreshd((float) given.number("cdfthreshd", usual.cdfthreshd(), 0, 1));
  }

  private static List<String> backends() {
    List<String> names = new ArrayList<>(List.of(AUTO));
    Attention.backends().stream().map(BackendInfo::name).forEach(names::add);
    return names;
  }
}
