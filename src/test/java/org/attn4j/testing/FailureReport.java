package org.attn4j.testing;

import java.util.Arrays;
import org.testng.ITestListener;
import org.testng.ITestResult;

/**
 * Prints what failed, and why, as soon as it does. Surefire has its own reports; on a GPU machine
 * without Maven, where TestNG runs by itself, nothing else names a failed test.
 */
public final class FailureReport implements ITestListener {
  @Override
  public void onTestFailure(ITestResult result) {
    System.out.println(
        "failed "
            + result.getTestClass().getRealClass().getSimpleName()
            + "."
            + result.getMethod().getMethodName()
            + Arrays.toString(result.getParameters())
            + ": "
            + result.getThrowable());
  }
}
