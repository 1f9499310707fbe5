package org.attn4j.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import org.attn4j.AttentionException;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.UnsupportedAttentionException;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;

/** The {@code attn4j} command. */
@Command(
    name = "attn4j",
    description = "Attention on this machine: looks at it, measures, explains, tunes.",
    mixinStandardHelpOptions = true,
    versionProvider = Attn4jCommand.Version.class,
    subcommands = {
      DoctorCommand.class,
      BenchCommand.class,
      ExplainCommand.class,
      TuneCommand.class,
      DenoiseCommand.class
    },
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {
      "0:done",
      "1:it can't be done here, or went wrong; stderr has the reason in a sentence",
      "2:the command line is wrong"
    })
public final class Attn4jCommand {
  /** It can't be done on this machine, or went wrong. */
  static final int FAILED = 1;

  /** The command line is wrong. */
  static final int USAGE = 2;

  private Attn4jCommand() {}

  /** Runs a subcommand and ends the JVM with its exit code. */
  public static void main(String[] args) {
    System.setProperty("java.awt.headless", "true");
    System.exit(commandLine().execute(args));
  }

  /** The command with its subcommands, as {@link #main} runs it. */
  static CommandLine commandLine() {
    CommandLine commands = new CommandLine(new Attn4jCommand());
    commands.setCaseInsensitiveEnumValuesAllowed(true);
    commands.setUsageHelpAutoWidth(true);
    commands.setExecutionExceptionHandler((e, command, result) -> report(e, command));
    return commands;
  }

  private static int report(Exception e, CommandLine command) throws Exception {
    PrintWriter err = command.getErr();
    if (e instanceof UsageException || e instanceof InvalidAttentionArgumentException) {
      err.println(e.getMessage());
      return USAGE;
    }
    if (e instanceof FileSystemException file && file.getReason() == null) {
      err.println(
          file.getFile()
              + (e instanceof NoSuchFileException
                  ? " doesn't exist"
                  : " can't be read or written"));
      return FAILED;
    }
    if (e instanceof FailedException
        || e instanceof UnsupportedAttentionException
        || e instanceof AttentionException
        || e instanceof IOException) {
      err.println(e.getMessage());
      return FAILED;
    }
    throw e; // a bug: picocli prints the trace, and the exit code is 1
  }

  /** What was asked for can't be done here. */
  static final class FailedException extends RuntimeException {
    private static final long serialVersionUID = 1;

    FailedException(String message) {
      super(message);
    }
  }

  /** The command line is wrong in a way that only the subcommand knows. */
  static final class UsageException extends RuntimeException {
    private static final long serialVersionUID = 1;

    UsageException(String message) {
      super(message);
    }
  }

  /** The version in the manifest of the JAR. */
  static final class Version implements IVersionProvider {
    @Override
    public String[] getVersion() {
      return new String[] {"attn4j " + version() + ", Java " + System.getProperty("java.version")};
    }

    static String version() {
      String version = Attn4jCommand.class.getPackage().getImplementationVersion();
      return version == null ? "(not packed)" : version;
    }
  }
}
