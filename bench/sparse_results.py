"""Times SpargeAttn and writes one JSON file: sparse_gpu's rows, and what ran them.

  python3 bench/sparse_results.py PATH/sparse_gpu OUT.json

sparse_gpu is bench/cpp/sparse_gpu.cu, built as its head says. The environment variable COMMIT names the commit of the library.
"""
import datetime
import json
import os
import subprocess
import sys


def query(fields):
  out = subprocess.run(["nvidia-smi", "--query-gpu=" + fields, "--format=csv,noheader"], capture_output=True, text=True)
  return out.stdout.strip()


def main():
  program, target = sys.argv[1:]
  result = {
      "what": "SpargeAttn, B=1, H=32, fp16, all costs included; tops = dense operations / time",
      "device": query("name"),
      "driver": query("driver_version"),
      "cuda": "13.0",
      "sm_clock_max_mhz": query("clocks.max.sm"),
      "power_limit": query("power.limit"),
      "date": datetime.date.today().isoformat(),
      "commit": os.environ.get("COMMIT", "unknown"),
      "command": "python3 bench/sparse_results.py sparse_gpu OUT.json",
  }
  out = subprocess.run([program, "time"], capture_output=True, text=True)
  if out.returncode != 0:
    sys.exit(f"{program} ended with {out.returncode}: {out.stdout[-500:]} {out.stderr[-500:]}")
  result["rows"] = [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]
  result["sm_clock_after"] = query("clocks.sm")
  with open(target, "w") as f:
    json.dump(result, f, indent=1)
    f.write("\n")
  for row in result["rows"]:
    print(row["what"].ljust(28), row["d"], row["l"], f"{row['us']:10.1f} us {row['tops']:8.1f} TOPS", row["sparsity"])


if __name__ == "__main__":
  main()
