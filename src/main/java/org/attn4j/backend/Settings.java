package org.attn4j.backend;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.TreeSet;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.SparsityRule;

/**
 * What system properties and the environment say. The only class that reads them.
 *
 * @param backend {@code -Dorg.attn4j.backend}: replaces AUTO of a request; AUTO if not set
 * @param quantisedDisabled {@code LD_DISABLE_SAGE_ATTENTION=1} (or true, yes, on) in the
 *     environment: sparge and sage serve nothing
 */
public record Settings(SdpaBackend backend, boolean quantisedDisabled) {
  private static final String PREFIX = "org.attn4j.";

  /** The system property that chooses a backend for requests that don't. */
  public static final String BACKEND_PROPERTY = "org.attn4j.backend";

  /** The environment variable that switches the quantised backends off. */
  public static final String DISABLE_VARIABLE = "LD_DISABLE_SAGE_ATTENTION";

  /**
   * What the system properties that set thresholds of SpargeAttn start with; simthreshd1,
   * cdfthreshd or pvthreshd follows. They hold for requests that set no sparsity of their own.
   */
  public static final String SPARSITY_PREFIX = "org.attn4j.sparsity.";

  /** The system property that names the rule of requests that set none: SparsityRule's names. */
  public static final String RULE_PROPERTY = SPARSITY_PREFIX + "rule";

  private static volatile SparsityOptions defaultSparsity;
  private static volatile SparsityRule defaultSparsityRule;

  /** The rule of requests that don't set their own. */
  public static SparsityRule defaultSparsityRule() {
    SparsityRule known = defaultSparsityRule;
    if (known == null) {
      known = sparsityRule(System.getProperty(RULE_PROPERTY));
      defaultSparsityRule = known;
    }
    return known;
  }

  /** The rule of that name; null means not set. */
  static SparsityRule sparsityRule(String value) {
    if (value == null || value.isBlank()) {
      return SparsityRule.LEARN;
    }
    String wanted = value.trim().toUpperCase(Locale.ROOT);
    for (SparsityRule rule : SparsityRule.values()) {
      if (rule.name().equals(wanted)) {
        return rule;
      }
    }
    throw new InvalidAttentionArgumentException(
        "the system property "
            + RULE_PROPERTY
            + " is "
            + value
            + "; learn, frozen or always is accepted");
  }

  /** The sparsity of requests that don't set their own. */
  public static SparsityOptions defaultSparsity() {
    SparsityOptions known = defaultSparsity;
    if (known == null) {
      known = sparsity(System::getProperty);
      defaultSparsity = known;
    }
    return known;
  }

  /** The options from the properties; a property that is null isn't set. */
  static SparsityOptions sparsity(UnaryOperator<String> property) {
    SparsityOptions defaults = SparsityOptions.DEFAULTS;
    return defaults
        .withSimthreshd1(threshold(property, "simthreshd1", defaults.simthreshd1()))
        .withCdfthreshd(threshold(property, "cdfthreshd", defaults.cdfthreshd()))
        .withPvthreshd(threshold(property, "pvthreshd", defaults.pvthreshd()));
  }

  private static float threshold(UnaryOperator<String> property, String name, float otherwise) {
    String value = property.apply(SPARSITY_PREFIX + name);
    if (value == null || value.isBlank()) {
      return otherwise;
    }
    try {
      return Float.parseFloat(value.trim());
    } catch (NumberFormatException e) {
      throw new InvalidAttentionArgumentException(
          "the system property "
              + SPARSITY_PREFIX
              + name
              + " is "
              + value
              + "; a number is needed");
    }
  }

  /** Why a quantised backend serves nothing where {@link #quantisedDisabled} is set. */
  static final String DISABLED = DISABLE_VARIABLE + " switches it off";

  /**
   * The settings of this process.
   *
   * @throws InvalidAttentionArgumentException if one of them is misspelt
   */
  public static Settings fromSystem() {
    return of(System.getProperty(BACKEND_PROPERTY), System.getenv(DISABLE_VARIABLE));
  }

  /** The sentence about a setting that is misspelt; empty if none is. */
  public static Optional<String> fault() {
    try {
      fromSystem();
      defaultSparsity();
      defaultSparsityRule();
      return Optional.empty();
    } catch (InvalidAttentionArgumentException e) {
      return Optional.of(e.getMessage());
    }
  }

  /** What is set, in one line. */
  public static String description() {
    List<String> set = new ArrayList<>();
    if (System.getenv(DISABLE_VARIABLE) != null) {
      set.add(DISABLE_VARIABLE + "=" + System.getenv(DISABLE_VARIABLE).strip());
    }
    for (String name : new TreeSet<>(System.getProperties().stringPropertyNames())) {
      if (name.startsWith(PREFIX)) {
        set.add(name + "=" + System.getProperty(name).strip());
      }
    }
    return set.isEmpty() ? "none, everything is as by default" : String.join(", ", set);
  }

  /** The settings from the two values; null means not set. */
  static Settings of(String backend, String disabled) {
    return new Settings(parseBackend(backend), parseDisabled(disabled));
  }

  private static SdpaBackend parseBackend(String value) {
    if (value == null || value.isBlank()) {
      return SdpaBackend.AUTO;
    }
    String wanted = value.trim().toLowerCase(Locale.ROOT);
    for (SdpaBackend backend : SdpaBackend.values()) {
      if (backend.id().equals(wanted)) {
        return backend;
      }
    }
    String known =
        Arrays.stream(SdpaBackend.values()).map(SdpaBackend::id).collect(Collectors.joining(", "));
    throw new InvalidAttentionArgumentException(
        "the system property "
            + BACKEND_PROPERTY
            + " is "
            + value
            + "; one of "
            + known
            + " is accepted");
  }

  private static boolean parseDisabled(String value) {
    if (value == null || value.isBlank()) {
      return false;
    }
    return switch (value.trim().toLowerCase(Locale.ROOT)) {
      case "1", "true", "yes", "on" -> true;
      case "0", "false", "no", "off" -> false;
      default ->
          throw new InvalidAttentionArgumentException(
              "the environment variable "
                  + DISABLE_VARIABLE
                  + " is "
                  + value
                  + "; 1, true, yes, on, 0, false, no and off are accepted");
    };
  }
}
