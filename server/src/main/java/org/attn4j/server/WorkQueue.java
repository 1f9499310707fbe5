package org.attn4j.server;

import java.time.Duration;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * Computes a few requests at a time, lets a few more wait, and turns the rest away with the seconds
 * after which to come again.
 */
final class WorkQueue implements AutoCloseable {
  private static final Logger LOG = Logger.getLogger(WorkQueue.class.getName());
  private static final double NEWEST = 0.2; // share of the newest request in the mean time

  private final ThreadPoolExecutor workers;
  private final int capacity;
  private final Duration limit;
  private final AtomicInteger accepted = new AtomicInteger(); // waiting or running
  private volatile double meanSeconds = 1;

  WorkQueue(int workers, int waiting, Duration limit) {
    this.limit = limit;
    capacity = workers + waiting;
    AtomicInteger number = new AtomicInteger();
    this.workers =
        new ThreadPoolExecutor(
            workers,
            workers,
            0,
            TimeUnit.SECONDS,
            new ArrayBlockingQueue<>(capacity), // submit lets no more in
            work -> {
              Thread thread = new Thread(work, "attn4j-worker-" + number.incrementAndGet());
              thread.setDaemon(true);
              return thread;
            });
    this.workers.prestartAllCoreThreads();
  }

  /** How many requests are waiting or being computed. */
  int load() {
    return accepted.get();
  }

  int capacity() {
    return capacity;
  }

  /**
   * Lets a worker compute {@code work}, hands its steps to {@code steps} on the caller's thread,
   * and returns what it computed.
   *
   * @throws Problem if there is no room, if time is up, or whatever else {@code work} threw
   */
  <T> T run(Function<Progress, T> work, Consumer<Progress.Step> steps) {
    Ticket<T> ticket = new Ticket<>(work, System.nanoTime() + limit.toNanos());
    submit(ticket);
    try {
      return ticket.await(steps);
    } finally {
      ticket.abandoned = true;
    }
  }

  private void submit(Ticket<?> ticket) {
    if (accepted.incrementAndGet() > capacity) {
      accepted.decrementAndGet();
      throw full();
    }
    try {
      workers.execute(ticket);
    } catch (RejectedExecutionException e) {
      accepted.decrementAndGet();
      throw full();
    }
  }

  private Problem full() {
    double turns = (double) capacity / workers.getCorePoolSize();
    long seconds = Math.max(1, Math.round(turns * meanSeconds / 2));
    return Problem.busy(
        capacity + " requests are waiting or being computed, which is all that fit; come again",
        seconds);
  }

  @Override
  public void close() {
    workers.shutdownNow();
  }

  /** One request: computed by a worker, awaited by the thread of its client. */
  private final class Ticket<T> implements Runnable, Progress {
    private static final long LATE_SECONDS = 5; // a worker looks at the clock between steps

    private final Function<Progress, T> work;
    private final long deadline; // System.nanoTime()
    private final BlockingQueue<Object> events = new LinkedBlockingQueue<>(); // a Step, or the end
    private volatile boolean abandoned;

    Ticket(Function<Progress, T> work, long deadline) {
      this.work = work;
      this.deadline = deadline;
    }

    /** What ends a ticket: a result or what went wrong. */
    private record End(Object result, RuntimeException failure) {}

    @Override
    public void run() {
      long start = System.nanoTime();
      End end;
      try {
        check();
        end = new End(work.apply(this), null);
        double seconds = (System.nanoTime() - start) / 1e9;
        meanSeconds = (1 - NEWEST) * meanSeconds + NEWEST * seconds;
      } catch (Problem e) {
        end = new End(null, e);
      } catch (RuntimeException | Error e) {
        LOG.log(Level.SEVERE, "a request failed", e);
        end = new End(null, Problem.internal());
      } finally {
        accepted.decrementAndGet();
      }
      events.add(end);
    }

    @Override
    public void done(Step step) {
      events.add(step);
      check();
    }

    @Override
    public void check() {
      if (abandoned) {
        throw Problem.timeout("the client has gone");
      }
      if (System.nanoTime() > deadline) {
        throw late();
      }
    }

    private Problem late() {
      return Problem.timeout(
          "the request took more than "
              + limit.toMillis() / 1000.0
              + " s; a smaller picture or fewer steps take less");
    }

    @SuppressWarnings("unchecked") // of T, which work returned
    T await(Consumer<Step> steps) {
      try {
        while (true) {
          long nanos = deadline - System.nanoTime() + TimeUnit.SECONDS.toNanos(LATE_SECONDS);
          Object event = events.poll(Math.max(0, nanos), TimeUnit.NANOSECONDS);
          if (event == null) {
            throw late();
          } else if (event instanceof Step step) {
            steps.accept(step);
          } else if (((End) event).failure() != null) {
            throw ((End) event).failure();
          } else {
            return (T) ((End) event).result();
          }
        }
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw Problem.unavailable("the server is stopping");
      }
    }
  }
}
