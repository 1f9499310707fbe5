package org.attn4j.server;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import com.google.gson.JsonObject;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import javax.imageio.ImageIO;
import org.testng.SkipException;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What isn't served is answered with a status and one sentence. */
public class ProblemTest {
  private static final byte[] NO_PICTURE = "hello".getBytes(StandardCharsets.UTF_8);

  private Client client;
  private byte[] photograph;

  @BeforeClass
  public void start() throws Exception {
    client =
        new Client("--port", "0", "--max-bytes", "300000", "--max-side", "64", "--model", "none");
    photograph = Client.photograph();
  }

  @AfterClass
  public void stop() {
    client.close();
  }

  private static void assertProblem(HttpResponse<byte[]> response, int status, String detail) {
    String body = new String(response.body(), StandardCharsets.UTF_8);
    assertEquals(response.statusCode(), status, body);
    assertEquals(
        response.headers().firstValue("Content-Type").orElseThrow(), "application/problem+json");
    JsonObject problem = Client.json(response);
    assertEquals(problem.get("status").getAsInt(), status);
    assertEquals(problem.get("type").getAsString(), "about:blank");
    assertFalse(problem.get("title").getAsString().isEmpty());
    assertTrue(problem.get("detail").getAsString().contains(detail), body);
  }

  @DataProvider
  public Object[][] queries() {
    return new Object[][] {
      {"size=4096", "size is 4096; whole numbers from 16 to 64 are accepted"},
      {"size=12.5", "size is 12.5; whole numbers"},
      {"size=", "size is empty"},
      {"sigma=NaN", "sigma is NaN; numbers from 0.005 to 0.5 are accepted"},
      {"simthreshd1=2", "simthreshd1 is 2; numbers from -1.0 to 1.0 are accepted"},
      {"cdfthreshd=-0.1", "cdfthreshd is -0.1; numbers from 0.0 to 1.0"},
      {"order=spiral", "order is spiral; raster, tiles, hilbert are accepted"},
      {"noise=much", "noise is much; add, none are accepted"},
      {"backend=cudnn", "backend is cudnn; auto, sparge, sage, exact, cpu are accepted"},
      {"backend=sage&sparsity=on", "sparsity is on; with backend sage it can only be off"},
      {"backend=sparge&sparsity=off", "sparsity is off; with backend sparge it can only be on"},
      {"seed=1&seed=2", "seed comes 2 times; once is accepted"},
      {"file=/etc/passwd", "the parameter file isn't known; known are backend"},
      {"image=../../etc/passwd", "the parameter image isn't known"},
    };
  }

  @Test(dataProvider = "queries")
  public void aWrongParameter(String query, String detail) throws Exception {
    assertProblem(client.post("/api/denoise?" + query, photograph), 400, detail);
  }

  @Test
  public void aBackendThatCantRunHere() throws Exception {
    if (ServerOptions.hasGpu()) {
      throw new SkipException("there is a GPU, so no backend is missing");
    }
    assertProblem(
        client.post("/api/denoise?backend=sparge", photograph),
        422,
        "backend is sparge, which can't run here: ");
  }

  @Test
  public void aBodyThatIsNoPicture() throws Exception {
    assertProblem(client.post("/api/denoise", new byte[0]), 400, "the body is empty");
    assertProblem(client.post("/api/denoise", NO_PICTURE), 415, "neither a PNG nor a JPEG");
    byte[] half = Arrays.copyOf(photograph, photograph.length / 2);
    assertProblem(client.post("/api/denoise", half), 400, "the picture is damaged");
    byte[] start = Arrays.copyOf(photograph, 20);
    assertProblem(client.post("/api/denoise", start), 400, "the picture is damaged");
  }

  @Test
  public void aPictureThatIsTooLarge() throws Exception {
    assertProblem(client.post("/api/denoise", new byte[300_001]), 413, "300000 bytes");
    HttpResponse<byte[]> chunked =
        client.send(
            client
                .request("/api/denoise")
                .POST(
                    BodyPublishers.ofInputStream(
                        () -> new ByteArrayInputStream(new byte[400_000]))));
    assertProblem(chunked, 413, "300000 bytes");
    ByteArrayOutputStream bomb = new ByteArrayOutputStream(); // 36 million pixels in 40 KB
    ImageIO.write(new BufferedImage(6000, 6000, BufferedImage.TYPE_BYTE_BINARY), "png", bomb);
    assertTrue(bomb.size() < 300_000);
    assertProblem(client.post("/api/denoise", bomb.toByteArray()), 413, "6000 x 6000 pixels");
  }

  @Test
  public void aPictureThatIsSmallerThanItsSize() throws Exception {
    ByteArrayOutputStream small = new ByteArrayOutputStream();
    ImageIO.write(new BufferedImage(60, 30, BufferedImage.TYPE_INT_RGB), "png", small);
    assertProblem(
        client.post("/api/denoise?size=31", small.toByteArray()),
        400,
        "has 30 pixels on its shorter");
    assertEquals(client.post("/api/denoise?size=30", small.toByteArray()).statusCode(), 200);
  }

  @Test
  public void wrongAddressesAndMethods() throws Exception {
    assertProblem(client.get("/api/denoise"), 405, "another method");
    assertProblem(client.get("/api/nothing"), 404, "nothing at this address");
    assertProblem(client.get("/pom.xml"), 404, "nothing at this address");
    assertEquals(client.get("/%2e%2e/AttnServer.class").statusCode(), 400);
    assertProblem(client.get("/api/backends?verbose=1"), 400, "takes no parameters");
  }

  @Test
  public void anotherSitesPageIsRefused() throws Exception {
    assertProblem(
        client.send(
            client
                .request("/api/denoise")
                .header("Origin", "http://evil.example")
                .POST(BodyPublishers.ofByteArray(photograph))),
        403,
        "the request comes from a page of http://evil.example");
    String answer =
        raw("GET /api/backends HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assertTrue(answer.startsWith("HTTP/1.1 403 "), answer);
    assertTrue(answer.contains("this server answers to localhost"), answer);
  }

  private String raw(String request) throws Exception {
    try (Socket socket = new Socket("127.0.0.1", client.server.port())) {
      OutputStream out = socket.getOutputStream();
      out.write(request.getBytes(StandardCharsets.US_ASCII));
      out.flush();
      return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    }
  }

  @Test
  public void generatingSaysWhatIsMissing() throws Exception {
    HttpResponse<byte[]> response = client.post("/api/generate", "{}".getBytes());
    assertProblem(response, 503, "the server was started with --model none");
    JsonObject generate = Client.json(client.get("/api/backends")).getAsJsonObject("generate");
    assertEquals(
        generate.get("reason").getAsString(), Client.json(response).get("detail").getAsString());
  }

  @Test
  public void aRequestThatTakesTooLong() throws Exception {
    ServerOptions usual = ServerOptions.defaults();
    ServerOptions hurried =
        new ServerOptions(
            usual.host(), 0, 1, 1, Duration.ofMillis(100), usual.maxSide(), usual.maxBytes(), null);
    try (Client other = new Client(hurried)) {
      long start = System.nanoTime();
      HttpResponse<byte[]> response = other.post("/api/denoise?backend=cpu&size=128", photograph);
      assertProblem(response, 504, "the request took more than 0.1 s");
      double seconds = (System.nanoTime() - start) / 1e9;
      assertTrue(seconds < 10, "the answer took " + seconds + " s");
    }
  }

  @Test
  public void aFullServerSaysWhenToComeAgain() throws Exception {
    try (Client busy = new Client("--port", "0", "--workers", "1", "--queue", "0")) {
      HttpResponse<byte[]> refused = null;
      for (int round = 0; round < 20 && refused == null; round++) { // the small one may be first
        CompletableFuture<HttpResponse<byte[]>> slow =
            busy.postLater("/api/denoise?backend=cpu&size=96", photograph);
        while (refused == null && !slow.isDone()) {
          refused = ifRefused(busy.post("/api/denoise?backend=cpu&size=16", photograph));
        }
        refused = refused == null ? ifRefused(slow.get()) : refused;
      }
      assertProblem(refused, 503, "1 requests are waiting or being computed");
      String seconds = refused.headers().firstValue("Retry-After").orElseThrow();
      assertTrue(Integer.parseInt(seconds) >= 1, seconds);
      assertEquals(busy.get("/api/backends").statusCode(), 200);
    }
  }

  private static HttpResponse<byte[]> ifRefused(HttpResponse<byte[]> response) {
    if (response.statusCode() == 200) {
      return null;
    }
    assertEquals(response.statusCode(), 503, new String(response.body()));
    return response;
  }

  @Test
  public void optionsAreChecked() {
    for (String[] wrong :
        new String[][] {{"--port", "70000"}, {"--workers", "0"}, {"--colour", "red"}, {"--port"}}) {
      String message =
          expectThrows(IllegalArgumentException.class, () -> ServerOptions.parse(wrong))
              .getMessage();
      assertTrue(message.startsWith(wrong[0] + " "), message);
    }
    assertEquals(ServerOptions.parse("--queue", "3").queue(), 3);
    assertEquals(ServerOptions.defaults().host(), "127.0.0.1");
  }

  @Test
  public void aPortThatIsTaken() {
    IllegalStateException failure =
        expectThrows(
            IllegalStateException.class,
            () -> new Client("--port", Integer.toString(client.server.port())));
    assertTrue(failure.getMessage().startsWith("can't listen on 127.0.0.1:"), failure.getMessage());
  }
}
