#!/usr/bin/env bash
# What of the image can be tested without Docker: the build stage's script makes the folder that the image holds, and the program in
# it runs as the image runs it, under an empty home: the command, the server, its health. The tools and both base images are the machine's own
# here.
#
#   container/test.sh [FOLDER]       NATIVES as for stage.sh; default: those that presets/target/natives holds, else none
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="${1:-$PWD/target/container}"
rm -rf "$out"
mkdir -p "$out/tmp"

natives=skip
if compgen -G 'presets/target/natives/sm*/org' >/dev/null; then natives=prebuilt; fi
NATIVES="${NATIVES:-$natives}" container/stage.sh "$out/attn4j"

# As the image is run: nothing of this shell's environment but the path.
port=$((20000 + RANDOM % 20000))
image=(env -i PATH="$PATH" HOME=/nonexistent TMPDIR="$out/tmp" ATTN4J_PORT="$port" "$out/attn4j/attn4j")

fail() { echo "container: $*" >&2; exit 1; }

status=0
"${image[@]}" doctor >"$out/doctor.txt" || status=$?
grep -q '^verdict' "$out/doctor.txt" || fail "the doctor gave no verdict"
[[ $status -le 1 ]] || fail "the doctor ended with $status"
if "${image[@]}" nonsense 2>"$out/refusal.txt"; then fail "an unknown command was accepted"; fi
grep -q "nonsense" "$out/refusal.txt" || fail "an unknown command is not named"

"${image[@]}" server --host 127.0.0.1 --port "$port" >"$out/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
for _ in $(seq 60); do
  if "${image[@]}" health 2>/dev/null; then healthy=1; break; fi
  kill -0 "$server" 2>/dev/null || { cat "$out/server.log"; fail "the server ended"; }
  sleep 1
done
[[ -n "${healthy:-}" ]] || { cat "$out/server.log"; fail "the server didn't become healthy within a minute"; }
kill "$server"
wait "$server" || true
echo "container: $(find "$out/attn4j/lib" -name '*.jar' | wc -l) JARs, $(du -sm "$out/attn4j" | cut -f1) MB; the command, the server and its health check ran"
