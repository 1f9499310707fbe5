package org.attn4j.server;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.ByteArrayInputStream;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import org.attn4j.samples.Picture;
import org.attn4j.server.diffusion.Formula;
import org.testng.SkipException;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** {@code POST /api/generate} with a small model of random weights: what it paints is noise. */
public class GenerateTest {
  private Client client;

  @BeforeClass
  public void start() throws Exception {
    client = new Client("--port", "0", "--max-side", "64", "--model", Formula.folder().toString());
  }

  @AfterClass
  public void stop() {
    client.close();
  }

  private HttpResponse<byte[]> post(String json) throws Exception {
    return client.post("/api/generate", json.getBytes(StandardCharsets.UTF_8));
  }

  private JsonObject generate(String json) throws Exception {
    HttpResponse<byte[]> response = post(json);
    assertEquals(response.statusCode(), 200, new String(response.body()));
    return Client.json(response);
  }

  private static Picture picture(JsonArray images, int index) throws Exception {
    byte[] png = Base64.getDecoder().decode(images.get(index).getAsString());
    return Picture.read(new ByteArrayInputStream(png), "image");
  }

  @Test
  public void theSameSeedIsTheSamePicture() throws Exception {
    String request =
        "{\"prompt\": \"cat\", \"width\": 32, \"height\": 32, \"steps\": 3, \"seed\": %d}";
    String first = generate(request.formatted(5)).getAsJsonArray("images").toString();
    assertEquals(generate(request.formatted(5)).getAsJsonArray("images").toString(), first);
    assertNotEquals(generate(request.formatted(6)).getAsJsonArray("images").toString(), first);
    String moon = request.formatted(5).replace("cat", "moon");
    assertNotEquals(generate(moon).getAsJsonArray("images").toString(), first);
  }

  @Test
  public void severalPicturesHaveSeedsInARow() throws Exception {
    String request = "{\"prompt\": \"Grass, moon!\", \"steps\": 2, \"num_images\": 2, \"seed\": 8}";
    JsonArray two = generate(request).getAsJsonArray("images");
    assertEquals(two.size(), 2);
    assertEquals(picture(two, 0).width(), 16);
    String next = request.replace("\"num_images\": 2, \"seed\": 8", "\"seed\": 9");
    assertEquals(generate(next).getAsJsonArray("images").get(0), two.get(1));
  }

  @Test
  public void whoServedIsTold() throws Exception {
    JsonObject answer =
        generate(
            "{\"prompt\": \"cat\", \"width\": 64, \"steps\": 2, \"sampler\": \"euler\","
                + " \"sparsity\": {\"simthreshd1\": -1, \"cdfthreshd\": 0.5}}");
    JsonObject served = answer.getAsJsonObject("served");
    assertEquals(served.get("backend").getAsString(), "cpu");
    assertTrue(served.get("kernel").getAsString().contains("SpargeAttn's rule"));
    assertTrue(served.get("ms_per_step").getAsDouble() > 0);
    assertTrue(served.get("left_out").getAsDouble() > 0.1);
    assertEquals(answer.get("sampler").getAsString(), "euler");
  }

  @Test
  public void stepsComeAsEvents() throws Exception {
    HttpResponse<byte[]> response =
        client.send(
            client
                .request("/api/generate")
                .header("Accept", "text/event-stream")
                .POST(BodyPublishers.ofString("{\"prompt\": \"cat\", \"steps\": 4}")));
    String events = new String(response.body(), StandardCharsets.UTF_8);
    assertEquals(events.split("event: step\n", -1).length - 1, 4);
    assertTrue(events.contains("event: result\ndata: {"), events);
  }

  @Test
  public void pyTorchPaintsTheSame() throws Exception {
    String request =
        "{\"prompt\": \"moon\", \"steps\": 2, \"seed\": 4, \"guidance\": 1, \"backend\": \"%s\"}";
    JsonObject byTorch = generate(request.formatted("pytorch"));
    Picture java = picture(generate(request.formatted("cpu")).getAsJsonArray("images"), 0);
    Picture torch = picture(byTorch.getAsJsonArray("images"), 0);
    assertTrue(byTorch.getAsJsonObject("served").get("backend").getAsString().contains("orch"));
    for (int pixel = 0; pixel < java.pixels(); pixel++) {
      for (int c = 0; c < Picture.CHANNELS; c++) {
        assertEquals(torch.value(pixel, c), java.value(pixel, c), 1.01 / 255);
      }
    }
  }

  @Test
  public void aGpuThatIsNotThereIsRefused() throws Exception {
    if (ServerOptions.hasGpu()) {
      throw new SkipException("there is a GPU");
    }
    HttpResponse<byte[]> response = post("{\"prompt\": \"cat\", \"backend\": \"gpu\"}");
    assertEquals(response.statusCode(), 422);
    String detail = Client.json(response).get("detail").getAsString();
    assertTrue(detail.startsWith("backend is gpu, which can't run here: "), detail);
  }

  @DataProvider
  public Object[][] bodies() {
    return new Object[][] {
      {"", "the body is no JSON object"},
      {"[1]", "the body is no JSON object"},
      {"{\"prompt\": \"dog\"}", "prompt has the word dog; the model knows cat, moon, grass"},
      {"{\"prompt\": \"cat cat cat cat cat\"}", "prompt has 5 words; up to 4 are accepted"},
      {"{\"prompt\": [\"cat\"]}", "prompt is [\"cat\"]; a string or a number is accepted"},
      {"{\"width\": 32, \"height\": 64}", "width and height are 32 and 64"},
      {"{\"width\": 24}", "width and height are 24 and 24; one multiple of 16"},
      {"{\"width\": 1024}", "width is 1024; whole numbers from 16 to 64 are accepted"},
      {"{\"steps\": 0}", "steps is 0; whole numbers from 1 to 200"},
      {"{\"num_images\": 5}", "num_images is 5; whole numbers from 1 to 4"},
      {"{\"sampler\": \"magic\"}", "sampler is magic; ddim, euler are accepted"},
      {"{\"backend\": \"pytorch\", \"sparsity\": true}", "sparsity is on; with backend pytorch"},
      {"{\"sparsity\": 3}", "sparsity is 3; true, false and an object"},
      {"{\"sparsity\": {\"topk\": 1}}", "the parameter topk isn't known"},
      {"{\"file\": \"/etc/passwd\"}", "the parameter file isn't known"},
    };
  }

  @Test(dataProvider = "bodies")
  public void aWrongBodyGetsASentence(String body, String detail) throws Exception {
    HttpResponse<byte[]> response = post(body);
    assertEquals(response.statusCode(), 400, new String(response.body()));
    String found = Client.json(response).get("detail").getAsString();
    assertTrue(found.contains(detail), found);
  }

  @Test
  public void whatTheModelKnowsIsTold() throws Exception {
    JsonObject generate = Client.json(client.get("/api/backends")).getAsJsonObject("generate");
    assertTrue(generate.get("ready").getAsBoolean());
    assertEquals(generate.getAsJsonArray("words").toString(), "[\"cat\",\"moon\",\"grass\"]");
    assertEquals(generate.getAsJsonArray("sizes").toString(), "[16,32]");
  }

  @Test
  public void aFolderWithoutAModelIsRefused() throws Exception {
    Path empty = Files.createTempDirectory("attn4j-empty");
    IllegalStateException failure =
        expectThrows(
            IllegalStateException.class,
            () -> new Client("--port", "0", "--model", empty.toString()));
    assertTrue(failure.getMessage().contains("has no model.safetensors"), failure.getMessage());
  }
}
