package org.attn4j.testing;

import java.util.Arrays;
import org.testng.ITestListener;
import org.testng.ITestResult;

/**
 * Prints one line per test, and why it failed or was skipped: {@code -listener
 * org.attn4j.testing.TestLog}.
 */
public class TestLog implements ITestListener {
  private static final int FRAMES = 12;

  @Override
  public void onTestSuccess(ITestResult result) {
    print("passed", result);
  }

  @Override
  public void onTestFailure(ITestResult result) {
    print("FAILED", result);
    for (Throwable t = result.getThrowable(); t != null; t = t.getCause()) {
      System.out.println("  " + t);
      Arrays.stream(t.getStackTrace())
          .limit(FRAMES)
          .forEach(frame -> System.out.println("    at " + frame));
    }
  }

  @Override
  public void onTestSkipped(ITestResult result) {
    print("skipped", result);
    if (result.getThrowable() != null) {
      System.out.println("  " + result.getThrowable().getMessage());
    }
  }

  private static void print(String outcome, ITestResult result) {
    System.out.printf(
        "%s %s.%s%s %d ms%n",
        outcome,
        result.getTestClass().getRealClass().getSimpleName(),
        result.getName(),
        Arrays.toString(result.getParameters()),
        result.getEndMillis() - result.getStartMillis());
  }
}
