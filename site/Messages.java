import com.sun.source.tree.BinaryTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.LiteralTree;
import com.sun.source.tree.ParenthesizedTree;
import com.sun.source.tree.Tree;
import com.sun.source.util.JavacTask;
import com.sun.source.util.TreeScanner;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;

/**
 * The sentences that attn4j can say, read from its sources: what varies in them is an ellipsis.
 *
 * <pre>
 *   java site/Messages.java check PAGE SOURCE...   fails if PAGE lacks a sentence of the sources
 *   java site/Messages.java page SOURCE...         prints a page with all sentences
 * </pre>
 *
 * <p>A source is a file or a folder of .java, .cpp and .h.
 */
public final class Messages {
  private static final String ELLIPSIS = "…";
  private static final Pattern FORMAT =
      Pattern.compile("%[-+ 0#]*\\d*(?:\\.\\d+)?(?:ll|l|z)?[a-zA-Z]");
  private static final Pattern CPP_LITERALS =
      Pattern.compile("\"((?:[^\"\\\\\\n]|\\\\.)*)\"(?:\\s*\"((?:[^\"\\\\\\n]|\\\\.)*)\")*");
  private static final int LEAST_WORDS = 3;
  private static final int LEAST_FRAGMENT = 8;

  private Messages() {}

  public static void main(String[] args) throws IOException {
    boolean check = args[0].equals("check");
    List<String> sources = Arrays.asList(args).subList(check ? 2 : 1, args.length);
    Map<String, TreeSet<String>> sentences = new TreeMap<>();
    for (String source : sources) {
      for (Path file : files(Path.of(source))) {
        for (String sentence : sentences(file)) {
          sentences.computeIfAbsent(sentence, key -> new TreeSet<>()).add(name(file));
        }
      }
    }
    if (sentences.isEmpty()) {
      System.err.println("no sentence was found in " + sources);
      System.exit(1);
    }
    if (check) {
      check(Path.of(args[1]), sentences);
    } else {
      print(sentences);
    }
  }

  private static List<Path> files(Path source) throws IOException {
    try (Stream<Path> all = Files.walk(source)) {
      return all.filter(file -> file.toString().matches(".*\\.(java|cpp|h)")).sorted().toList();
    }
  }

  private static String name(Path file) {
    return file.getFileName().toString().replaceFirst("\\.java$", "");
  }

  private static List<String> sentences(Path file) throws IOException {
    List<String> found = file.toString().endsWith(".java") ? ofJava(file) : ofCpp(file);
    return found.stream().map(Messages::plain).filter(Messages::isSentence).toList();
  }

  /** Format specifiers and runs of variables become one ellipsis. */
  private static String plain(String text) {
    return FORMAT
        .matcher(text.replace("%n", " ").replace("\\n", " ").replace("%%", "%"))
        .replaceAll(ELLIPSIS)
        .replaceAll("…(?:\\s*…)+", ELLIPSIS)
        .strip();
  }

  private static boolean isSentence(String text) {
    long words = Arrays.stream(text.split("[^A-Za-z']+")).filter(word -> word.length() > 1).count();
    boolean pattern = text.contains("\\d");
    return words >= LEAST_WORDS && text.contains(" ") && !pattern;
  }

  // ------------------------------------------------------------------------------------- reading

  private static List<String> ofJava(Path file) throws IOException {
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    var manager = compiler.getStandardFileManager(null, null, null);
    JavacTask task =
        (JavacTask)
            compiler.getTask(null, manager, null, null, null, manager.getJavaFileObjects(file));
    List<String> found = new ArrayList<>();
    for (CompilationUnitTree unit : task.parse()) {
      new Sentences(found).scan(unit, null);
    }
    return found;
  }

  /** Each sum of strings as a whole. */
  private static final class Sentences extends TreeScanner<Void, Void> {
    private final List<String> found;

    Sentences(List<String> found) {
      this.found = found;
    }

    @Override
    public Void visitBinary(BinaryTree sum, Void unused) {
      if (sum.getKind() != Tree.Kind.PLUS || !text(sum).matches(".*[^…].*")) {
        return super.visitBinary(sum, unused);
      }
      found.add(text(sum));
      scanTerms(sum);
      return null;
    }

    /** A term may hold sentences of its own: a call, a condition. */
    private void scanTerms(Tree tree) {
      if (tree instanceof BinaryTree sum && sum.getKind() == Tree.Kind.PLUS) {
        scanTerms(sum.getLeftOperand());
        scanTerms(sum.getRightOperand());
      } else if (!(tree instanceof LiteralTree)) {
        scan(tree, null);
      }
    }

    @Override
    public Void visitLiteral(LiteralTree literal, Void unused) {
      if (literal.getValue() instanceof String text) {
        found.add(text);
      }
      return null;
    }

    private static String text(Tree tree) {
      if (tree instanceof LiteralTree literal && literal.getValue() instanceof String text) {
        return text;
      }
      if (tree instanceof BinaryTree sum && sum.getKind() == Tree.Kind.PLUS) {
        return text(sum.getLeftOperand()) + text(sum.getRightOperand());
      }
      return tree instanceof ParenthesizedTree inner ? text(inner.getExpression()) : ELLIPSIS;
    }
  }

  /** Literals that stand beside each other are one, as for the compiler. */
  private static List<String> ofCpp(Path file) throws IOException {
    String code =
        Files.readAllLines(file).stream()
            .filter(line -> !line.strip().matches("(//|#include).*"))
            .collect(Collectors.joining("\n"))
            .replaceAll("(static_assert|asm|__asm__)\\s*\\([^;]*;", ""); // the compiler's, not ours
    List<String> found = new ArrayList<>();
    Matcher literals = CPP_LITERALS.matcher(code);
    while (literals.find()) {
      String whole = literals.group();
      found.add(
          whole.substring(1, whole.length() - 1).replaceAll("\"\\s*\"", "").replace("\\\"", "\""));
    }
    return found;
  }

  // ------------------------------------------------------------------------------------- writing

  private static void check(Path page, Map<String, TreeSet<String>> sentences) throws IOException {
    String text = Files.readString(page).replace("`", "").replaceAll("\\s+", " ");
    List<String> missing = new ArrayList<>();
    sentences.forEach(
        (sentence, names) -> {
          boolean there =
              Arrays.stream(sentence.split(ELLIPSIS))
                  .map(fragment -> fragment.replaceAll("\\s+", " ").strip())
                  .filter(fragment -> fragment.length() >= LEAST_FRAGMENT)
                  .allMatch(text::contains);
          if (!there) {
            missing.add(names + ": " + sentence);
          }
        });
    missing.forEach(line -> System.err.println(page + " lacks " + line));
    System.out.printf("%s: %d sentences, %d missing%n", page, sentences.size(), missing.size());
    System.exit(missing.isEmpty() ? 0 : 1);
  }

  private static void print(Map<String, TreeSet<String>> sentences) {
    System.out.println("# All messages\n");
    System.out.println(
        "Every sentence that attn4j can say, made from its sources; … is what varies."
            + " [Troubleshooting](troubleshooting.md) explains those that you may meet.\n");
    System.out.println("| sentence | said by |\n|---|---|");
    sentences.forEach(
        (sentence, names) ->
            System.out.printf(
                "| %s | %s |%n",
                sentence.replace("|", "\\|").replace("<", "&lt;").replaceAll("\\s+", " "),
                String.join(", ", names)));
  }
}
