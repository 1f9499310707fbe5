// Follows every link of the built site as a reader of its files would: the target has to be there, and the anchor in it. Exit
// status 1 if one isn't. Links to other hosts are not followed, so that the check needs no network.
//
//   node links.mjs HTML [--no-javadoc]
import fs from "node:fs";
import path from "node:path";
import { Parser } from "htmlparser2";

const [html, option] = process.argv.slice(2);
const files = fs.readdirSync(html, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => path.posix.relative(html, path.posix.join(entry.parentPath ?? entry.path, entry.name)));
const present = new Set(files);

// The links and anchors of each page.
const pages = new Map();
for (const file of files.filter((name) => name.endsWith(".html"))) {
  const links = [];
  const anchors = new Set();
  const parser = new Parser({
    onopentag(name, attributes) {
      for (const link of [attributes.href, attributes.src]) {
        if (link !== undefined) {
          links.push(link);
        }
      }
      for (const anchor of [attributes.id, name === "a" ? attributes.name : undefined]) {
        if (anchor !== undefined) {
          anchors.add(anchor);
        }
      }
    },
  });
  parser.end(fs.readFileSync(path.join(html, file), "utf8"));
  pages.set(file, { links, anchors });
}

// What is wrong with a link of a page, or null.
function fault(page, link) {
  if (/^([a-z][a-z0-9+.-]*:|\/\/)/i.test(link)) {
    return null;
  }
  const [target, fragment] = link.split("#");
  const plain = decodeURIComponent(target.replace(/\?.*$/, ""));
  const file = plain === "" ? page : path.posix.normalize(path.posix.join(path.posix.dirname(page), plain));
  if (option === "--no-javadoc" && file.startsWith("api/")) {
    return null;
  }
  if (!present.has(file)) {
    return "no such file";
  }
  const anchor = fragment && decodeURIComponent(fragment);
  return anchor && pages.has(file) && !pages.get(file).anchors.has(anchor) ? "no such anchor" : null;
}

let count = 0;
let broken = 0;
for (const [page, { links }] of pages) {
  // The host shows 404.html under any address; javadoc writes one anchor of constant-values.html that it doesn't make.
  for (const link of ["404.html", "api/constant-values.html"].includes(page) ? [] : links) {
    const wrong = fault(page, link);
    count++;
    if (wrong !== null) {
      broken++;
      console.error(`${page}: ${link}: ${wrong}`);
    }
  }
}
console.log(`${pages.size} pages, ${count} links, ${broken} broken`);
process.exitCode = count > 0 && broken === 0 ? 0 : 1;
