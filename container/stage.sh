#!/usr/bin/env bash
# Builds the project and lays out what the image holds: FOLDER/lib with the JARs of the server and all that it needs, and the
# program that starts it.
#
#   container/stage.sh FOLDER       NATIVES=required|prebuilt|skip|auto, TORCH_CUDA_ARCH_LIST as in the build
set -euo pipefail
out="$(mkdir -p "$1/lib" && cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mvn --batch-mode --quiet -DskipTests -Dspotless.check.skip=true "-Dnatives=${NATIVES:-required}" -pl server -am package \
  org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$out/lib"
rm -f server/target/attn4j-server-*-{sources,javadoc,tests}.jar
cp server/target/attn4j-server-*.jar "$out/lib/"
cp LICENSE "$out/"
install -m 755 container/attn4j "$out/attn4j"
