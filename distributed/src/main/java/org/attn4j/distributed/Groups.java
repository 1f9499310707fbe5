package org.attn4j.distributed;

import java.net.DatagramSocket;
import java.net.InetSocketAddress;
import java.net.SocketException;
import java.util.Map;
import org.attn4j.distributed.WorldOptions.Transport;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.chrono.Milliseconds;
import org.bytedeco.pytorch.Backend;
import org.bytedeco.pytorch.GlooDeviceVector;
import org.bytedeco.pytorch.PrefixStore;
import org.bytedeco.pytorch.ProcessGroupGloo;
import org.bytedeco.pytorch.Store;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.gloo.Device;
import org.bytedeco.pytorch.nccl.ProcessGroupNCCL;

/** Makes c10d's process groups. */
final class Groups {
  private static final int GLOO_THREADS = 2;

  // PyTorch's watchdog would end the process when a message times out. Here it aborts the messages
  // (2: clean up only), and the next call throws; nothing else ends the JVM or writes dumps, which
  // the watchdog would else wait 60 s for before it aborts.
  private static final Map<String, String> NCCL_SETTINGS =
      Map.of(
          "TORCH_NCCL_ASYNC_ERROR_HANDLING", "2",
          "TORCH_NCCL_ENABLE_MONITORING", "0",
          "TORCH_NCCL_DUMP_ON_TIMEOUT", "0",
          "TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "0");

  private Groups() {}

  /**
   * A group of its own, connected to all members.
   *
   * @param prefix used once: a second group on it would read the first one's addresses
   */
  @SuppressWarnings("try") // the scope is there to be closed
  static Backend create(
      Transport transport,
      Store store,
      String prefix,
      int member,
      int members,
      WorldOptions options,
      String address) {
    try (PointerScope temporaries = new PointerScope()) {
      PrefixStore part = new PrefixStore(prefix, store);
      Milliseconds timeout = new Milliseconds(options.timeout().toMillis());
      Backend group =
          transport == Transport.NCCL
              ? nccl(part, member, members, timeout)
              : gloo(part, member, members, timeout, address);
      Tensors.givenAway(part);
      return Tensors.keep(group);
    }
  }

  private static Backend gloo(
      PrefixStore store, int member, int members, Milliseconds timeout, String address) {
    ProcessGroupGloo.Options options = ProcessGroupGloo.Options.create(timeout);
    options.devices(new GlooDeviceVector(device(address)));
    options.threads(GLOO_THREADS);
    return new ProcessGroupGloo(store, member, members, options);
  }

  private static Device device(String address) {
    String names = System.getenv("GLOO_SOCKET_IFNAME");
    return names == null || names.isBlank()
        ? ProcessGroupGloo.createDeviceForHostname(address)
        : ProcessGroupGloo.createDeviceForInterface(names.split(",")[0].trim());
  }

  /** On a stream of high priority, so that messages don't queue behind attention's kernels. */
  private static Backend nccl(PrefixStore store, int member, int members, Milliseconds timeout) {
    NCCL_SETTINGS.forEach(
        (name, value) -> {
          if (!torch.has_env(name)) { // the user's own stand
            torch.set_env(name, value);
          }
        });
    ProcessGroupNCCL.Options options = ProcessGroupNCCL.Options.create(true);
    ProcessGroupNCCL group = new ProcessGroupNCCL(store, member, members, options);
    group.setTimeout(timeout);
    return group;
  }

  /**
   * Frees a group. NCCL's waits for its messages first, unless the world is lost: then they are
   * aborted, for a peer that died would leave them waiting.
   */
  static void close(Backend group, Transport transport, boolean lost) {
    if (transport == Transport.NCCL && lost) {
      group.abort();
    } else if (transport == Transport.NCCL) {
      group.shutdown();
    }
    group.close();
  }

  /**
   * This machine's address on the way to the master; the master's host name if there is no way.
   * Nothing is sent.
   */
  static String addressTowards(String host, int port) {
    try (DatagramSocket socket = new DatagramSocket()) {
      InetSocketAddress master = new InetSocketAddress(host, port);
      if (master.isUnresolved()) {
        return host;
      }
      socket.connect(master);
      return socket.getLocalAddress().getHostAddress();
    } catch (SocketException e) {
      return host;
    }
  }
}
