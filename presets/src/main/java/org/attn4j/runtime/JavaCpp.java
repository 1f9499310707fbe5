package org.attn4j.runtime;

import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.Pointer;

/**
 * JavaCPP's own classes, initialised in an order that can't end in a deadlock.
 *
 * <p>Two things in JavaCPP wait for each other (bytedeco/javacpp issue 737). Whoever loads a
 * library holds the monitor of {@link Loader} while the library's JNI_OnLoad initialises {@code
 * Pointer}; whoever makes the first pointer is inside {@code Pointer}'s initialiser when it asks
 * for that monitor. If they are two threads, the process hangs for ever.
 */
final class JavaCpp {
  private static final String POINTER = Pointer.class.getName();
  // Pointer's initialiser starts a thread of this name before it loads anything.
  private static final String STARTED_BY_POINTER = "JavaCPP Deallocator";

  private static volatile boolean initialised;

  private JavaCpp() {}

  /**
   * Initialises {@code Pointer}. To be called before anything of JavaCPP's is loaded or made, by a
   * thread that holds no lock and is in no initialiser that another thread could wait for inside
   * JavaCPP.
   *
   * <p>With the monitor held no other thread is inside a library's JNI_OnLoad, and if none has
   * entered the initialiser either, this one enters it and owns both. Otherwise the other thread
   * may need the monitor to get on: it is waited for without it.
   */
  static void initialise() {
    if (initialised) {
      return;
    }
    if (!pointerBegun()) { // asked twice: the first time loads the classes that asking needs
      synchronized (Loader.class) {
        if (!pointerBegun()) {
          enterInitialiser();
        }
      }
    }
    enterInitialiser();
    initialised = true;
  }

  private static void enterInitialiser() {
    try {
      Class.forName(POINTER, true, Pointer.class.getClassLoader());
    } catch (ClassNotFoundException e) {
      throw new IllegalStateException(e); // it was named by its own class
    }
  }

  /** Whether a thread is inside {@code Pointer}'s initialiser, or has been. */
  private static boolean pointerBegun() {
    // The stacks see a thread that has only just entered. The name also stands for a virtual
    // thread, which is in no list, and for the past; it is looked at last, as late as possible.
    for (StackTraceElement[] stack : Thread.getAllStackTraces().values()) {
      for (StackTraceElement frame : stack) {
        if (frame.getMethodName().equals("<clinit>") && frame.getClassName().equals(POINTER)) {
          return true;
        }
      }
    }
    return running(STARTED_BY_POINTER);
  }

  private static boolean running(String name) {
    ThreadGroup group = Thread.currentThread().getThreadGroup();
    while (group.getParent() != null) {
      group = group.getParent();
    }
    Thread[] threads = new Thread[2 * group.activeCount() + 16];
    int count = group.enumerate(threads);
    for (int i = 0; i < count; i++) {
      if (threads[i].getName().equals(name)) {
        return true;
      }
    }
    return false;
  }
}
