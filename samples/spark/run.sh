#!/usr/bin/env bash
# Runs the sample on this machine, in two executors of one core by default. From the repository's root, after
#   mvn -q -DskipTests -Pspark -pl samples/spark -am package
#
#   samples/spark/run.sh [MASTER] [RANKS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
master="${1:-local-cluster[2,1,1024]}"
export SPARK_HOME="$PWD/target/home" SPARK_SCALA_VERSION=2.13 SPARK_LOCAL_IP=127.0.0.1
opens=()
for package in java.lang java.lang.invoke java.lang.reflect java.io java.net java.nio java.util java.util.concurrent \
  java.util.concurrent.atomic sun.nio.ch sun.nio.cs sun.security.action sun.util.calendar; do
  opens+=("--add-opens=java.base/$package=ALL-UNNAMED")
done
exec java "${opens[@]}" -Xmx512m -Dspark.driver.host=127.0.0.1 -Dspark.driver.bindAddress=127.0.0.1 \
  -Dspark.executorEnv.OMP_NUM_THREADS=1 "-Dspark.executor.extraClassPath=$SPARK_HOME/jars/*" \
  -cp "$SPARK_HOME/jars/*" org.attn4j.samples.spark.BarrierAttention "$master" "${2:-2}"
