package org.attn4j.cli;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.attn4j.runtime.NativeLibrary;
import org.testng.SkipException;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;
import picocli.CommandLine;
import picocli.CommandLine.Model.OptionSpec;

/** Exit codes, their sentences, and the page that documents them. */
public class Attn4jCommandTest {
  private static final Path PAGE = Path.of("../docs/cli.md");

  @DataProvider
  public Object[][] wrong() {
    return new Object[][] {
      {2, "Unmatched argument at index 0: 'measure'", "measure"},
      {2, "Missing required parameter: 'SHAPE'", "explain"},
      {2, "the shape is 1x2x3; accepted is BxHxLxD", "explain 1x2x3"},
      {2, "the shape is 1x0x3x4; accepted is", "explain 1x0x3x4"},
      {2, "the shape is 1x2x99999999999x4; accepted is", "explain 1x2x99999999999x4"},
      {2, "expected one of [FP16, BF16, FP32]", "explain 1x2x3x4 --dtype fp8"},
      {2, "--device is -1; a number from 0 up is accepted", "explain 1x2x3x4 --device -1"},
      {2, "q has 3 heads", "explain 1x3/2x8x16 --no-gpu"},
      {2, "--backend is flash; accepted is auto,", "bench --backend flash"},
      {2, "the share of sparge is 2; above 0 and up to 1", "bench --backend sparge:2"},
      {2, "--rounds is 0 and --seconds is 10.0; numbers above 0", "bench --rounds 0"},
      {2, "Missing required options: '--q=FILE'", "tune"},
      {2, "--dtype is fp32; fp16 and bf16", "tune --q a --k b --v c --out d --dtype fp32"},
      {2, "the error budget is l1 2.0", "tune --q a --k b --v c --out d --l1 2"},
      {1, "no-such-file doesn't exist", "tune --q no-such-file --k b --v c --out d"},
      {1, "sage can't run here: no GPU is used", "bench 1x1x8x8 --backend sage --no-gpu"},
    };
  }

  @Test(dataProvider = "wrong")
  public void wrongCommandsEndWithASentence(int status, String sentence, String line) {
    Ran ran = Ran.of(line.split(" "));
    assertEquals(ran.status(), status, ran.err());
    assertTrue(ran.err().contains(sentence), ran.err());
    assertFalse(ran.err().contains("\tat "), "a trace: " + ran.err());
  }

  @Test
  public void whatNeedsAGpuSaysWhyThereIsNone() throws Exception {
    if (NativeLibrary.gpuObstacle().isEmpty()) {
      throw new SkipException("there is a GPU here");
    }
    Ran explain = Ran.of("explain", "1x2x8x16", "--gpu");
    assertEquals(explain.status(), 1);
    assertTrue(explain.err().contains("no GPU backend is ready: "), explain.err());
    Path file = NpyFileTest.file("<f4", "1, 1, 2, 4", new byte[32]);
    Ran tune = Ran.of("tune", "--q", "" + file, "--k", "" + file, "--v", "" + file, "--out", "p");
    assertEquals(tune.status(), 1);
    assertTrue(tune.err().contains("no GPU backend is ready: "), tune.err());
  }

  @Test
  public void explainSaysWhoServes() {
    Ran lines = Ran.of("explain", "sdxl-cross", "--no-gpu");
    assertEquals(lines.status(), 0, lines.err());
    assertTrue(lines.out().startsWith("sdxl-cross: 2x10x4096/77x64, fp16, on host"), lines.out());
    assertTrue(lines.out().matches("(?s).*\n  cpu +SERVES +.*"), lines.out());
    Ran json = Ran.of("explain", "1x2/1x8/9x16", "--no-gpu", "--json", "--causal");
    assertEquals(json.status(), 0, json.err());
    assertTrue(json.out().startsWith("{\"shape\":\"1x2/1x8/9x16\",\"dtype\":\"fp16\""), json.out());
    assertTrue(json.out().contains("{\"backend\":\"cpu\",\"outcome\":\"SERVES\""), json.out());
  }

  @Test
  public void thePageHasEveryCommandOptionAndExitCode() throws Exception {
    String page = Files.readString(PAGE);
    CommandLine commands = Attn4jCommand.commandLine();
    for (CommandLine command : commands.getSubcommands().values()) {
      assertTrue(page.contains("## " + command.getCommandName()), command.getCommandName());
      for (OptionSpec option : command.getCommandSpec().options()) {
        if (!List.of("--help", "--version").contains(option.longestName())) {
          assertTrue(
              page.contains("`" + option.longestName().replace("[no-]", "")),
              command.getCommandName() + " " + option.longestName());
        }
      }
    }
    commands
        .getCommandSpec()
        .usageMessage()
        .exitCodeList()
        .forEach((code, meaning) -> assertTrue(page.contains("| " + code + " | "), meaning));
    Shape.PRESETS
        .values()
        .forEach(shape -> assertTrue(page.contains("`" + shape.form() + "`"), shape.name()));
  }
}
