// Makes the pages readable as files, without a server: links from the root of the site become relative ones.
//
//   node finish.mjs HTML BASE
import fs from "node:fs";
import path from "node:path";

const [html, base] = process.argv.slice(2);

function relative(page, target) {
  const [file, rest] = [target.replace(/[?#].*$/, ""), target.replace(/^[^?#]*/, "")];
  const wanted = file === "" || file.endsWith("/") ? `${file}index.html` : file;
  const named = fs.existsSync(path.join(html, wanted)) ? wanted : `${wanted}.html`;
  return path.posix.relative(path.posix.dirname(page), named) + rest;
}

const pages = fs.readdirSync(html, { recursive: true })
  .filter((name) => name.endsWith(".html") && !name.startsWith("api/"));
for (const page of pages) {
  const file = path.join(html, page);
  const text = fs.readFileSync(file, "utf8");
  const absolute = (whole, name, target) =>
    (target.startsWith(base) ? ` ${name}="${relative(page, target.slice(base.length))}"` : whole);
  fs.writeFileSync(file, text
    .replace(/ (href|src)="(\/[^"]*)"/g, absolute)
    .replace(/ href="((?:\.\.?\/)+)(#[^"]*)?"/g, ' href="$1index.html$2"'));
}
console.log(`${pages.length} pages made relative`);
