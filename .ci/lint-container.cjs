// Checks container/Dockerfile and compose.yaml: with Docker's own validator, and by the rules of hadolint that matter here, which is
// no package of any registry that CI reaches. Exit status 1 if anything is found.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { DockerfileParser } = require("dockerfile-ast");
const { validate } = require("dockerfile-utils");
const { parseDocument } = require("yaml");

const container = path.join(__dirname, "..", "container");
const findings = [];

function dockerfile(name) {
  const text = fs.readFileSync(path.join(container, name), "utf8");
  const report = (line, what) => findings.push(`container/${name}:${line + 1}: ${what}`);
  for (const problem of validate(text)) {
    report(problem.range.start.line, problem.message);
  }
  const file = DockerfileParser.parse(text);
  const words = new Map(file.getInstructions().map((each) => [each, each.getArgumentsContent() ?? ""]));
  const named = new Map(file.getARGs().map((arg) => arg.getProperty()).filter(Boolean).map((p) => [p.getName(), p.getValue()]));
  const stages = new Set(file.getFROMs().map((from) => from.getBuildStage()).filter(Boolean));

  for (const from of file.getFROMs()) {
    const image = (from.getImage() ?? "").replace(/\$\{?(\w+)\}?/g, (_, name) => named.get(name) ?? "");
    if (!stages.has(image) && !/(:(?!latest$)[^:@/]+|@sha256:[0-9a-f]{64})$/.test(image)) {
      report(from.getRange().start.line, `DL3006, DL3007: '${image}' has no tag of its own`);
    }
  }
  for (const [instruction, argument] of words) {
    const line = instruction.getRange().start.line;
    const keyword = instruction.getKeyword();
    if (keyword === "ADD") {
      report(line, "DL3020: COPY instead of ADD");
    }
    if (keyword === "MAINTAINER") {
      report(line, "DL4000: MAINTAINER is out of use");
    }
    if (keyword === "WORKDIR" && !argument.startsWith("/")) {
      report(line, "DL3000: an absolute folder is needed");
    }
    if (keyword === "RUN" && /\bsudo\b/.test(argument)) {
      report(line, "DL3004: no sudo");
    }
    if (keyword === "RUN" && /apt-get[^&;]*\binstall\b/.test(argument)) {
      const wanted = ["--no-install-recommends", "--yes", "rm -rf /var/lib/apt/lists"];
      wanted.filter((text) => !argument.includes(text)).forEach((text) => report(line, `DL3009, DL3014, DL3015: no ${text}`));
    }
    if (keyword === "RUN" && argument.includes("|") && !/pipefail/.test(text)) {
      report(line, "DL4006: a pipe without pipefail");
    }
    if (["CMD", "ENTRYPOINT"].includes(keyword) && !argument.trim().startsWith("[")) {
      report(line, "DL3025: arguments as a JSON array");
    }
  }
  for (const once of ["ENTRYPOINT", "CMD", "HEALTHCHECK"]) {
    const lines = [...words.keys()].filter((each) => each.getKeyword() === once);
    if (lines.length !== 1) {
      findings.push(`container/${name}: DL4003, DL4004, DL3012: ${lines.length} ${once} instructions; one is needed`);
    }
  }
  const users = [...words].filter(([each]) => each.getKeyword() === "USER").map(([, user]) => user.split(":")[0]);
  if (users.length === 0 || ["root", "0"].includes(users.at(-1))) {
    findings.push(`container/${name}: DL3002: the last USER is root`);
  }
  // What COPY takes from the checkout is there.
  for (const copy of file.getCOPYs()) {
    const sources = copy.getArguments().map((each) => each.getValue()).slice(0, -1);
    for (const source of copy.getFromFlag() ? [] : sources) {
      if (!fs.existsSync(path.join(container, "..", source))) {
        report(copy.getRange().start.line, `'${source}' isn't in the checkout`);
      }
    }
  }
}

function compose(name) {
  const document = parseDocument(fs.readFileSync(path.join(container, name), "utf8"), { strict: true });
  document.errors.concat(document.warnings).forEach((problem) => findings.push(`container/${name}: ${problem.message}`));
  const services = document.toJS()?.services ?? {};
  if (Object.keys(services).length === 0) {
    findings.push(`container/${name}: no services`);
  }
  for (const [service, { build, ports }] of Object.entries(services)) {
    const file = build && path.join(container, build.context, build.dockerfile);
    if (file && !fs.existsSync(file)) {
      findings.push(`container/${name}: ${service}: no ${build.dockerfile} under ${build.context}`);
    }
    for (const port of ports ?? []) {
      if (!String(port).startsWith("127.0.0.1:")) {
        findings.push(`container/${name}: ${service}: port ${port} is open to the network; the server has no log-in`);
      }
    }
  }
}

dockerfile("Dockerfile");
compose("compose.yaml");
findings.forEach((finding) => console.error(finding));
console.log(`container: ${findings.length} findings`);
process.exitCode = findings.length === 0 ? 0 : 1;
