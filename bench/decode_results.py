"""Times attention of few queries: the library in auto mode (sageattn) and exact_attn against PyTorch's, in one run.

  python3 bench/decode_results.py LIBTORCH_SHIM OUT.json

LIBTORCH_SHIM is bench/cpp/torch_shim.cpp, built as its head says against the library to be measured. COMMIT names the
library's commit; SECONDS_MOST ends the run early. Everything is timed alike, in one process and in turn: CUDA graphs of calls over rotating inputs (24 sets
or 200 MB, what comes first), five replays, medians, in microseconds a call. "default" is PyTorch's own choice, "cudnn" and "flash" its backends
by name; "auto" and "exact" are sageattn and exact_attn, and their kernels' names follow. Outputs are compared with PyTorch's math in fp64 where
that fits, else with its fp16.
"""
import ctypes
import datetime
import json
import os
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

P = ctypes.c_void_p


class Library:

  def __init__(self, path):
    self.lib = ctypes.CDLL(os.path.abspath(path))
    self.lib.shim_plan.restype = self.lib.shim_plan_bytes.restype = ctypes.c_int64
    self.workspace = torch.empty(512 << 20, dtype=torch.uint8, device="cuda")

  def call(self, sage, q, k, v, o, causal):
    """A planned call; calling it enqueues."""
    b, hq, lq, d = q.shape
    sizes = (ctypes.c_int64 * 6)(b, hq, k.shape[1], lq, k.shape[2], d)
    strides = (ctypes.c_int64 * 12)(*[s for t in (q, k, v, o) for s in t.stride()[:3]])
    addresses = (P * 5)(*[t.data_ptr() for t in (q, k, v, o)], None)
    plan, name = ctypes.create_string_buffer(self.lib.shim_plan_bytes()), ctypes.create_string_buffer(64)
    seconds = ctypes.c_float()
    size = self.lib.shim_plan(sage, addresses, sizes, strides, int(q.dtype == torch.bfloat16), causal, plan, name,
                              ctypes.byref(seconds))
    if not 0 <= size <= self.workspace.numel():
      return None

    def run():
      stream = P(torch.cuda.current_stream().cuda_stream)
      status = self.lib.shim_run(plan, addresses, P(self.workspace.data_ptr()), ctypes.c_int64(size), stream)
      assert status == 0, status

    run.kernel, run.estimate = name.value.decode(), seconds.value * 1e6
    return run


def capture(call, launches):
  stream = torch.cuda.Stream()
  with torch.cuda.stream(stream):
    call(0)
    call(1)
  stream.synchronize()
  graph = torch.cuda.CUDAGraph()
  with torch.cuda.graph(graph):
    for i in range(launches):
      call(i)
  return graph


def replay(graph, launches):
  start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
  start.record()
  graph.replay()
  end.record()
  torch.cuda.synchronize()
  return start.elapsed_time(end) * 1e3 / launches


def measure(library, name, b, hq, hkv, lq, lk, d, causal=0, dtype=torch.float16):
  size = 4 * d * b * (hkv * lk + hq * lq)
  sets = max(2, min(24, (200 << 20) // size + 1))
  launches = 4 if size > 500 << 20 else max(sets, 12) if size > 100 << 20 else max(3 * sets, 30)
  make = lambda h, l: torch.randn(b, h, l, d, device="cuda", dtype=dtype)
  inputs = [(make(hq, lq), make(hkv, lk), make(hkv, lk), make(hq, lq)) for _ in range(sets)]

  def sdpa(i):
    q, k, v, _ = inputs[i % sets]
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal == 1, enable_gqa=hq != hkv)

  graphs, row = {}, dict(shape=name, b=b, hq=hq, hkv=hkv, lq=lq, lk=lk, d=d, causal=causal, dtype=str(dtype)[6:])
  for backend in (None, SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
    label = "default" if backend is None else "cudnn" if backend == SDPBackend.CUDNN_ATTENTION else "flash"
    try:
      if backend is None:
        graphs[label] = capture(sdpa, launches)
      else:
        with sdpa_kernel(backend):
          graphs[label] = capture(sdpa, launches)
    except RuntimeError:  # a backend that refuses a shape has no time there
      pass
  wide = lk * b * hkv * d < 2e7
  q, k, v, o = inputs[0]
  expected = F.scaled_dot_product_attention(*[t.double() if wide else t for t in (q, k, v)], is_causal=causal == 1,
                                            enable_gqa=hq != hkv)
  for label, sage in (("auto", 1), ("exact", 0)):
    calls = [library.call(sage, *inputs[i], causal) for i in range(sets)]
    if calls[0] is None:
      continue
    o.fill_(float("nan"))
    calls[0]()
    error = (o.double() - expected).abs().max().item()
    assert error < (0.06 if "fp8" in calls[0].kernel else 0.02), (row, error)
    row[label + "_kernel"], row["estimate"] = calls[0].kernel, round(calls[0].estimate, 1)
    graphs[label] = capture(lambda i: calls[i % sets](), launches)
  times = {label: [] for label in graphs}
  for i in range(6):
    for label, graph in graphs.items():
      us = replay(graph, launches)
      if i:
        times[label].append(us)
  row.update({label: round(sorted(t)[2], 2) for label, t in times.items()})
  ours = row.get("auto", row["exact"])
  row["over_default"] = round(ours / row["default"], 3)
  row["over_best"] = round(ours / min(row[x] for x in ("default", "cudnn", "flash") if x in row), 3)
  return row


def shapes():
  """The most telling first: a run may be cut short."""
  yield "bar", 8, 32, 8, 1, 4097, 128
  yield "bar", 8, 32, 8, 1, 32768, 128
  yield "one entry", 1, 32, 8, 1, 4097, 128
  yield "queries", 8, 32, 8, 4, 4097, 128
  yield "text token", 2, 10, 10, 77, 4096, 64
  yield "queries, one entry", 1, 32, 8, 128, 4097, 128
  yield "queries, one entry", 1, 32, 8, 16, 4097, 128
  yield "queries", 8, 32, 8, 128, 4097, 128
  yield "queries, short", 1, 16, 16, 16, 1024, 64
  yield "queries, shorter", 16, 16, 16, 16, 77, 64
  yield "causal", 4, 16, 16, 128, 128, 128, 1
  yield "head_dim", 8, 16, 8, 1, 4096, 160
  yield "pooling", 64, 16, 16, 1, 257, 72
  yield "queries, short", 8, 16, 16, 64, 1024, 64
  yield "one entry", 1, 32, 8, 1, 512, 128
  yield "one KV head", 1, 32, 1, 1, 131072, 128
  yield "bf16", 8, 32, 8, 1, 4097, 128, 0, torch.bfloat16
  for lk in (128, 1024, 32768, 131072):
    yield "one entry", 1, 32, 8, 1, lk, 128
  for lk in (128, 512, 1024, 4097):
    yield "one entry, 32 KV heads", 1, 32, 32, 1, lk, 128
  for b in (2, 4, 16, 32, 64):
    yield "batch", b, 32, 8, 1, 4097, 128
  yield "one KV head", 4, 16, 1, 1, 32768, 128
  for d in (64, 72, 96, 160, 192, 256):
    yield "head_dim", 8, 16, 8, 1, 4096, d
    yield "head_dim", 2, 8, 8, 77, 4096, d
  for lq in (2, 3, 8, 16, 32, 64, 96):
    yield "queries", 8, 32, 8, lq, 4097, 128
    yield "queries, one entry, 32 KV heads", 1, 32, 32, lq, 4097, 128
  for lq in (2, 4, 8, 32, 64):
    yield "queries, one entry", 1, 32, 8, lq, 4097, 128
    yield "queries, head_dim 64", 2, 10, 10, lq, 4096, 64
  for lq in (16, 64, 128):
    yield "queries, short", 8, 16, 16, lq, 1024, 64
    yield "queries, shorter", 16, 16, 16, lq, 77, 64
    yield "queries, shorter", 2, 16, 16, lq, 256, 128
  yield "pooling", 16, 12, 12, 1, 197, 64
  for lq in (1, 8, 64):
    yield "causal", 4, 16, 16, lq, lq, 128, 1
    yield "causal, keys beyond", 4, 16, 16, lq, 256, 64, 1
  yield "bf16", 2, 10, 10, 77, 4096, 64, 0, torch.bfloat16


def query(fields):
  out = subprocess.run(["nvidia-smi", "--query-gpu=" + fields, "--format=csv,noheader"], capture_output=True, text=True)
  return out.stdout.strip()


def write(path, result):
  with open(path, "w", encoding="utf-8") as f:
    head = json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1)[:-2]
    f.write(head + ',\n "rows": [\n  ' + ",\n  ".join(json.dumps(r) for r in result["rows"]) + "\n ]\n}\n")


def main():
  torch.manual_seed(20261130)
  library = Library(sys.argv[1])
  result = {
      "device": torch.cuda.get_device_name(), "driver": query("driver_version"), "cuda": torch.version.cuda,
      "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(), "clocks": query("clocks.sm,clocks.mem"),
      "date": datetime.date.today().isoformat(), "commit": os.environ.get("COMMIT", "unknown"),
      "command": "python3 bench/decode_results.py libtorch_shim.so OUT.json", "unit": "us per call", "rows": []
  }
  until = time.monotonic() + float(os.environ.get("SECONDS_MOST", "600"))
  for shape in shapes():
    if time.monotonic() > until:
      break
    row = measure(library, *shape)
    result["rows"].append(row)
    print(json.dumps(row), flush=True)
    write(sys.argv[2], result)


if __name__ == "__main__":
  main()
