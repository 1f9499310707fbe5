package org.attn4j.runtime;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.testng.IConfigurationListener;
import org.testng.ITestListener;
import org.testng.ITestResult;

/** Says once per class why its tests are skipped: Surefire counts them without a reason. */
public final class SkipReport implements ITestListener, IConfigurationListener {
  private final Set<String> said = ConcurrentHashMap.newKeySet();

  @Override
  public void onTestSkipped(ITestResult result) {
    report(result);
  }

  @Override
  public void onConfigurationSkip(ITestResult result) {
    report(result);
  }

  private void report(ITestResult result) {
    Throwable reason = result.getThrowable();
    String text =
        result.getTestClass().getRealClass().getSimpleName()
            + (reason == null ? "" : ": " + reason.getMessage());
    if (said.add(text)) {
      System.out.println("skipped " + text);
    }
  }
}
