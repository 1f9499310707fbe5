package org.attn4j.server;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The queue lets in what fits, turns the rest away, and gives up what nobody waits for. */
public class WorkQueueTest {
  private static final Duration LONG = Duration.ofSeconds(60);

  @DataProvider
  public Object[][] sizes() {
    return new Object[][] {{1, 0}, {1, 3}, {3, 0}, {2, 2}};
  }

  @Test(dataProvider = "sizes")
  public void whatDoesntFitIsTurnedAway(int workers, int waiting) throws Exception {
    ExecutorService clients = Executors.newCachedThreadPool();
    CountDownLatch finish = new CountDownLatch(1);
    AtomicInteger running = new AtomicInteger();
    AtomicInteger most = new AtomicInteger();
    try (WorkQueue queue = new WorkQueue(workers, waiting, LONG)) {
      List<CompletableFuture<Integer>> results = new ArrayList<>();
      for (int i = 0; i < workers + waiting; i++) {
        int number = i;
        results.add(
            CompletableFuture.supplyAsync(
                () ->
                    queue.run(
                        progress -> {
                          most.accumulateAndGet(running.incrementAndGet(), Math::max);
                          awaitUninterrupted(finish);
                          running.decrementAndGet();
                          return number;
                        },
                        step -> {}),
                clients));
        awaitLoad(queue, i + 1);
      }
      Problem full = expectThrows(Problem.class, () -> queue.run(progress -> -1, step -> {}));
      assertEquals(full.status(), 503);
      assertTrue(full.retryAfterSeconds() >= 1);
      finish.countDown();
      for (int i = 0; i < results.size(); i++) {
        assertEquals((int) results.get(i).get(10, TimeUnit.SECONDS), i);
      }
      awaitLoad(queue, 0);
      assertEquals(most.get(), workers);
      assertEquals((int) queue.run(progress -> 5, step -> {}), 5); // there is room again
    } finally {
      finish.countDown();
      clients.shutdownNow();
    }
  }

  private static void awaitUninterrupted(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static void awaitLoad(WorkQueue queue, int load) throws InterruptedException {
    long deadline = System.nanoTime() + LONG.toNanos();
    while (queue.load() != load && System.nanoTime() < deadline) {
      Thread.sleep(2);
    }
    assertEquals(queue.load(), load);
  }

  @Test
  public void workStopsAtTheFirstStepPastItsTime() {
    AtomicInteger steps = new AtomicInteger();
    try (WorkQueue queue = new WorkQueue(1, 0, Duration.ofMillis(200))) {
      Problem late =
          expectThrows(
              Problem.class,
              () ->
                  queue.run(
                      progress -> {
                        for (int i = 1; i < 1000; i++) {
                          sleep(20);
                          progress.done(new Progress.Step("sleep", "java", i, 1000, 20));
                        }
                        return 0;
                      },
                      step -> steps.incrementAndGet()));
      assertEquals(late.status(), 504);
    }
    assertTrue(steps.get() >= 1 && steps.get() <= 11, steps + " steps");
  }

  @Test
  public void workWhoseClientHasGoneStops() throws Exception {
    CountDownLatch stopped = new CountDownLatch(1);
    try (WorkQueue queue = new WorkQueue(1, 0, LONG)) {
      expectThrows(
          IllegalStateException.class,
          () ->
              queue.run(
                  progress -> {
                    try {
                      for (int i = 1; i < 1000; i++) {
                        sleep(10);
                        progress.done(new Progress.Step("sleep", "java", i, 1000, 10));
                      }
                    } finally {
                      stopped.countDown();
                    }
                    return 0;
                  },
                  step -> {
                    throw new IllegalStateException("the connection broke");
                  }));
      assertTrue(stopped.await(5, TimeUnit.SECONDS));
    }
  }

  @Test
  public void aFailureOfOursDoesntShowItsInsides() {
    try (WorkQueue queue = new WorkQueue(1, 0, LONG)) {
      Problem problem =
          expectThrows(
              Problem.class,
              () ->
                  queue.run(
                      progress -> {
                        throw new IllegalStateException("secret");
                      },
                      step -> {}));
      assertEquals(problem.status(), 500);
      assertTrue(!problem.getMessage().contains("secret"));
    }
  }

  private static void sleep(int millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
