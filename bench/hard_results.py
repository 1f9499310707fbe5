"""Puts what `attn_gpu hard` and `sparse_gpu hard` printed, of a build before and one after, side by side into one JSON file.

  for build in OLD_DIR NEW_DIR; do LD_LIBRARY_PATH=$build ./attn_gpu hard fp8_sm90; done      into before.jsonl and after.jsonl
  python3 bench/hard_results.py before.jsonl after.jsonl bench/results/faults-h200.json

The environment variables OLD_COMMIT, NEW_COMMIT, DEVICE, DRIVER, CUDA and DATE go into its head; without DEVICE and DRIVER
nvidia-smi is asked. `--table` instead of the last argument prints docs/accuracy.md's table.
"""
import json
import os
import re
import subprocess
import sys

CASE = ("kernel", "data", "place", "share", "hq", "hkv", "lq", "lk", "d", "causal", "dtype")
FOUND = ("l1", "bias", "lse", "wrong", "ok")


def rows(path):
  """Rows by case. Cases of values that are not finite have names alike: they are numbered."""
  found, count = {}, {}
  for line in open(path):
    if not line.startswith("{"):
      continue
    line = re.sub(r"(?<=: )-?nan\b", "NaN", line)
    row = json.loads(re.sub(r"(?<=: )(-?)inf\b", r"\1Infinity", line))
    case = tuple(row[key] for key in CASE)
    count[case] = count.get(case, 0) + 1
    found[case + (count[case],)] = row
  return found


def query(fields):
  out = subprocess.run(["nvidia-smi", "--query-gpu=" + fields, "--format=csv,noheader"], capture_output=True, text=True)
  return out.stdout.strip()


def finite(x):
  return x if not isinstance(x, float) or abs(x) < float("inf") else str(x)


def main():
  before, after, target = rows(sys.argv[1]), rows(sys.argv[2]), sys.argv[3]
  if target == "--table":
    print_table(before, after)
    return
  table = []
  for case, new in after.items():
    row = dict(zip(CASE, case))
    row.update(l1_bar=new["l1_bar"], bias_bar=new["bias_bar"], lse_bar=new["lse_bar"])
    row["after"] = {key: finite(new[key]) for key in FOUND}
    if case in before:
      row["before"] = {key: finite(before[case][key]) for key in FOUND}
    table.append(row)
  head = {
      "device": os.environ.get("DEVICE") or query("name"),
      "driver": os.environ.get("DRIVER") or query("driver_version"),
      "cuda": os.environ.get("CUDA", ""),
      "date": os.environ.get("DATE", ""),
      "before": os.environ.get("OLD_COMMIT", ""),
      "after": os.environ.get("NEW_COMMIT", ""),
      "command": "attn_gpu hard fp8_sm90, sparse_gpu hard; bench/hard_results.py",
  }
  lines = ",\n".join("    " + json.dumps(row) for row in table)
  with open(target, "w") as f:
    f.write(json.dumps(head, indent=2)[:-2] + ',\n  "rows": [\n' + lines + "\n  ]\n}\n")


def print_table(before, after):
  """The worst of each kind of data, by head_dim: L1 and bias before, after."""
  kinds = {}
  for case, new in after.items():
    if "special" in case[1] or "NaN" in case[1]:
      continue
    kinds.setdefault((case[0], case[1], case[8]), []).append((before.get(case), new))
  for (kernel, data, d), pairs in kinds.items():
    worst = lambda i, key: max((abs(p[i][key]) for p in pairs if p[i]), default=float("nan"))
    print(f"| {kernel} | {data} | {d} | {worst(0, 'l1'):.4f}, {worst(0, 'bias'):.4f} | {worst(1, 'l1'):.4f}, {worst(1, 'bias'):.4f} |")


if __name__ == "__main__":
  main()
