#!/usr/bin/env bash
# Writes the Javadoc of all modules to FOLDER. A missing comment or tag is an error.
#
#   site/javadoc.sh FOLDER
set -euo pipefail
out="$(mkdir -p "$1" && cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Natives that are there stay there.
natives=skip
if compgen -G 'presets/target/natives/sm*/org' >/dev/null; then natives=prebuilt; fi
mvn --batch-mode --quiet "-Dnatives=$natives" -pl pytorch,torch,onnxruntime,distributed -am compile \
  org.apache.maven.plugins:maven-dependency-plugin:build-classpath -Dmdep.outputFile=target/classpath.txt
classpath="$(cat torch/target/classpath.txt):$(cat pytorch/target/classpath.txt):$(cat onnxruntime/target/classpath.txt)"

javadoc -quiet -Xdoclint:all -Werror -notimestamp -d "$out" -windowtitle attn4j -doctitle "attn4j" -encoding UTF-8 \
  -classpath "$classpath" -sourcepath src/main/java:pytorch/src/main/java:torch/src/main/java:distributed/src/main/java:onnxruntime/src/main/java \
  org.attn4j org.attn4j.pytorch org.attn4j.torch org.attn4j.distributed org.attn4j.onnxruntime
