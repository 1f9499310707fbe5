package org.attn4j.cli;

import java.io.PrintWriter;
import java.io.StringWriter;
import picocli.CommandLine;

/**
 * What a command line did in this process.
 *
 * @param status the exit code
 * @param out its stdout, unless it is another program's
 * @param err its stderr
 */
record Ran(int status, String out, String err) {
  static Ran of(String... args) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    CommandLine commands = Attn4jCommand.commandLine();
    commands.setOut(new PrintWriter(out));
    commands.setErr(new PrintWriter(err));
    int status = commands.execute(args);
    return new Ran(status, out.toString(), err.toString());
  }
}
