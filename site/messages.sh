#!/usr/bin/env bash
# Fails if docs/troubleshooting.md lacks a sentence of the loader, the doctor, the backends, the drop-in or the hook. Prints the
# page with all messages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pytorch=pytorch/src/main/java/org/attn4j/pytorch
java site/Messages.java check docs/troubleshooting.md presets/src/main/java/org/attn4j/runtime src/main/java/org/attn4j/Doctor.java \
  src/main/java/org/attn4j/backend src/main/cpp/host/refusal.cpp platform/src/main/java torch/src/main/java torch/src/main/cpp \
  $pytorch/{Obstacles,Masks,Dispatch,OutputCheck}.java >&2
java site/Messages.java page presets/src/main/java/org/attn4j/runtime src/main/java src/main/cpp/host platform/src/main/java \
  torch/src/main/java torch/src/main/cpp pytorch/src/main/java distributed/src/main/java onnxruntime/src/main/java
