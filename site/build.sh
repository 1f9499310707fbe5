#!/usr/bin/env bash
# Builds the documentation site into target/site/html, with Javadoc, and checks every link and anchor of it.
#
#   site/build.sh [--no-javadoc]     ATTN4J_SITE_BASE=/path/ if the site is not to be at the root of its host
#
# Needs Node.js 18 or newer with npm, and for the Javadoc a JDK and Maven. The pages can be read as files; searching needs a
# server, any one will do:  jwebserver -d "$PWD/target/site/html"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$PWD"
export ATTN4J_SITE="$root/target/site"

rm -rf "$ATTN4J_SITE"
mkdir -p "$ATTN4J_SITE"
npm ci --prefix site --no-audit --no-fund --silent
ln -s "$root/site/node_modules" "$ATTN4J_SITE/node_modules" # Vite looks for Vue from the pages upwards
node site/stage.mjs "$root" "$ATTN4J_SITE/pages"
site/messages.sh >"$ATTN4J_SITE/pages/messages.md"
(cd site && npx --no-install vitepress build --logLevel warn .)
# The search is of any use only if it knows what a program said.
grep -q fabricmanager "$ATTN4J_SITE"/html/assets/chunks/*localSearchIndex* || { echo "site: the search lacks the messages" >&2; exit 1; }
if [[ "${1:-}" == --no-javadoc ]]; then
  echo "site: without Javadoc; links to it are not checked"
else
  site/javadoc.sh "$ATTN4J_SITE/html/api"
fi
node site/finish.mjs "$ATTN4J_SITE/html" "${ATTN4J_SITE_BASE:-/}"
node site/links.mjs "$ATTN4J_SITE/html" "${1:-}"
