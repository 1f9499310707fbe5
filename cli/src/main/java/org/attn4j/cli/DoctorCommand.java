package org.attn4j.cli;

import java.util.concurrent.Callable;
import org.attn4j.Doctor;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** Says what is found on this machine, and runs kernels where there is a GPU. */
@Command(
    name = "doctor",
    description = {
      "Says what attn4j finds on this machine, what it makes of it and why.",
      "On a GPU it runs kernels and compares them with the CPU.",
      "Exit code 0: a GPU backend is ready and right."
    },
    mixinStandardHelpOptions = true)
final class DoctorCommand implements Callable<Integer> {
  @Option(names = "--json", description = "One JSON object instead of lines.")
  private boolean json;

  @Override
  public Integer call() {
    return json ? Doctor.run(System.out, System.err, "--json") : Doctor.run(System.out, System.err);
  }
}
