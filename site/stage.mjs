// Lays the repository's pages out for VitePress: docs/ as they are, the pages of the root beside them, and copies of the files
// that they link to. So the site needs nothing outside itself, and the pages stay as GitHub shows them.
//
//   node stage.mjs ROOT OUT      fails on a link that leads to no committed file
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

const [root, out] = process.argv.slice(2);
const committed = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: root })
  .toString().split("\0").filter(Boolean);

// Pages outside docs/, and what they are called on the site.
const others = {
  "README.md": "overview.md",
  "CHANGELOG.md": "changelog.md",
  "CONTRIBUTING.md": "contributing.md",
  "CODE_OF_CONDUCT.md": "code-of-conduct.md",
  "SECURITY.md": "security.md",
  "samples/README.md": "demo.md",
};

const pages = new Map();
for (const file of committed) {
  if (file in others) {
    pages.set(file, others[file]);
  } else if (file.startsWith("docs/") && file.endsWith(".md")) {
    pages.set(file, file.slice("docs/".length).replace(/^README\.md$/, "index.md"));
  } else if (file.endsWith(".md") && !file.startsWith(".github/")) {
    pages.set(file, `${file.replace(/\/README\.md$|\.md$/, "").replaceAll("/", "-").toLowerCase()}.md`);
  }
}

const problems = [];
const pictures = /\.(png|svg|jpe?g)$/;
const shownAsText = /\.(json|txt|md)$/;

function copy(file, to) {
  fs.mkdirSync(path.dirname(path.join(out, to)), { recursive: true });
  fs.copyFileSync(path.join(root, file), path.join(out, to));
}

// Where a link of `page` leads on the site, or the link itself if it leads elsewhere.
function onSite(page, link) {
  if (/^([a-z]+:|#)/.test(link)) {
    return link;
  }
  const [target, fragment] = link.split("#");
  const file = path.posix.normalize(path.posix.join(path.posix.dirname(page), target));
  const suffix = fragment === undefined ? "" : `#${fragment}`;
  if (pages.has(file)) {
    const from = path.posix.dirname(pages.get(page));
    const to = path.posix.relative(from, pages.get(file));
    return (to.startsWith(".") ? to : `./${to}`) + suffix;
  }
  if (!committed.includes(file)) {
    problems.push(`${page}: ${link} leads to no committed file`);
    return link;
  }
  // A browser shows text; it would download a file of Java or CUDA.
  const name = shownAsText.test(file) || pictures.test(file) ? file : `${file}.txt`;
  copy(file, `public/files/${name}`);
  return `/files/${name}`;
}

for (const [page, name] of pages) {
  let fenced = false;
  const lines = fs.readFileSync(path.join(root, page), "utf8").split("\n").map((line) => {
    if (/^\s*```/.test(line)) {
      fenced = !fenced;
    }
    if (!fenced && /^<!--.*-->$/.test(line)) {
      return ""; // for programs that read the page
    }
    return fenced ? line : line.replace(/\]\(([^)\s]+)\)/g, (_, link) => `](${onSite(page, link)})`);
  });
  fs.mkdirSync(path.dirname(path.join(out, name)), { recursive: true });
  fs.writeFileSync(path.join(out, name), lines.join("\n"));
}

problems.forEach((problem) => console.error(problem));
console.log(`${pages.size} pages`);
process.exitCode = problems.length === 0 ? 0 : 1;
