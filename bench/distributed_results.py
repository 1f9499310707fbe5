"""Speed, error and deaths of attention over 1, 2, 4, ... all GPUs of this machine, or over CPU processes: one command.

  mvn -q -DskipTests -Pranks -pl distributed -am package    # JARs and test classes; for GPUs see CLASSPATH_EXTRA
  python3 bench/distributed_results.py OUT.json             # every number of GPUs that nvidia-smi finds, over NCCL
  python3 bench/distributed_results.py OUT.json --gloo 4    # up to 4 CPU processes over Gloo: a small sequence

A run starts one JVM a rank (org.attn4j.distributed.SequenceSpeed). For each number of ranks: every mesh, with keys and values by ring
and by all-gather; then a rank is killed, and the others say what they were told and after how long. On GPUs also two ranks on
one GPU over Gloo. CLASSPATH_EXTRA is put before the class path: JARs with natives for GPUs (PyTorch's -gpu, the cuda preset's redist
ones with NCCL, attn4j's). Times are the slowest rank's of each round, then the median and the least over rounds, host clock,
synchronised; "efficiency" is one rank's time over ranks times this one's; "error" is relative L1 against PyTorch's
attention in one process; "model_ms" is what SequenceCost expects on H200s.
"""
import argparse
import datetime
import json
import os
import platform
import random
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAIN = "org.attn4j.distributed.SequenceSpeed"
# backend, tokens, heads, kv heads, head_dim, causal, rounds
GPU_SHAPES = [
  ("sage", 75_600, 40, 40, 128, 0, 10),
  ("exact", 75_600, 40, 40, 128, 0, 5),
  ("sage", 118_800, 24, 24, 128, 0, 5),
  ("sage", 32_768, 32, 8, 128, 1, 10),
  ("sage", 1_000_000, 32, 32, 128, 0, 1),
]
CPU_SHAPES = [("auto", 600, 4, 4, 32, 0, 5), ("auto", 600, 8, 2, 32, 1, 5)]
LIMIT = 900  # seconds of one start


def class_path():
  jars = ROOT / "distributed/target/ranks"
  if not jars.is_dir():
    sys.exit("distributed/target/ranks is missing: mvn -q -DskipTests -Pranks -pl distributed -am package")
  parts = [os.environ.get("CLASSPATH_EXTRA", ""), str(ROOT / "distributed/target/test-classes"), f"{jars}/*"]
  return ":".join(part for part in parts if part)


def free_port():
  while True:
    port = random.randrange(15_000, 31_000)
    with socket.socket() as probe:
      if probe.connect_ex(("127.0.0.1", port)):
        return port


def start(ranks, arguments):
  """The JSON objects that the ranks of one start printed."""
  port = free_port()
  children = []
  for rank in range(ranks):
    environment = os.environ | dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks),
                                    MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1")
    command = ["java", "-Xmx2g", "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0", "-cp", class_path(), MAIN, *map(str, arguments)]
    children.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
  rows, failures = [], []
  for rank, child in enumerate(children):
    try:
      out, errors = child.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
      child.kill()
      out, errors = child.communicate()
      failures.append(f"rank {rank} took longer than {LIMIT} s")
    rows += [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    if child.returncode not in (0, 9):
      failures.append(f"rank {rank} ended with {child.returncode}: " + "\n".join(errors.splitlines()[-5:]))
  for failure in failures:
    print(failure, file=sys.stderr)
  return rows, not failures


def gpus():
  try:
    listed = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True)
  except FileNotFoundError:
    return []
  return listed.stdout.strip().splitlines() if listed.returncode == 0 else []


def with_efficiency(rows):
  one = {}
  for row in rows:
    key = tuple(row.get(k) for k in ("transport", "backend", "tokens", "heads", "kv_heads", "head_dim", "causal"))
    if row["what"] == "speed" and row["ranks"] == 1:
      one[key] = row["ms"]
  for row in rows:
    key = tuple(row.get(k) for k in ("transport", "backend", "tokens", "heads", "kv_heads", "head_dim", "causal"))
    if row["what"] == "speed" and key in one:
      row["efficiency"] = round(one[key] / (row["ranks"] * row["ms"]), 4)
  return rows


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("out")
  parser.add_argument("--gloo", type=int, metavar="RANKS", help="CPU processes instead of GPUs, up to this number")
  options = parser.parse_args()
  found = gpus()
  if not options.gloo and not found:
    sys.exit("nvidia-smi finds no GPU; --gloo RANKS runs CPU processes")
  most = options.gloo or len(found)
  transport, shapes = ("gloo", CPU_SHAPES) if options.gloo else ("nccl", GPU_SHAPES)
  sizes = sorted({n for n in (1, 2, 4, 8, 16) if n <= most} | {most})
  plan = [(n, "speed", transport, shape) for n in sizes for shape in shapes]
  plan += [(n, "death", transport, shapes[0]) for n in sizes if n > 1]
  if not options.gloo:
    plan += [(2, "speed", "staged", ("sage", 16_384, 8, 8, 128, 0, 5))]
  rows, well = [], True
  for n, what, way, shape in plan:
    print(f"{n} ranks, {way}, {what}: {shape}", file=sys.stderr, flush=True)
    more, fine = start(n, [what, way, *shape])
    rows, well = rows + more, well and fine
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    result = dict(what="attention of one sequence over several ranks", gpus=[] if options.gloo else found, cpu=platform.machine(),
                  cores=os.cpu_count(), date=datetime.date.today().isoformat(), commit=commit,
                  command=" ".join(["python3", "bench/distributed_results.py", *sys.argv[1:]]), rows=with_efficiency(rows))
    Path(options.out).write_text(json.dumps(result, indent=1) + "\n")  # after each start: a lost machine loses one
  sys.exit(0 if well else 1)


if __name__ == "__main__":
  main()
