"""Times attn4j's kernels and PyTorch's SDPA backends on the same shapes in one run, and writes one JSON file.

  python3 bench/dense_results.py PATH/attn_gpu OUT.json [KERNEL ...]

attn_gpu is bench/cpp/attn_gpu.cu, built as its head says. The environment variable COMMIT names the commit of the library.
Both sides are timed alike: CUDA graphs of calls over rotating inputs that together exceed the L2 cache, median of five
replays with pauses between; "sustained" is a second without pauses after two others, for the first KERNEL (not with SUSTAINED=0). TOPS = 4 * b * hq * lq * lk * d / time, half of that with a causal mask; quantisation is included.
"""
import datetime
import json
import os
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash2": SDPBackend.FLASH_ATTENTION}


def query(fields):
  out = subprocess.run(["nvidia-smi", "--query-gpu=" + fields, "--format=csv,noheader"], capture_output=True, text=True)
  return out.stdout.strip()


def paused_us(graph, calls):
  times = []
  for i in range(6):
    time.sleep(0.02)  # a pause lets the clocks recover from what ran before
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    graph.replay()
    end.record()
    torch.cuda.synchronize()
    if i:
      times.append(start.elapsed_time(end) * 1e3 / calls)
  return sorted(times)[len(times) // 2]


def sustained_us(graph, calls):
  """As attn_gpu's: of a second after two others."""
  for seconds in (2, 1):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    until, launches = time.monotonic() + seconds, 0
    start.record()
    while time.monotonic() < until:
      graph.replay()
      launches += 1
      if launches % 4 == 0:
        torch.cuda.synchronize()
    end.record()
    torch.cuda.synchronize()
  return start.elapsed_time(end) * 1e3 / (launches * calls)


def sdpa_us(row, backend, measure):
  b, hq, hkv, lq, lk, d = (row[k] for k in ("b", "hq", "hkv", "lq", "lk", "d"))
  size = 4 * d * b * (hq * lq + hkv * lk)
  sets = max(1, min(24, (200 << 20) // size + 1))
  operations = 4.0 * b * hq * lq * lk * d * (0.5 if row["causal"] else 1.0)
  calls = max(sets, int(min(1e12 / operations, 50)))
  make = lambda h, l: torch.randn(b, h, l, d, device="cuda", dtype=torch.float16)
  inputs = [(make(hq, lq), make(hkv, lk), make(hkv, lk)) for _ in range(sets)]

  def call(i):
    q, k, v = inputs[i % sets]
    F.scaled_dot_product_attention(q, k, v, is_causal=bool(row["causal"]), enable_gqa=hq != hkv)

  with sdpa_kernel(backend), torch.no_grad():
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
      for i in range(min(sets, 2)):
        call(i)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
      for i in range(calls):
        call(i)
  return measure(graph, calls), operations


def rows_of(command):
  out = subprocess.run(command, capture_output=True, text=True)
  if out.returncode != 0:
    sys.exit(f"{command} ended with {out.returncode}: {out.stdout[-500:]} {out.stderr[-500:]}")
  return [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]


def sdpa_rows(row, measure):
  """The shape of a row on PyTorch's backends."""
  rows = []
  for name, backend in BACKENDS.items():
    if name == "flash2" and (row["lq"] > 8192 or measure is sustained_us):
      continue  # slow, and nowhere the best
    try:
      us, operations = sdpa_us(row, backend, measure)
    except RuntimeError as error:
      print("skipped", name, row["shape"], row["d"], str(error).splitlines()[0][:100], file=sys.stderr)
      continue
    rows.append({**{k: row[k] for k in row if k not in ("us", "tops", "kernel")}, "kernel": name, "us": round(us, 2),
                 "tops": round(operations / us * 1e-6, 1)})
  torch.cuda.empty_cache()
  return rows


def main():
  program, target, kernels = sys.argv[1], sys.argv[2], sys.argv[3:] or ["sage", "int8_f16", "exact"]
  result = {
      "what": "dense attention forward, quantisation included",
      "device": query("name"),
      "driver": query("driver_version"),
      "cuda": torch.version.cuda,
      "torch": torch.__version__,
      "cudnn": torch.backends.cudnn.version(),
      "sm_clock_max_mhz": query("clocks.max.sm"),
      "power_limit": query("power.limit"),
      "date": datetime.date.today().isoformat(),
      "commit": os.environ.get("COMMIT", "unknown"),
      "command": "python3 bench/dense_results.py attn_gpu OUT.json " + " ".join(kernels),
  }
  rows = []
  for kernel in kernels:
    rows += rows_of([program, "time", kernel])
    result["sm_clock_after_" + kernel] = query("clocks.sm")
  shapes = {}
  for row in rows:
    key = tuple(row[k] for k in ("shape", "b", "hq", "hkv", "lq", "lk", "d", "causal"))
    shapes.setdefault(key, row)
  for row in shapes.values():
    rows += sdpa_rows(row, paused_us)
  result["rows"] = rows
  if os.environ.get("SUSTAINED") != "0":
    result["sustained"] = rows_of([program, "sustain", kernels[0]])
    for row in list(result["sustained"]):
      result["sustained"] += sdpa_rows(row, sustained_us)
  result["accuracy"] = [r for kernel in kernels for r in rows_of([program, "accuracy", kernel])]
  with open(target, "w") as f:
    json.dump(result, f, indent=1)
    f.write("\n")
  table = {}
  for row in rows:
    key = (row["shape"], row["d"], row["lq"], row["lk"], row["causal"])
    table.setdefault(key, {})[row["kernel"]] = row
  for key, found in sorted(table.items(), key=str):
    print(*key, " ".join(f"{k}={r['us']:.1f}us/{r['tops']:.0f}" for k, r in found.items()))


if __name__ == "__main__":
  main()
