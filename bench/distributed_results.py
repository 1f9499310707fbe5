"""Attention over 1, 2, 4, ... all GPUs of this machine, or over CPU processes: speed, error, messages, deaths. One command.

  mvn -q -DskipTests -Pranks -pl distributed -am package    # JARs and test classes; for GPUs see CLASSPATH_EXTRA
  python3 bench/distributed_results.py OUT.json             # every number of GPUs that nvidia-smi finds, over NCCL
  python3 bench/distributed_results.py OUT.json --gloo 2    # up to 2 CPU processes over Gloo: a small sequence
  ... --budget SECONDS                                      # begins no section that might not end in time (240)
  ... --only connect,speed                                  # these sections alone

A section starts one JVM a rank (org.attn4j.distributed.SequenceSpeed), most important first:

  connect  messages arrive, streams wait for each other and the host doesn't, links, abort; with one rank also what a world costs
  speed    every mesh, keys and values by ring and by all-gather; slowest rank of each round, then median and least; error
           against softmax in FP32 of some rows; "model_ms" is what SequenceCost expects of H200s. A start has one shape;
           "long" is 256K tokens, "exact" the exact kernels
  death    the last rank is killed: what the others are told, after how long, and whether they can join another world
  shards   on one GPU: the keys of 2, 4 and 8 shards in a loop, merged, against one call
  overlap  a step of attention while messages are under way; what a ring waits for them
  staged   two ranks on one GPU over Gloo, with CUDA tensors
  graph    a call captured into a CUDA graph against an eager one

Each section fails alone: its exceptions stand in the JSON's "failed", its output in OUT.json's folder "logs", and the file is
written anew after each. "efficiency" is one rank's time over ranks times this one's. CLASSPATH_EXTRA is put before the class
path: JARs with natives for GPUs (PyTorch's -gpu, the cuda preset's redist ones with NCCL, attn4j's). RANKS_CLASSPATH is
the whole of it, JAVA the program, JAVA_OPTS more options: bench/distributed_gpu.sh sets these.
"""
import argparse
import concurrent.futures
import datetime
import json
import os
import platform
import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAIN = "org.attn4j.distributed.SequenceSpeed"
# backend : tokens : heads : kv heads : head_dim : causal : rounds
WAN_480, WAN_720, HUNYUAN = "32760:40:40:128:0", "75600:40:40:128:0", "118800:24:24:128:0"
SPEED = [f"sage:{WAN_480}:10", f"sage:{WAN_720}:10", f"sage:{HUNYUAN}:5", "sage:65536:32:32:128:0:7"]
LONG = ["sage:262144:32:32:128:0:3"]
EXACT = [f"exact:{WAN_720}:4"]
SMALL = ["auto:600:4:4:32:0:5", "auto:600:8:2:32:1:5"]


def sections(sizes, gloo):
  """(name, ranks, section, transport, shapes, seconds at most, GPUs or None), in groups that run at the same time."""
  way, n = ("gloo" if gloo else "nccl"), sizes[-1]
  if gloo:
    for size in sizes[::-1]:
      yield [("connect", size, "connect", way, [], 60, None)]
      yield [("speed", size, "speed", way, SMALL, 90, None)]
    if n > 1:
      yield [("death", n, "death", way, SMALL[:1], 60, None)]
    yield [("shards", 1, "shards", way, ["auto:1024:4:4:32:0:3"], 60, None)]
    return
  if n > 1:
    yield [("connect", n, "connect", way, [], 45, None)]
    for size in sizes[:0:-1]:
      for shape in SPEED:
        yield [("speed", size, "speed", way, [shape], 28, None)]
    yield [("death", n, "death", way, [f"sage:{WAN_480}:1"], 30, None)]
    yield [("overlap", n, "overlap", way, [f"sage:{WAN_720}:7", f"sage:{9450 * n}:40:40:128:0:7"], 40, None)]
  yield [("speed", 1, "speed", way, SPEED + LONG, 40, None)]
  for size in sizes[:0:-1]:
    yield [("long", size, "speed", way, LONG, 40, None)]
  if n > 1:
    yield [("exact", n, "speed", way, EXACT, 28, None)]
  yield [("exact", 1, "speed", way, EXACT, 20, None)]
  alone = [("connect", 1, "connect", way, [], 40, "0"), ("shards", 1, "shards", way, [f"sage:{WAN_720}:5"], 50, str(n - 1))]
  yield from [alone] if n > 1 else [[one] for one in alone]
  yield [("staged", 2, "speed", "staged", [f"{kernel}:16384:8:8:128:0:3" for kernel in ("sage", "exact", "auto")], 45, "0")]
  if n > 1:
    yield [("graph", n, "graph", way, ["sage:8192:8:8:128:0:1", "exact:2048:8:8:128:0:1"], 40, None)]


def class_path():
  if os.environ.get("RANKS_CLASSPATH"):
    return os.environ["RANKS_CLASSPATH"]
  jars = ROOT / "distributed/target/ranks"
  if not jars.is_dir():
    sys.exit("distributed/target/ranks is missing: mvn -q -DskipTests -Pranks -pl distributed -am package")
  parts = [os.environ.get("CLASSPATH_EXTRA", ""), str(ROOT / "distributed/target/test-classes"), f"{jars}/*"]
  return ":".join(part for part in parts if part)


def free_port():
  """A port whose next ones are likely free too, below those that the kernel gives to connections."""
  while True:
    port = random.randrange(15_000, 31_000)
    with socket.socket() as probe:
      if probe.connect_ex(("127.0.0.1", port)):
        return port


def log_of(section, logs, rank):
  name, ranks, _, _, shapes, _, _ = section
  tokens = "-" + shapes[0].split(":")[1] if shapes else ""
  return logs / f"{name}-{ranks}{tokens}-{rank}"


def start(section, logs):
  """The JSON objects that the ranks of one start printed, and what failed."""
  name, ranks, what, transport, shapes, seconds, gpus = section
  port, second = free_port(), free_port()
  children = []
  for rank in range(ranks):
    log = log_of(section, logs, rank)
    environment = os.environ | dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks),
                                    MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), SECOND_PORT=str(second), OMP_NUM_THREADS="1",
                                    RANK_SECONDS=str(seconds))
    if what == "connect":
      environment |= dict(NCCL_DEBUG="INFO", NCCL_DEBUG_FILE=f"{log}.nccl")
    if gpus is not None:
      environment["CUDA_VISIBLE_DEVICES"] = gpus
    command = [os.environ.get("JAVA", "java"), "-Xmx2g", "-XX:ErrorFile=" + f"{log}.crash",
               "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0", *os.environ.get("JAVA_OPTS", "").split(), "-cp", class_path(), MAIN,
               what, transport, *shapes]
    with open(f"{log}.out", "w") as out, open(f"{log}.err", "w") as errors:
      children.append(subprocess.Popen(command, env=environment, stdout=out, stderr=errors))
  rows, failures, end = [], [], time.monotonic() + seconds
  for rank, child in enumerate(children):
    try:
      child.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
      failures.append(f"rank {rank} took longer than {seconds} s")
  for child in children:
    child.kill()
    child.wait()
  for rank, child in enumerate(children):
    log = log_of(section, logs, rank)
    rows += [dict(json.loads(line), section=name) for line in Path(f"{log}.out").read_text().splitlines() if line.startswith("{")]
    if child.returncode not in (0, 9, -9):
      tail = Path(f"{log}.err").read_text(errors="replace").splitlines()[-8:] + Path(f"{log}.out").read_text(errors="replace").splitlines()[-3:]
      failures.append(f"rank {rank} ended with {child.returncode}: " + " | ".join(line[:300] for line in tail))
  failures += [f"rank {row['rank']}: {row['step']}: {row['error']}" for row in rows if row["what"] == "failed"]
  return rows, [dict(section=name, ranks=ranks, transport=transport, failure=failure) for failure in failures]


def output_of(*command):
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
  except (FileNotFoundError, subprocess.TimeoutExpired):
    return ""
  return done.stdout.strip() if done.returncode == 0 else ""


def with_efficiency(rows):
  def key(row):
    return tuple(row.get(k) for k in ("transport", "backend", "tokens", "heads", "kv_heads", "head_dim", "causal"))
  one = {key(row): row["ms"] for row in rows if row["what"] == "speed" and row["ranks"] == 1}
  for row in rows:
    if row["what"] == "speed" and key(row) in one:
      row["efficiency"] = round(one[key(row)] / (row["ranks"] * row["ms"]), 4)
      row["times_one"] = round(one[key(row)] / row["ms"], 3)
  return rows


def exchanged(rows):
  return any(row.get("step") == "first exchange" and row.get("result") is True for row in rows)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("out")
  parser.add_argument("--gloo", type=int, metavar="RANKS", help="CPU processes instead of GPUs, up to this number")
  parser.add_argument("--budget", type=float, default=240, metavar="SECONDS", help="of the whole run")
  parser.add_argument("--only", default="", help="names of sections, with commas between them")
  options = parser.parse_args()
  began = time.monotonic()
  found = output_of("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()
  if not options.gloo and not found:
    sys.exit("nvidia-smi finds no GPU; --gloo RANKS runs CPU processes")
  most = options.gloo or len(found)
  sizes = sorted({n for n in (1, 2, 4, 8, 16) if n <= most} | {most})
  out = Path(options.out).resolve()
  logs = out.parent / "logs"
  logs.mkdir(parents=True, exist_ok=True)
  commit = os.environ.get("COMMIT") or output_of("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
  result = dict(what="attention of one sequence over several ranks", gpus=[] if options.gloo else found, cpu=platform.machine(),
                cores=os.cpu_count(), date=datetime.date.today().isoformat(), commit=commit,
                topology=[] if options.gloo else re.sub(r"\x1b\[[0-9;]*m", "", output_of("nvidia-smi", "topo", "-m")).splitlines(),
                command=" ".join(["python3", "bench/distributed_results.py", "OUT.json", *sys.argv[2:]]), sections=[], failed=[], rows=[])
  waiting = list(sections(sizes, options.gloo))
  while waiting:
    group = waiting.pop(0)
    group = [section for section in group if not options.only or section[0] in options.only.split(",")]
    for section in group[::-1]:
      if time.monotonic() - began + section[5] > options.budget + 15:
        result["failed"].append(dict(section=section[0], ranks=section[1], failure="not begun: the budget is spent"))
        group.remove(section)
    for section in group:
      print(f"{time.monotonic() - began:5.0f} s: {section[0]}, {section[1]} ranks, {section[3]}", file=sys.stderr, flush=True)
    with concurrent.futures.ThreadPoolExecutor(max(1, len(group))) as pool:
      started = time.monotonic()
      for section, (rows, failures) in zip(group, pool.map(lambda section: start(section, logs), group)):
        result["rows"] += rows
        result["failed"] += failures
        result["sections"].append(dict(name=section[0], ranks=section[1], seconds=round(time.monotonic() - started, 1)))
        for row in rows:
          print("   ", json.dumps(row)[:600], file=sys.stderr)
        for failure in failures:
          print("    FAILED", failure["failure"][:1500], file=sys.stderr, flush=True)
    if group and group[0][:3:2] == ("connect", "connect") and group[0][1] > 1 and not exchanged(result["rows"]):
      waiting.sort(key=lambda later: later[0][1] > 1)  # what needs no messages first: the others may hang
    with_efficiency(result["rows"])
    out.write_text(json.dumps(result, indent=1) + "\n")  # after each: a lost machine loses one
  print(f"{time.monotonic() - began:5.0f} s: {len(result['failed'])} failures", file=sys.stderr)
  sys.exit(1 if result["failed"] else 0)


if __name__ == "__main__":
  main()
