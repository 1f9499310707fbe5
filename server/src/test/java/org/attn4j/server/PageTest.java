package org.attn4j.server;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.io.ByteArrayInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.attn4j.samples.Picture;
import org.attn4j.server.diffusion.Formula;
import org.openqa.selenium.Keys;
import org.openqa.selenium.WebElement;
import org.openqa.selenium.support.ui.Select;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** The page in a real browser, against a real server. */
public class PageTest {
  private static final String READY = "document.querySelectorAll('#backends tr').length === 4";
  private static final String DONE =
      "document.getElementById('status').textContent.startsWith('Done')"
          + " && !document.body.hasAttribute('aria-busy')";
  private static final Pattern SHARE = Pattern.compile("([0-9.]+) % left out");

  private Client client;
  private Browser browser;

  @BeforeClass
  public void start() throws Exception {
    browser = Browser.start(1200, 1500, false);
    client = new Client("--port", "0", "--timeout", "600");
  }

  @AfterClass(alwaysRun = true)
  public void stop() {
    if (browser != null) {
      browser.close();
    }
    if (client != null) {
      client.close();
    }
  }

  @BeforeMethod
  public void open() {
    open(browser);
    browser.complaints(); // those of the test before are forgotten
  }

  private void open(Browser in) {
    in.open(client.uri("/").toString());
    in.await(READY);
  }

  private static void choose(Browser in, String field, String value) {
    new Select(in.find(field)).selectByValue(value);
  }

  private static void denoise(Browser in) {
    in.find("#go").click();
    in.await("document.body.hasAttribute('aria-busy')");
    in.await(DONE);
  }

  private static double share(Browser in) {
    Matcher share = SHARE.matcher(in.text("#map-share"));
    assertTrue(share.matches(), in.text("#map-share"));
    return Double.parseDouble(share.group(1));
  }

  @Test
  public void denoisesAndShowsWhatWasLeftOut() throws Exception {
    assertTrue(browser.text("#serving").contains(" serves: "), browser.text("#serving"));
    choose(browser, "#size", "96");
    denoise(browser);
    assertEquals(browser.all("#step-rows tr").size(), 17); // 8 exact, 1 choice, 8 sparse
    for (String figure : List.of("noisy", "exact", "result", "difference")) {
      String image = "document.querySelector('#figure-" + figure + " img')";
      assertEquals(browser.script("return " + image + ".naturalWidth"), 96L, figure);
    }
    assertTrue(browser.text("#figure-exact figcaption").matches(".*PSNR [0-9.]+ dB.* ms.*"));
    assertTrue(browser.text("#summary").contains("9216 tokens"), browser.text("#summary"));
    assertTrue(share(browser) > 5 && share(browser) < 95, browser.text("#map-share"));
    assertEquals(mapShare(), share(browser), 3.0); // what is drawn is what is said
    browser.find("#sweep").click();
    browser.await("document.querySelectorAll('#chart .point').length === 5");
    browser.await(DONE);
    assertEquals(browser.all("#tried tr").size(), 5);
    browser.script("document.getElementById('result').scrollIntoView()");
    browser.screenshot("page");
    assertNothingFromOutside();
  }

  /** The share of dark pixels of the canvas, in percent. */
  private double mapShare() {
    Object share =
        browser.script(
            """
            const canvas = document.getElementById('map-canvas');
            const {data} = canvas.getContext('2d').getImageData(70, 30, 560, 560);
            let dark = 0;
            for (let i = 0; i < data.length; i += 4) dark += data[i] < 128 ? 1 : 0;
            return 100 * dark / (data.length / 4);
            """);
    return ((Number) share).doubleValue();
  }

  private void assertNothingFromOutside() {
    @SuppressWarnings("unchecked")
    List<String> addresses =
        (List<String>)
            browser.script("return performance.getEntriesByType('resource').map(e => e.name)");
    assertTrue(addresses.size() >= 5, addresses.toString());
    for (String address : addresses) {
      assertTrue(address.startsWith(client.uri("/").toString()), address);
    }
    assertEquals(browser.complaints(), List.of());
  }

  @Test
  public void aThresholdThatMovesComputesAgain() {
    choose(browser, "#size", "64");
    denoise(browser);
    double before = share(browser);
    String picture = browser.find("#figure-result img").getAttribute("src");
    browser.script("document.getElementById('status').textContent = ''");
    // To the left of the slider, by keys as a person without a mouse does.
    WebElement slider = browser.find("#simthreshd1");
    slider.sendKeys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT);
    assertEquals(browser.text("#simthreshd1-value"), "0.10");
    browser.await(
        "document.querySelector('#tried th').textContent.startsWith('simthreshd1 0.10') && "
            + DONE);
    assertTrue(share(browser) > before, before + " and " + share(browser));
    assertNotEquals(browser.find("#figure-result img").getAttribute("src"), picture);
    assertTrue(browser.all("#chart .point").size() >= 2);
    assertTrue(browser.text("#figure-exact figcaption").contains("when it was computed"));
  }

  @Test
  public void badInputGetsASentence() throws Exception {
    Path text = Files.writeString(Files.createTempFile("attn4j", ".png"), "no picture");
    browser.find("#file").sendKeys(text.toAbsolutePath().toString());
    browser.find("#go").click();
    browser.await("!document.getElementById('problem').hidden");
    assertEquals(
        browser.text("#problem"), "the body is neither a PNG nor a JPEG; these two are accepted");
    Path small = Files.write(Files.createTempFile("attn4j", ".png"), pictureOf(40));
    browser.find("#file").sendKeys(small.toAbsolutePath().toString());
    browser.find("#go").click();
    browser.await("document.getElementById('problem').textContent.startsWith('size is 64')");
    choose(browser, "#size", "32");
    denoise(browser);
    assertFalse(browser.find("#problem").isDisplayed());
    assertEquals(
        browser.script("return document.querySelector('#figure-exact img').naturalWidth"), 32L);
  }

  private static byte[] pictureOf(int side) throws Exception {
    return Picture.read(new ByteArrayInputStream(Client.photograph()), "chelsea")
        .centreSquare(side)
        .png();
  }

  @Test
  public void generatingSaysWhatIsMissing() throws Exception {
    try (Client without = new Client("--port", "0", "--model", "none")) {
      browser.open(without.uri("/").toString());
      browser.await(READY);
      assertTrue(
          browser.text("#generate-reason").startsWith("Not here: the diffusion model's weights"),
          browser.text("#generate-reason"));
      assertFalse(browser.find("#generate-go").isEnabled());
    }
  }

  private static void fill(Browser in, String field, String value) {
    in.find(field).clear();
    in.find(field).sendKeys(value);
  }

  private static void generated(Browser in, int pictures, int side) {
    in.await(
        "document.querySelectorAll('#generated img').length === %d && ".formatted(pictures)
            + "[...document.querySelectorAll('#generated img')].every(i => i.naturalWidth === %d)"
                .formatted(side));
  }

  /** With the build's own weights; more steps and pixels, and the picture is worth a screenshot. */
  @Test
  public void generatesWithTheBuildsModel() throws Exception {
    int side = Integer.getInteger("attn4j.page.side", 64);
    int pictures = Integer.getInteger("attn4j.page.pictures", 1);
    int steps = Integer.getInteger("attn4j.page.steps", 2);
    assertEquals(browser.all("#words button").size(), 11);
    browser.find("#words button[data-word=coffee]").click();
    assertEquals(browser.find("#prompt").getAttribute("value"), "coffee");
    choose(browser, "#generate-size", Integer.toString(side));
    fill(browser, "#pictures-wanted", Integer.toString(pictures));
    fill(browser, "#steps-wanted", Integer.toString(steps));
    choose(browser, "#generate-backend", "cpu");
    browser.find("#generate-go").click();
    generated(browser, pictures, side);
    assertEquals(browser.all("#step-rows tr").size(), pictures * steps);
    String caption = browser.text("#generated figcaption");
    assertTrue(caption.matches("coffee: seed 1, cpu, .* ms a step"), caption);
    browser.script("document.getElementById('steps').hidden = arguments[0] > 4", steps);
    browser.script("document.getElementById('generate').scrollIntoView()");
    browser.screenshot("page-generate");
    assertNothingFromOutside();
  }

  @Test
  public void generatesStepByStep() throws Exception {
    try (Client painter = new Client("--port", "0", "--model", Formula.folder().toString())) {
      browser.open(painter.uri("/").toString());
      browser.await(READY);
      fill(browser, "#prompt", "dog");
      browser.find("#generate-go").click();
      browser.await("!document.getElementById('problem').hidden");
      assertEquals(
          browser.text("#problem"), "prompt has the word dog; the model knows cat, moon, grass");
      fill(browser, "#prompt", "moon");
      choose(browser, "#generate-size", "32");
      fill(browser, "#steps-wanted", "5");
      fill(browser, "#pictures-wanted", "2");
      browser.find("#generate-sparse").click();
      browser.find("#generate-go").click();
      generated(browser, 2, 32);
      assertEquals(browser.all("#step-rows tr").size(), 10);
      List<WebElement> captions = browser.all("#generated figcaption");
      assertTrue(captions.get(0).getText().matches("moon: seed 1, cpu, .* blocks left out"));
      assertTrue(captions.get(1).getText().startsWith("moon: seed 2, cpu, "));
    }
  }

  @Test
  public void itFitsAPhone() throws Exception {
    try (Browser phone = Browser.start(390, 844, true)) {
      open(phone);
      choose(phone, "#size", "64");
      denoise(phone);
      Object width = phone.script("return document.documentElement.scrollWidth");
      assertEquals(width, 390L, "the page is wider than the phone");
      for (WebElement button : phone.all("button, select, input[type=number]")) {
        if (button.isDisplayed()) {
          assertTrue(button.getSize().getHeight() >= 40, button.getAttribute("id"));
        }
      }
      phone.script("document.getElementById('result').scrollIntoView()");
      phone.screenshot("page-phone");
    }
  }

  @Test
  public void whatIsShownHasAName() {
    choose(browser, "#size", "32");
    denoise(browser);
    @SuppressWarnings("unchecked")
    List<String> nameless =
        (List<String>)
            browser.script(
                """
                const named = (e) => e.labels?.length || e.getAttribute('aria-label')
                  || e.getAttribute('aria-labelledby') || e.alt || e.textContent.trim();
                return [...document.querySelectorAll(
                    'input, select, button, img, canvas, svg, table th, form, section')]
                  .filter((e) => !e.closest('[hidden]') && !named(e)).map((e) => e.outerHTML.slice(0, 80));
                """);
    assertEquals(nameless, List.of());
    assertEquals(browser.script("return document.documentElement.lang"), "en");
  }
}
