"""Times PyTorch's FlashAttention-2 and cuDNN on shapes B:H:L:D:CAUSAL, as bench/cpp/turn_times.cu times this library.

  python3 bench/sdpa_times.py 4:32:8192:128:0 ...
"""
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"flash2": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


def call_us(b, h, l, d, causal, backend):
  sets = max(1, min(24, (200 << 20) // (8 * b * h * l * d) + 1))
  calls = max(sets, int(min(4e11 / (4.0 * b * h * l * l * d * (0.5 if causal else 1)), 50)))
  inputs = [[torch.randn(b, h, l, d, device="cuda", dtype=torch.float16) for _ in range(3)] for _ in range(sets)]
  with sdpa_kernel(backend), torch.no_grad():
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
      F.scaled_dot_product_attention(*inputs[0], is_causal=bool(causal))
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
      for i in range(calls):
        F.scaled_dot_product_attention(*inputs[i % sets], is_causal=bool(causal))
  times = []
  for i in range(6):
    time.sleep(0.01)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    graph.replay()
    end.record()
    torch.cuda.synchronize()
    if i:
      times.append(start.elapsed_time(end) * 1e3 / calls)
  return sorted(times)[len(times) // 2]


def main():
  for shape in sys.argv[1:]:
    b, h, l, d, causal = map(int, shape.split(":"))
    for name, backend in BACKENDS.items():
      try:
        us = call_us(b, h, l, d, causal, backend)
      except RuntimeError as error:
        print("skipped", name, shape, str(error).splitlines()[0][:100], file=sys.stderr)
        continue
      tops = 4.0 * b * h * l * l * d * (0.5 if causal else 1) / us * 1e-6
      print(json.dumps({"kernel": name, "b": b, "h": h, "l": l, "d": d, "causal": causal, "us": round(us, 1),
                        "tops": round(tops, 1)}), flush=True)


if __name__ == "__main__":
  main()
