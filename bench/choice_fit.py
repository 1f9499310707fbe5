"""How well sageattn's choice on Hopper (src/main/cpp/host/head_dim.h) fits the measurements.

  python3 bench/choice_fit.py [FILE.json]   from the repository's root; bench/results/dense-h100.json by default
  python3 bench/choice_fit.py --fit [FILE.json]   constants by least squares of logarithms instead of those in the source

Head_dim 96 with a causal mask is not among the measurements: its rates in the source are 0.95 of those without, and a fit
says nothing of them. Prints, for each shape, what was measured and the estimate over it, and where the slower kernel would be taken. Needs
numpy, and scipy for --fit.
"""
import json
import pathlib
import re
import sys

import numpy as np

CONSTANTS = ("exact item", "exact start", "FP8 item", "FP8 block", "FP8 start")


def source_constants():
  """Rates (head_dim 64, 96, 128: exact, exact causal, FP8, FP8 causal; 1e12 per second), then CONSTANTS in us."""
  text = pathlib.Path("src/main/cpp/host/head_dim.h").read_text()
  rates = re.findall(r"kExact\{(\d+)e12, (\d+)e12\}, kInt8Fp8\{(\d+)e12, (\d+)e12\}", text)
  exact, fp8 = (text.split(name)[1].split("\n}")[0] for name in ("exact_wgmma_cost()", "int8_fp8_wgmma_cost()"))
  micros = lambda body, name: 1e6 * float(re.search(r"c\." + name + r" = ([\d.e-]+)", body)[1])
  return [float(x) for row in rates for x in row] + [
      micros(exact, "item"), micros(exact, "start"), micros(fp8, "item"), micros(fp8, "block"), micros(fp8, "start")]


def estimates(x, row):
  head_dim = next(d for d in (64, 96, 128) if row["d"] <= d)
  index, small = (64, 96, 128).index(head_dim), head_dim == 64
  operations = 4.0 * head_dim * row["b"] * row["hq"] * row["lq"] * row["lk"] * (0.5 if row["causal"] else 1)
  exact_rate, fp8_rate = x[4 * index + row["causal"]], x[4 * index + 2 + row["causal"]]
  items = row["b"] * row["hq"] * ((row["lq"] + 127) // 128) / 132
  blocks = row["b"] * (row["hq"] * row["lq"] + 3 * row["hkv"] * row["lk"]) / (256 if small else 128) / 132
  exact = operations / exact_rate * 1e-6 + items * x[12] + x[13]
  fp8 = operations / fp8_rate * 1e-6 + items / (2 if small else 1) * x[14] + blocks * x[15] + x[16]
  return exact, fp8


def main():
  files = [a for a in sys.argv[1:] if not a.startswith("--")] or ["bench/results/dense-h100.json"]
  shapes = {}
  for row in json.loads(pathlib.Path(files[0]).read_text())["rows"]:
    key = tuple(row[k] for k in ("shape", "d", "lq", "lk", "causal"))
    shapes.setdefault(key, {})[row["kernel"]] = row
  pairs = [(s["exact"], s["fp8_sm90"]) for s in shapes.values() if "exact" in s and "fp8_sm90" in s]
  x = source_constants()
  if "--fit" in sys.argv:
    import scipy.optimize

    def residuals(x):
      out = []
      for exact, fp8 in pairs:
        e, f = (np.log(t / m["us"]) for t, m in zip(estimates(x, exact), (exact, fp8)))
        weight = 1.0 if 0.7 < exact["us"] / fp8["us"] < 1.45 else 0.3  # where the choice is close
        out += [weight * e, weight * f, 2 * weight * (e - f)]
      return out

    x = scipy.optimize.least_squares(residuals, x, bounds=(0, np.inf)).x
    print("rates", np.round(x[:12]).reshape(3, 4).tolist(), dict(zip(CONSTANTS, np.round(x[12:], 2).tolist())))
  wrong = 0
  for exact, fp8 in pairs:
    e, f = estimates(x, exact)
    taken, other = (exact, fp8) if e < f else (fp8, exact)
    loss = taken["us"] / other["us"]
    wrong += loss > 1
    print(f"{exact['shape']:18} d={exact['d']:3} lq={exact['lq']:5} lk={exact['lk']:5} causal={exact['causal']}  "
          f"exact {exact['us']:9.1f} us ({e / exact['us']:.2f})  FP8 {fp8['us']:9.1f} us ({f / fp8['us']:.2f})  "
          f"takes {taken['kernel']}" + (f", {loss:.3f} times the other" if loss > 1 else ""))
  print(f"{wrong} of {len(pairs)} shapes take the slower kernel")


if __name__ == "__main__":
  main()
