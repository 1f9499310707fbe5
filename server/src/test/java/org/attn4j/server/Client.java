package org.attn4j.server;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Base64;
import java.util.concurrent.CompletableFuture;
import org.attn4j.samples.DenoiseDemo;
import org.attn4j.samples.Picture;

/** A server on a free port of loopback, and requests to it. */
final class Client implements AutoCloseable {
  final AttnServer server;
  private final HttpClient http = HttpClient.newHttpClient();

  Client(ServerOptions options) {
    server = AttnServer.start(options);
  }

  Client(String... options) {
    this(ServerOptions.parse(options));
  }

  URI uri(String address) {
    return URI.create("http://127.0.0.1:" + server.port() + address);
  }

  HttpRequest.Builder request(String address) {
    return HttpRequest.newBuilder(uri(address)).timeout(Duration.ofSeconds(100));
  }

  HttpResponse<byte[]> get(String address) throws IOException, InterruptedException {
    return send(request(address));
  }

  HttpResponse<byte[]> send(HttpRequest.Builder request) throws IOException, InterruptedException {
    return http.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
  }

  HttpResponse<byte[]> post(String address, byte[] body) throws IOException, InterruptedException {
    return send(request(address).POST(HttpRequest.BodyPublishers.ofByteArray(body)));
  }

  /** As {@link #post}, without waiting for the answer. */
  CompletableFuture<HttpResponse<byte[]>> postLater(String address, byte[] body) {
    HttpRequest request =
        request(address).POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
    return http.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray());
  }

  static JsonObject json(HttpResponse<byte[]> response) {
    return JsonParser.parseString(new String(response.body())).getAsJsonObject();
  }

  static Picture image(JsonObject answer, String name) throws IOException {
    String base64 = answer.getAsJsonObject("images").get(name).getAsString();
    return Picture.read(new ByteArrayInputStream(Base64.getDecoder().decode(base64)), name);
  }

  /** The file of the demo's photograph. */
  static byte[] photograph() throws IOException {
    try (InputStream in = DenoiseDemo.class.getResourceAsStream("chelsea.png")) {
      return in.readAllBytes();
    }
  }

  static Path screenshots() {
    return Path.of("target", "screenshots");
  }

  @Override
  public void close() {
    server.close();
  }
}
