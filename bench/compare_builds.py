"""Times two builds of libattn4j.so in turn on the shapes of docs/choice.md, and says where the new one is slower.

  python3 bench/compare_builds.py PATH/attn_gpu OLD_DIR NEW_DIR OUT.json [KERNEL ...]

attn_gpu is bench/cpp/attn_gpu.cu, built as its head says; each DIR holds a libattn4j.so whose C API it can call. Each round
runs the old build, then the new one, in processes of their own; a ratio is the median over rounds of new over old within
one round, so that a clock that drifts from round to round doesn't count. Quantisation is included. The environment
variables OLD_COMMIT and NEW_COMMIT name the commits, ROUNDS their number (3).
"""
import datetime
import json
import os
import statistics
import subprocess
import sys

SHAPE = ("kernel", "shape", "b", "hq", "hkv", "lq", "lk", "d", "causal", "dtype")


def query(fields):
  out = subprocess.run(["nvidia-smi", "--query-gpu=" + fields, "--format=csv,noheader"], capture_output=True, text=True)
  return out.stdout.strip()


def times(program, directory, kernel):
  """Microseconds by shape."""
  paths = [directory] + [p for p in os.environ.get("LD_LIBRARY_PATH", "").split(":") if p]
  out = subprocess.run([program, "time", kernel], capture_output=True, text=True,
                       env={**os.environ, "LD_LIBRARY_PATH": ":".join(paths)})
  if out.returncode != 0:
    sys.exit(f"{program} time {kernel} with {directory} ended with {out.returncode}: {out.stdout[-300:]} {out.stderr[-300:]}")
  rows = [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]
  return {tuple(row[key] for key in SHAPE): row["us"] for row in rows}


def main():
  program, old, new, target = sys.argv[1:5]
  kernels = sys.argv[5:] or ["sage"]
  rounds = int(os.environ.get("ROUNDS", "3"))
  found = {}
  for _ in range(rounds):
    for kernel in kernels:
      before, after = times(program, old, kernel), times(program, new, kernel)
      for shape in before.keys() & after.keys():
        found.setdefault(shape, []).append((before[shape], after[shape]))
  rows = []
  for shape, pairs in found.items():
    rows.append({**dict(zip(SHAPE, shape)),
                 "old_us": statistics.median(p[0] for p in pairs), "new_us": statistics.median(p[1] for p in pairs),
                 "ratio": round(statistics.median(p[1] / p[0] for p in pairs), 4)})
  rows.sort(key=lambda row: (row["kernel"], row["shape"], row["d"], row["causal"], row["lq"], row["lk"]))
  result = {
      "what": "time of the new build over the old one, dense attention forward, quantisation included",
      "device": query("name"), "driver": query("driver_version"), "sm_clock_max_mhz": query("clocks.max.sm"),
      "power_limit": query("power.limit"), "date": datetime.date.today().isoformat(),
      "old_commit": os.environ.get("OLD_COMMIT", "unknown"), "new_commit": os.environ.get("NEW_COMMIT", "unknown"),
      "rounds": rounds, "command": "python3 bench/compare_builds.py attn_gpu OLD NEW OUT.json " + " ".join(kernels),
      "rows": rows,
  }
  with open(target, "w") as f:
    json.dump(result, f, indent=1)
    f.write("\n")
  for row in rows:
    mark = "  <-- slower by more than 2 %" if row["ratio"] > 1.02 else ""
    print(f"{row['kernel']:9} {row['shape']:18} d{row['d']:<4} causal {row['causal']} {row['lq']:6} x {row['lk']:6} "
          f"{row['old_us']:10.1f} {row['new_us']:10.1f} us  {row['ratio']:.3f}{mark}")


if __name__ == "__main__":
  main()
