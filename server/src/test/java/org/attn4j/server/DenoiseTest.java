package org.attn4j.server;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.ByteArrayInputStream;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import org.attn4j.samples.ExactSample;
import org.attn4j.samples.PatchTokens;
import org.attn4j.samples.Picture;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** {@code POST /api/denoise} on the CPU, checked against what doesn't go through the server. */
public class DenoiseTest {
  private static final double SIGMA = 0.1;
  private static final double EIGHT_BITS = 0.5 / 255; // of a PNG's rounding

  private Client client;
  private byte[] photograph;

  @BeforeClass
  public void start() throws Exception {
    client = new Client("--port", "0");
    photograph = Client.photograph();
  }

  @AfterClass
  public void stop() {
    client.close();
  }

  private JsonObject denoise(String parameters) throws Exception {
    HttpResponse<byte[]> response =
        client.post("/api/denoise?backend=cpu&" + parameters, photograph);
    assertEquals(response.statusCode(), 200, new String(response.body()));
    return Client.json(response);
  }

  @Test
  public void exactAttentionIsNonLocalMeans() throws Exception {
    JsonObject answer = denoise("size=40&sparsity=off&seed=7");
    Picture clean = Picture.read(new ByteArrayInputStream(photograph), "chelsea").centreSquare(40);
    Picture noisy = clean.withNoise(SIGMA, 7);
    ExactSample exact = new ExactSample(noisy, PatchTokens.filterStrength(SIGMA));
    Picture result = Client.image(answer, "result");
    // 8 bits round by a quarter of 1/255 on average, relative to colours around 0.4.
    assertTrue(exact.relativeL1(result) < 5e-3, "error " + exact.relativeL1(result));
    assertTrue(result.psnr(clean) > noisy.psnr(clean) + 3, "it is not denoised");
    JsonObject quality = answer.getAsJsonObject("quality");
    assertEquals(quality.get("psnr_noisy").getAsDouble(), noisy.psnr(clean), 1e-3);
    assertEquals(quality.get("psnr").getAsDouble(), result.psnr(clean), 0.05);
    assertEquals(quality.get("error").getAsDouble(), 0.0);
    assertFalse(answer.has("block_map"));
  }

  @Test
  public void lowerThresholdsLeaveOutMoreAndErrMore() throws Exception {
    JsonObject cautious = denoise("size=64&simthreshd1=0.6");
    JsonObject trusting = denoise("size=64&simthreshd1=0.1");
    double fewer = leftOut(cautious);
    double more = leftOut(trusting);
    assertTrue(more > fewer + 0.1, fewer + " and " + more);
    assertTrue(error(trusting) > error(cautious), error(cautious) + " and " + error(trusting));
    assertTrue(error(trusting) < 0.1, "error " + error(trusting));
    assertTrue(trusting.getAsJsonObject("exact").get("cached").getAsBoolean());
  }

  @Test
  public void nothingLeftOutIsExact() throws Exception {
    JsonObject answer = denoise("size=64&simthreshd1=1"); // no block is as alike as that
    assertEquals(leftOut(answer), 0.0);
    assertEquals(error(answer), 0.0, 1e-6);
  }

  @Test
  public void theMapIsWhatTheShareSays() throws Exception {
    JsonObject answer = denoise("size=64&simthreshd1=0.2&order=tiles");
    JsonObject map = answer.getAsJsonObject("block_map");
    int columns = map.get("columns").getAsInt();
    JsonArray rows = map.getAsJsonArray("rows");
    assertEquals(rows.size(), 64 * 64 / map.get("query_block").getAsInt());
    assertEquals(columns, 64 * 64 / map.get("key_block").getAsInt());
    int computed = 0;
    for (JsonElement row : rows) {
      assertEquals(row.getAsString().length(), columns / 4);
      computed +=
          row.getAsString().chars().map(c -> Integer.bitCount(Character.digit(c, 16))).sum();
    }
    assertEquals(1 - (double) computed / (rows.size() * columns), leftOut(answer), 1e-6);
  }

  @Test
  public void orderAndOddSizesDontChangeExactAttention() throws Exception {
    JsonObject tiles = denoise("size=37&sparsity=off&order=tiles");
    JsonObject raster = denoise("size=37&simthreshd1=1&order=raster");
    Picture a = Client.image(tiles, "result");
    Picture b = Client.image(raster, "result");
    for (int pixel = 0; pixel < a.pixels(); pixel++) {
      for (int c = 0; c < Picture.CHANNELS; c++) {
        assertEquals(a.value(pixel, c), b.value(pixel, c), 2.1 * EIGHT_BITS);
      }
    }
  }

  @Test
  public void aPictureAsItIs() throws Exception {
    JsonObject answer = denoise("size=32&noise=none&sigma=0.05");
    assertFalse(answer.getAsJsonObject("quality").has("psnr"));
    assertFalse(answer.getAsJsonObject("images").has("clean"));
    Picture clean = Picture.read(new ByteArrayInputStream(photograph), "chelsea").centreSquare(32);
    assertTrue(Client.image(answer, "noisy").psnr(clean) > 50);
  }

  @Test
  public void whoServedAndWhyIsTold() throws Exception {
    JsonObject served = denoise("size=32").getAsJsonObject("served");
    assertEquals(served.get("backend").getAsString(), "cpu");
    assertTrue(served.get("kernel").getAsString().contains("fp32 reference"));
    assertTrue(served.get("ms").getAsDouble() > 0);
    assertEquals(served.getAsJsonArray("why").size(), 4);
  }

  @Test
  public void aPngWithWhatServedInItsHeaders() throws Exception {
    HttpResponse<byte[]> response =
        client.send(
            client
                .request("/api/denoise?size=32&backend=cpu")
                .header("Accept", "image/png")
                .POST(BodyPublishers.ofByteArray(photograph)));
    assertEquals(response.headers().firstValue("Content-Type").orElseThrow(), "image/png");
    assertEquals(response.headers().firstValue("Attn4j-Backend").orElseThrow(), "cpu");
    assertTrue(response.headers().firstValue("Attn4j-Left-Out").isPresent());
    Picture picture = Picture.read(new ByteArrayInputStream(response.body()), "answer");
    assertEquals(picture.width(), 32);
  }

  @Test
  public void stepsComeAsEvents() throws Exception {
    HttpResponse<byte[]> response =
        client.send(
            client
                .request("/api/denoise?size=48&backend=cpu&seed=99")
                .header("Accept", "text/event-stream")
                .POST(BodyPublishers.ofByteArray(photograph)));
    List<String> names = new ArrayList<>();
    double exact = 0;
    JsonObject result = null;
    for (String event : new String(response.body()).strip().split("\n\n")) {
      String[] lines = event.split("\n");
      JsonObject data = JsonParser.parseString(lines[1].substring(6)).getAsJsonObject();
      names.add(lines[0] + (data.has("name") ? " " + data.get("name").getAsString() : ""));
      if (names.get(names.size() - 1).endsWith("exact attention")) {
        exact += data.get("ms").getAsDouble();
      }
      result = data;
    }
    assertEquals(names.stream().filter("event: step exact attention"::equals).count(), 8);
    assertEquals(names.stream().filter("event: step sparse attention"::equals).count(), 8);
    assertEquals(names.get(names.size() - 1), "event: result");
    assertEquals(result.getAsJsonObject("exact").get("ms").getAsDouble(), exact, 0.01);
  }

  private static double leftOut(JsonObject answer) {
    return answer.getAsJsonObject("served").get("left_out").getAsDouble();
  }

  private static double error(JsonObject answer) {
    return answer.getAsJsonObject("quality").get("error").getAsDouble();
  }
}
