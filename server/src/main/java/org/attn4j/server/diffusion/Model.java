package org.attn4j.server.diffusion;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;

/** A trained model: its weights in host memory, and what is known of them. */
public final class Model {
  /** Where a build has the weights. */
  public static final String RESOURCES = "/org/attn4j/server/model/";

  private static final String WEIGHTS = "model.safetensors";
  private static final String FACTS = "model.json";

  private static final String TORCH_SCRIPT = "model.pt";

  private final ModelFacts facts;
  private final HostPainter painter;
  private final Source source;
  private Painter torch; // loaded at its first use
  private String torchObstacle; // why it can't be, once that is known

  private Model(ModelFacts facts, HostPainter painter, Source source) {
    this.facts = facts;
    this.painter = painter;
    this.source = source;
  }

  /** The files of a model. */
  private interface Source {
    /** The bytes of a file, or null if it isn't there. */
    byte[] read(String name) throws IOException;
  }

  /** The model that this build ships. */
  public static Model ofBuild() throws IOException {
    return of(
        "the build's folder " + RESOURCES,
        name -> {
          try (InputStream in = Model.class.getResourceAsStream(RESOURCES + name)) {
            return in == null ? null : in.readAllBytes();
          }
        });
  }

  /**
   * The model in a folder that training wrote, or throws IOException with what is wrong with it.
   */
  public static Model of(Path folder) throws IOException {
    return of(
        folder.toString(),
        name -> {
          Path file = folder.resolve(name);
          return Files.isReadable(file) ? Files.readAllBytes(file) : null;
        });
  }

  private static Model of(String place, Source source) throws IOException {
    byte[] weights = source.read(WEIGHTS);
    byte[] json = source.read(FACTS);
    if (weights == null || json == null) {
      throw new IOException(place + " has no " + WEIGHTS + " and " + FACTS + " to read");
    }
    ModelFacts facts = ModelFacts.parse(new String(json, StandardCharsets.UTF_8));
    try {
      return new Model(facts, HostPainter.of(facts, Safetensors.read(weights)), source);
    } catch (IllegalArgumentException e) {
      throw new IOException("the weights don't fit model.json: " + e.getMessage(), e);
    }
  }

  public ModelFacts facts() {
    return facts;
  }

  /** A painter on the CPU, without PyTorch; {@code sparsity} null is dense. Any number may run. */
  public Painter onCpu(SparsityOptions sparsity) {
    return painter.with(sparsity);
  }

  /**
   * A painter whose attention a GPU computes, without PyTorch; {@code sparsity} null is dense.
   *
   * @throws UnsupportedOperationException with a sentence if no GPU serves here
   */
  public Painter onGpu(SparsityOptions sparsity) {
    DeviceAttention.obstacle()
        .ifPresent(
            sentence -> {
              throw new UnsupportedOperationException(sentence);
            });
    return painter.with(new DeviceAttention(SdpaBackend.AUTO, sparsity));
  }

  /**
   * The painter in PyTorch, dense, which all callers share.
   *
   * @throws UnsupportedOperationException with a sentence if there is no PyTorch or no TorchScript
   */
  public synchronized Painter onTorch() {
    if (torch == null && torchObstacle == null) {
      try {
        torch = loadTorch();
      } catch (IOException e) {
        torchObstacle = e.getMessage();
      } catch (LinkageError e) { // no classes of PyTorch's, or no natives
        torchObstacle =
            "PyTorch isn't on the class path or its natives aren't; the profile torch adds them";
      }
    }
    if (torch == null) {
      throw new UnsupportedOperationException(torchObstacle);
    }
    return torch;
  }

  /** The model on the CPU, for tests of other attention. */
  HostPainter painter() {
    return painter;
  }

  private Painter loadTorch() throws IOException {
    byte[] script = source.read(TORCH_SCRIPT);
    if (script == null) {
      throw new IOException("the model has no " + TORCH_SCRIPT);
    }
    Path file = Files.createTempFile("attn4j", ".pt"); // PyTorch reads files
    try {
      Files.write(file, script);
      return TorchPainter.load(file);
    } finally {
      Files.delete(file);
    }
  }

  /**
   * The tokens of a prompt: the words that it has, whatever stands between them.
   *
   * @throws IllegalArgumentException with a sentence if it has other words, or too many
   */
  public int[] words(String prompt) {
    String[] words =
        Arrays.stream(prompt.toLowerCase(Locale.ROOT).split("[^\\p{L}\\p{N}]+"))
            .filter(word -> !word.isEmpty())
            .toArray(String[]::new);
    if (words.length > Painter.MAX_WORDS) {
      throw new IllegalArgumentException(
          "prompt has " + words.length + " words; up to " + Painter.MAX_WORDS + " are accepted");
    }
    int[] tokens = new int[Painter.MAX_WORDS];
    for (int i = 0; i < words.length; i++) {
      tokens[i] = facts.words().indexOf(words[i]);
      if (tokens[i] < 1) {
        throw new IllegalArgumentException(
            "prompt has the word "
                + words[i]
                + "; the model knows "
                + String.join(", ", facts.words().subList(1, facts.words().size())));
      }
    }
    return tokens;
  }
}
