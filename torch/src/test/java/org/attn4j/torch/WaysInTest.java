package org.attn4j.torch;

import static org.attn4j.torch.Hooked.script;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import org.testng.Assert;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** The ways in which the hook gets into a program of which no line changes. */
public class WaysInTest {
  private static final String SERVED = "left to PyTorch 2 (TYPE 2)"; // the run in fp32

  private Path model;

  @BeforeClass
  public void save() throws IOException {
    Hooked.install();
    model = Files.createDirectories(Hooked.target().resolve("model")).resolve("two.pt");
    script(
            "def forward(self, q, k, v):\n"
                + "    h = torch.scaled_dot_product_attention(q, k, v, None, 0.0, True)\n"
                + "    return torch.scaled_dot_product_attention(h, k, v)\n")
        .save(model.toString());
  }

  private static Path classes() {
    try {
      return Path.of(TorchHook.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    } catch (java.net.URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  private static Path library() {
    return classes().resolve("org/attn4j/torch/linux-x86_64/libattn4jtorch.so");
  }

  @Test
  public void djlFindsTheServiceOnTheClassPath() throws Exception {
    String output =
        Child.ofDjl(DjlProgram.class)
            .withStandIn()
            .option("-DprintCounts=true")
            .argument(model)
            .run();
    Assert.assertTrue(output.contains("libtorch 2.7.1"), output);
    Assert.assertTrue(output.contains("served 6 (SAGE 6), " + SERVED), output);
    Assert.assertTrue(output.contains("is served by attn4j where it can be"), output);
  }

  /** What DJL computes with the hook is what it computes without, within fp16's rounding. */
  @Test
  public void djlsResultsAgree() throws Exception {
    String without =
        Child.ofDjl(DjlProgram.class)
            .withStandIn()
            .option("-Dorg.attn4j.backend=pytorch")
            .argument(model)
            .run();
    String with = Child.ofDjl(DjlProgram.class).withStandIn().argument(model).run();
    double expected = number(without, "float16 sum of squares ");
    double actual = number(with, "float16 sum of squares ");
    Assert.assertEquals(actual, expected, 1e-3 * expected);
    Assert.assertNotEquals(actual, expected); // else nothing was served
    Assert.assertEquals(
        number(with, "float32 sum of squares "), number(without, "float32 sum of squares "));
  }

  private static double number(String output, String label) {
    int at = output.toLowerCase(java.util.Locale.ROOT).indexOf(label);
    Assert.assertTrue(at >= 0, output);
    return Double.parseDouble(output.substring(at + label.length()).lines().findFirst().get());
  }

  /** One file of a transformer, run by DJL and by bytedeco's PyTorch, with and without the hook. */
  @Test
  public void oneTransformerRunsInBoth() throws Exception {
    Path transformer = model.resolveSibling("transformer.pt");
    ModelFile.write(transformer, 64, 4, 2, org.bytedeco.pytorch.global.torch.ScalarType.Half);
    double[] sums = new double[4];
    for (int i = 0; i < 4; i++) {
      Class<?> program = i < 2 ? DjlTransformer.class : BytedecoTransformer.class;
      Child child = i < 2 ? Child.ofDjl(program) : Child.ofBytedeco(program);
      child.withStandIn().option("-DprintCounts=true").argument(transformer);
      if (i >= 2) {
        child.option("-javaagent:" + agentJar());
      }
      boolean hooked = i % 2 == 1;
      String output = (hooked ? child : child.option("-Dorg.attn4j.backend=pytorch")).run();
      sums[i] = number(output, "sum of squares ");
      Assert.assertTrue(
          output.contains(hooked ? "served 2 (SAGE 2)" : "left to PyTorch 2 (OPTIONS 2)"), output);
    }
    for (int i = 1; i < 4; i++) { // of 4224 numbers in fp16, whose errors average out
      Assert.assertEquals(sums[i], sums[0], 1e-3 * sums[0]);
    }
    Assert.assertNotEquals(sums[1], sums[0]);
    Assert.assertNotEquals(sums[3], sums[2]);
  }

  /** DJL's variable, in a program that loads its model past the zoo: the service isn't asked. */
  @Test
  public void djlLoadsWhatItsVariableNames() throws Exception {
    Path copy = Files.createDirectories(Hooked.target().resolve("extra")).resolve("libhook.so");
    Files.copy(library(), copy, java.nio.file.StandardCopyOption.REPLACE_EXISTING);
    Child program =
        Child.ofDjl(DjlProgram.class)
            .withStandIn()
            .option("-DprintCounts=true")
            .option("-DpastTheZoo=true")
            .argument(model);
    Assert.assertTrue(program.run().contains("served 0, left to PyTorch 0"));
    String output = program.environment("PYTORCH_EXTRA_LIBRARY_PATH", copy.toString()).run();
    Assert.assertTrue(output.contains("served 6 (SAGE 6), " + SERVED), output);
  }

  @Test
  public void anAgentServesBytedecosPrograms() throws Exception {
    String output =
        Child.ofBytedeco(BytedecoProgram.class)
            .withStandIn()
            .option("-javaagent:" + agentJar())
            .option("-DprintCounts=true")
            .argument(model)
            .run();
    Assert.assertTrue(output.contains("rows 33"), output);
    Assert.assertTrue(output.contains("served 2 (SAGE 2), left to PyTorch 0"), output);
  }

  /** Where the command line isn't one's own either. */
  @Test
  public void anAgentInTheEnvironmentServes() throws Exception {
    String output =
        Child.ofBytedeco(BytedecoProgram.class)
            .withStandIn()
            .environment("JAVA_TOOL_OPTIONS", "-javaagent:'" + agentJar() + "'")
            .option("-DprintCounts=true")
            .argument(model)
            .run();
    Assert.assertTrue(output.contains("served 2 (SAGE 2), left to PyTorch 0"), output);
  }

  /** LD_PRELOAD is no way in: the library waits for Java, and does no harm meanwhile. */
  @Test
  public void preloadedItDoesNothing() throws Exception {
    String output =
        Child.ofBytedeco(BytedecoProgram.class)
            .withStandIn()
            .environment("LD_PRELOAD", library().toString())
            .option("-DprintCounts=true")
            .argument(model)
            .run();
    Assert.assertTrue(output.contains("rows 33"), output);
    Assert.assertTrue(output.contains("served 0, left to PyTorch 0"), output);
  }

  @Test
  public void anAgentServesDjlsPrograms() throws Exception {
    String output =
        Child.ofDjl(DjlProgram.class)
            .withStandIn()
            .option("-javaagent:" + agentJar())
            .option("-DprintCounts=true")
            .option("-DpastTheZoo=true")
            .argument(model)
            .run();
    Assert.assertTrue(output.contains("served 6 (SAGE 6), " + SERVED), output);
  }

  /** The agent's class with the manifest that Maven gives the real JAR. */
  private static Path agentJar() throws IOException {
    Path jar = Files.createTempFile(Hooked.target(), "agent", ".jar");
    Path manifestFile = Path.of("src/main/manifest.mf");
    String text = "Manifest-Version: 1.0\n" + Files.readString(manifestFile);
    Manifest manifest =
        new Manifest(
            new java.io.ByteArrayInputStream(
                text.getBytes(java.nio.charset.StandardCharsets.UTF_8)));
    try (OutputStream file = Files.newOutputStream(jar);
        JarOutputStream out = new JarOutputStream(file, manifest)) {
      out.putNextEntry(new JarEntry("org/attn4j/torch/"));
      out.closeEntry();
    }
    return jar;
  }

  /** And what it logs comes from there too: the JVM is told of the thread for that alone. */
  @Test
  public void aThreadThatTheJvmDoesntKnowIsServed() throws Exception {
    String output =
        Child.ofBytedeco(ForeignProgram.class)
            .withStandIn()
            .argument(Hooked.standIn().resolveSibling("libforeign.so"))
            .run();
    Assert.assertTrue(output.contains("failures 0"), output);
    Assert.assertTrue(output.contains("served 1000 (SAGE 1000), left to PyTorch 0"), output);
    Assert.assertTrue(output.contains("SageAttention served the call"), output);
  }

  @Test
  public void withoutAGpuTheProgramRunsAsBefore() throws Exception {
    String output =
        Child.ofBytedeco(BytedecoProgram.class)
            .option("-javaagent:" + agentJar())
            .option("-DprintCounts=true")
            .option("-Dorg.attn4j.arch=sm80")
            .environment("CUDA_VISIBLE_DEVICES", "")
            .argument(model)
            .run();
    Assert.assertTrue(output.contains("rows 33"), output);
    Assert.assertTrue(output.contains("PyTorch's attention stays as it is: "), output);
    Assert.assertTrue(output.contains("served 0, left to PyTorch 0"), output);
  }

  @Test
  public void anOldLibtorchIsRefusedWithASentence() throws Exception {
    Path old = Hooked.standIn().resolveSibling("old");
    String output =
        Child.ofBytedeco(OldLibtorchProgram.class)
            .withStandIn()
            .argument(old.resolve("libc10.so"))
            .argument(old.resolve("libtorch_cpu.so"))
            .run();
    Assert.assertTrue(
        output.contains("install: this libtorch lacks aoti_torch_library_init_impl, "), output);
    Assert.assertTrue(output.contains("isInstalled: false"), output);
    Assert.assertTrue(output.contains("served 0, left to PyTorch 0"), output);
  }

  /** The real one, where it has been fetched: ai.djl.pytorch:pytorch-native-cpu:2.5.1. */
  @Test
  public void djlsLibtorchBeforeTheApiIsRefusedWithASentence() throws Exception {
    String folder = System.getProperty("attn4j.torch.libtorch251", "");
    if (folder.isEmpty()) {
      throw new SkipException("-Dattn4j.torch.libtorch251 names no folder with libtorch 2.5.1");
    }
    Child program = Child.ofBytedeco(OldLibtorchProgram.class).withStandIn();
    for (String name : new String[] {"libc10.so", "libtorch_cpu.so"}) {
      program.argument(Path.of(folder, name));
    }
    String output = program.environment("LD_LIBRARY_PATH", folder).run();
    Assert.assertTrue(output.contains("install: this libtorch lacks aoti_torch_"), output);
    Assert.assertTrue(output.contains("isInstalled: false"), output);
  }

  @Test
  public void withoutALibtorchThereIsASentence() throws Exception {
    String output =
        Child.ofBytedeco(OldLibtorchProgram.class)
            .withStandIn()
            .without(entry -> entry.contains("pytorch"))
            .run();
    Assert.assertTrue(output.contains("no libtorch is loaded"), output);
  }
}
