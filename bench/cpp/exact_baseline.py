"""cuDNN attention through PyTorch on the shapes of exact_check.cu's `time`, measured the same way: CUDA graphs of
launches over rotating inputs that together exceed the L2 cache, median."""
import sys
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def tensors(b, h, l, d, nhd):
  t = torch.randn(b, l, h, d, device="cuda", dtype=torch.float16) if nhd else torch.randn(
      b, h, l, d, device="cuda", dtype=torch.float16)
  return t.transpose(1, 2) if nhd else t


def measure(b, hq, hkv, lq, lk, d, causal, nhd):
  size = 2 * d * b * (2 * hq * lq + 2 * hkv * lk)
  sets = max(2, min(24, (200 << 20) // size + 1))
  inputs = [(tensors(b, hq, lq, d, nhd), tensors(b, hkv, lk, d, nhd), tensors(b, hkv, lk, d, nhd)) for _ in range(sets)]
  flops = 4.0 * b * hq * lq * lk * d
  launches = 1 if flops > 3e12 else 2 * sets if flops > 2e11 else 3 * sets

  def call(i):
    q, k, v = inputs[i % sets]
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=hq != hkv)

  with sdpa_kernel(SDPBackend.CUDNN_ATTENTION), torch.no_grad():
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
      call(0)
      call(1)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
      for i in range(launches):
        call(i)
  times = []
  for i in range(6):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    graph.replay()
    end.record()
    torch.cuda.synchronize()
    if i > 0:
      times.append(start.elapsed_time(end) * 1e3 / launches)
  us = sorted(times)[len(times) // 2]
  return us, flops * (0.5 if causal else 1.0) / us * 1e-6


SHAPES = [("grid", 2 if d > 128 else 4, 32, 32, l, l, d, c, False) for d in (128, 64, 96, 160, 192, 256)
          for c in (False, True) for l in (1024, 4096, 8192, 16384)
          if not ((d == 96 and c) or (d % 64 and l == 16384) or (d > 128 and l > 4096))]
SHAPES += [
    ("sdxl_self4096", 2, 10, 10, 4096, 4096, 64, False, True),
    ("sdxl_self1024", 2, 20, 20, 1024, 1024, 64, False, True),
    ("sdxl_cross77", 2, 10, 10, 4096, 77, 64, False, True),
    ("flux", 1, 24, 24, 4608, 4608, 128, False, True),
    ("sd15_40", 2, 8, 8, 4096, 4096, 40, False, True),
    ("sd15_80", 2, 8, 8, 1024, 1024, 80, False, True),
    ("hd96", 2, 16, 16, 4096, 4096, 96, False, True),
    ("gqa", 1, 32, 8, 8192, 8192, 128, False, True),
    ("llm512", 1, 32, 8, 512, 512, 128, False, True),
    ("sd15_160", 2, 8, 8, 4096, 4096, 160, False, True),
    ("sd15_160", 2, 8, 8, 1024, 1024, 160, False, True),
    ("sd15_160", 2, 8, 8, 256, 256, 160, False, True),
    ("sd15_cross77", 2, 8, 8, 1024, 77, 160, False, True),
    ("llm512_causal", 1, 32, 8, 512, 512, 128, True, True),
]

if __name__ == "__main__":
  print("torch", torch.__version__, "cuDNN", torch.backends.cudnn.version(), torch.cuda.get_device_name())
  for name, b, hq, hkv, lq, lk, d, causal, nhd in SHAPES:
    try:
      us, tflops = measure(b, hq, hkv, lq, lk, d, causal, nhd)
      print(f"cudnn {name:<14} d{d:<3} causal{int(causal)} lq{lq:<5} lk{lk:<5} {us:9.1f} us {tflops:7.1f} TFLOPS", flush=True)
    except Exception as error:  # a shape that cuDNN refuses is a result, not a failure of the run
      print(f"cudnn {name} d{d}: {str(error).splitlines()[0]}", flush=True)
  sys.exit(0)
