package org.attn4j.server;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import com.google.gson.JsonObject;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.attn4j.samples.Picture;
import org.testng.Reporter;
import org.testng.annotations.Test;

/** 100 requests, 8 at a time, with 8 pictures: none is lost, none is mixed up, memory is flat. */
public class LoadTest {
  private static final int REQUESTS = 100;
  private static final int AT_ONCE = 8;
  private static final int SIDE = 40;
  private static final long MORE = 16 << 20; // bytes that 75 requests may leave behind

  @Test
  public void noneLostNoneMixed() throws Exception {
    List<byte[]> pictures = pictures();
    ExecutorService clients = Executors.newFixedThreadPool(AT_ONCE);
    try (Client client = new Client("--port", "0")) {
      List<String> expected = new ArrayList<>();
      for (int i = 0; i < AT_ONCE; i++) {
        expected.add(result(client, pictures, i));
      }
      assertEquals(expected.stream().distinct().count(), AT_ONCE, "the pictures are alike");
      long before = 0;
      for (int quarter = 0; quarter < 4; quarter++) {
        List<Future<String>> results = new ArrayList<>();
        for (int i = 0; i < REQUESTS / 4; i++) {
          int picture = i % AT_ONCE;
          results.add(clients.submit(() -> result(client, pictures, picture)));
        }
        for (int i = 0; i < results.size(); i++) {
          assertEquals(results.get(i).get(), expected.get(i % AT_ONCE), "request " + i);
        }
        long bytes = liveBytes();
        Reporter.log("after " + (quarter + 1) * 25 + " requests: " + (bytes >> 10) + " KB", true);
        before = quarter == 0 ? bytes : before;
        assertTrue(bytes - before < MORE, "it grew from " + before + " to " + bytes + " bytes");
      }
    } finally {
      clients.shutdownNow();
    }
  }

  /** The denoised picture and the map of one request; a refusal fails. */
  private static String result(Client client, List<byte[]> pictures, int i) throws Exception {
    // The seed and the threshold differ too, so that a mix-up of any of them shows.
    String address =
        "/api/denoise?backend=cpu&size=" + SIDE + "&seed=" + i + "&simthreshd1=0." + (i + 1);
    HttpResponse<byte[]> response = client.post(address, pictures.get(i));
    assertEquals(response.statusCode(), 200, new String(response.body()));
    JsonObject answer = Client.json(response);
    return answer.getAsJsonObject("images").get("result").getAsString()
        + answer.getAsJsonObject("block_map");
  }

  private static List<byte[]> pictures() throws IOException {
    Picture whole = Picture.read(new ByteArrayInputStream(Client.photograph()), "chelsea");
    List<byte[]> pictures = new ArrayList<>();
    for (int i = 0; i < AT_ONCE; i++) {
      pictures.add(whole.centreSquare(SIDE + 4 * i).withNoise(0.02 * i, i).png());
    }
    return pictures;
  }

  /** What is in use after a collection, on the heap and in direct buffers. */
  private static long liveBytes() throws InterruptedException {
    for (int i = 0; i < 3; i++) {
      System.gc();
      Thread.sleep(50);
    }
    long bytes = ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
    for (BufferPoolMXBean pool : ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class)) {
      bytes += pool.getMemoryUsed();
    }
    return bytes;
  }
}
