#!/usr/bin/env bash
# Installs what the build needs on Ubuntu 22.04 with CUDA's toolkit. Ubuntu's Maven is too old for this build, but good enough
# to fetch a newer one.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
maven=3.9.11

apt-get update -qq
apt-get install --quiet=2 --yes --no-install-recommends git g++ cmake ninja-build maven openjdk-17-jdk-headless
rm -rf /var/lib/apt/lists/*
if [[ ! -x /opt/apache-maven-$maven/bin/mvn ]]; then
  mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:3.9.0:unpack \
    "-Dartifact=org.apache.maven:apache-maven:$maven:zip:bin" -DoutputDirectory=/opt
  chmod +x "/opt/apache-maven-$maven/bin/mvn"
fi
ln -sf "/opt/apache-maven-$maven/bin/mvn" /usr/local/bin/mvn
