package org.attn4j.backend;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.attn4j.AttentionRequest;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.HostMemory;
import org.attn4j.HostTensor;
import org.attn4j.TensorShape;
import org.attn4j.TokenGrid;

/**
 * The orders of token grids in device memory: made once per grid, batch, length and device, and
 * kept, as a kernel or a graph may read one at any time.
 */
final class TokenTables {
  private static final int MOST = 64;
  private static final long MOST_TOKENS = 1L << 28; // of a table: a gigabyte
  private static final Map<Key, DeviceTensor> TABLES = new ConcurrentHashMap<>();

  private TokenTables() {}

  private record Key(TokenGrid grid, int batch, int length, int device) {}

  /** Why the request's grid can't order its tokens, or null. */
  static String refusal(AttentionRequest request) {
    TokenGrid grid = request.options().tokenGrid();
    if (grid == null) {
      return null;
    }
    long queries = request.dims().queries();
    if (!grid.fits(queries) || queries * request.dims().batch() > MOST_TOKENS) {
      return "tokenGrid is " + grid + ", for which q has too few tokens, or more than 2^28";
    }
    if (TABLES.size() >= MOST && !TABLES.containsKey(key(request))) {
      return "there are " + MOST + " token grids in use, and no more are kept on a GPU";
    }
    return null;
  }

  /** The address of the order of the request's tokens; 0: none, or one that is refused. */
  static long address(AttentionRequest request) {
    TokenGrid grid = request.options().tokenGrid();
    return grid == null || refusal(request) != null
        ? 0
        : TABLES.computeIfAbsent(key(request), TokenTables::make).address();
  }

  private static Key key(AttentionRequest request) {
    return new Key(
        request.options().tokenGrid(),
        (int) request.dims().batch(),
        (int) request.dims().queries(),
        ((DeviceTensor) request.q()).device());
  }

  private static DeviceTensor make(Key key) {
    ByteBuffer bytes =
        ByteBuffer.allocateDirect(Integer.BYTES * key.batch * key.length)
            .order(ByteOrder.nativeOrder());
    int[] order = key.grid.order(key.length).order();
    IntBuffer numbers = bytes.asIntBuffer();
    for (int entry = 0; entry < key.batch; entry++) {
      numbers.put(order);
    }
    TensorShape shape = TensorShape.contiguous(key.batch, key.length);
    HostTensor host = HostTensor.view(HostMemory.wrap(bytes), 0, DType.INT32, shape);
    return DeviceTensor.copyOf(host, key.device);
  }
}
