#!/usr/bin/env bash
# Builds the project and lays out what the image holds: FOLDER/lib with the JARs of the server, of the attn4j command and of all
# that they need, and the program that starts them.
#
#   container/stage.sh FOLDER       NATIVES=required|prebuilt|skip|auto, TORCH_CUDA_ARCH_LIST as in the build
set -euo pipefail
out="$(mkdir -p "$1/lib" && cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mvn --batch-mode --quiet -DskipTests -Dspotless.check.skip=true "-Dnatives=${NATIVES:-required}" -pl server,cli -am package \
  org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$out/lib"
for module in server cli; do
  find "$module/target" -maxdepth 1 -name "attn4j-$module-*.jar" ! -name '*-all.jar' ! -name '*-sources.jar' ! -name '*-javadoc.jar' \
    -exec cp {} "$out/lib/" \;
done
cp LICENSE "$out/"
install -m 755 container/attn4j "$out/attn4j"
