"""What attention of one sequence over several GPUs would cost: ring, Ulysses and both, on 2 to 64 GPUs and several links.

  python3 bench/sequence_cost.py tables             writes the tables of docs/distributed.md anew
  python3 bench/sequence_cost.py plot OUT.png       its plot (needs matplotlib)
  python3 bench/sequence_cost.py cases OUT.tsv      what SequenceCostTest holds the Java model to

The kernels' speed is measured: sageattn on an H200 by length, quantisation included (bench/results/dense-h200.json). So are, on
two H200s (bench/results/distributed-h200x2.json), what NCCL's messages reach on NVLink, and the merge. The
rest is arithmetic and assumptions: see CLUSTER. It is the model of org.attn4j.distributed.SequenceCost.
"""
import json
import math
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# GPUs a machine; bytes/s of NVLink and of one 400 Gb/s card a GPU, each direction; the share of those that messages reach
# (assumed); what an exchange and a step of attention cost to start (assumed); bytes/s of the merge (measured, PyTorch's kernels).
# NVLink's 450e9 are counted as 301e9: with the share 241e9, which is what NCCL sent while as much came in (measured).
CLUSTER = dict(gpus=8, node=301e9, network=50e9, share=0.8, exchange=20e-6, step=30e-6, memory=1.3e12)
BYTES = 2  # of an element on the wire
MODELS = {"Wan 720p": (75_600, 40, 40), "HunyuanVideo": (118_800, 24, 24), "1M tokens": (1_000_000, 32, 32)}
MESHES = [(2, 1), (1, 2), (4, 1), (1, 4), (8, 1), (1, 8), (16, 1), (4, 4), (2, 8), (1, 16), (64, 1), (8, 8), (4, 16)]


def measured():
  """TOPS of sageattn by head_dim and length, batch times heads at least 32, not causal."""
  rows = json.loads((ROOT / "bench/results/dense-h200.json").read_text())["rows"]
  tops = {}
  for row in rows:
    wide = row["shape"] == "dense" or row["shape"] == "llm512"
    if row["kernel"] == "sage" and not row["causal"] and wide:
      tops.setdefault(row["d"], {})[row["lk"]] = row["tops"]
  return {d: sorted(points.items()) for d, points in tops.items()}


TOPS = measured()


def operations_per_second(keys, head_dim):
  table = TOPS[128 if head_dim >= 96 else 64]
  if keys <= table[0][0]:
    return table[0][1] * 1e12
  for (n0, t0), (n1, t1) in zip(table, table[1:]):
    if keys <= n1:
      return (t0 + math.log(keys / n0) / math.log(n1 / n0) * (t1 - t0)) * 1e12
  return table[-1][1] * 1e12


def heads_of(heads, kv_heads, members):
  """For each member its query heads and the key/value heads that they read."""
  group = heads // kv_heads
  unit = group if kv_heads >= members else 1
  first = [unit * (j * (heads // unit) // members) for j in range(members + 1)]
  return [(e - a, 0 if a == e else (e + group - 1) // group - a // group) for a, e in zip(first, first[1:])]


def cost(ring, ulysses, tokens, batch, heads, kv_heads, head_dim, causal=False, cluster=CLUSTER):
  """Seconds of a call by part, and bytes that a rank sends."""
  split = heads_of(heads, kv_heads, ulysses)
  most, most_kv = max(q for q, _ in split), max(k for _, k in split)
  keys, share, channels, n = tokens / ring, 0.5 if causal else 1, batch * head_dim, ring * ulysses
  step = share * 4 * keys * keys * most * channels / operations_per_second(keys, head_dim)
  message = 2 * keys * most_kv * channels * BYTES if ring > 1 else 0
  link = cluster["network"] if n > cluster["gpus"] else cluster["node"]
  send = message / (link * cluster["share"]) + cluster["exchange"]
  exposed = (ring - 1) * max(0, send - step)
  merge = (ring - 1) * keys * most * channels * 12 * share / cluster["memory"]
  compute = ring * (step + cluster["step"])
  exchange = sent = 0.0
  if ulysses > 1:
    everything = tokens / n * channels * (2 * heads + 2 * sum(k for _, k in split)) * BYTES
    sent = everything * (ulysses - 1) / ulysses
    exchange = sent / (cluster["node"] * cluster["share"])
    if ulysses > cluster["gpus"]:
      far = everything * (ulysses - cluster["gpus"]) / ulysses
      exchange = max(exchange, far / (cluster["network"] * cluster["share"]))
    exchange += 2 * cluster["exchange"]
  one = share * 4 * tokens * tokens * heads * channels / operations_per_second(tokens, head_dim) + cluster["step"]
  total = compute + exposed + merge + exchange
  return dict(total=total, one=one, efficiency=one / (n * total), compute=compute, exchange=exchange, message=message,
              exposed=exposed, merge=merge, step=step, send=send if ring > 1 else 0, sent=sent)


def percent(mesh, model, cluster=CLUSTER):
  tokens, heads, kv_heads = MODELS[model]
  return 100 * cost(*mesh, tokens, 1, heads, kv_heads, 128, cluster=cluster)["efficiency"]


def mesh_table():
  tokens, heads, kv_heads = MODELS["Wan 720p"]
  one = cost(1, 1, tokens, 1, heads, kv_heads, 128)["total"]
  yield f"| GPUs | ring x ulysses | Wan 720p ({one * 1e3:.0f} ms on one): ms | a step: compute / send, ms | all-to-all, ms | " \
        "merge, ms | of all GPUs, % | HunyuanVideo, % | 1M tokens, % |"
  yield "|---|---|---|---|---|---|---|---|---|"
  for mesh in MESHES:
    c = cost(*mesh, tokens, 1, heads, kv_heads, 128)
    ring = mesh[0] > 1
    yield f"| {mesh[0] * mesh[1]} | {mesh[0]} x {mesh[1]} | {c['total'] * 1e3:.2f} | {c['step'] * 1e3:.2f}" \
          + (f" / {c['send'] * 1e3:.2f}" if ring else " / -") + f" | {c['exchange'] * 1e3:.2f} | {c['merge'] * 1e3:.2f} | " \
          + " | ".join(f"{percent(mesh, model):.0f}" for model in MODELS) + " |"


LINKS = {"NVLink, network 50": (301e9, 50e9), "NVLink, network 25": (301e9, 25e9), "PCIe 4 (25), network 12.5": (25e9, 12.5e9),
         "PCIe 5 (50), network 50": (50e9, 50e9)}


def best(n, model, cluster):
  tokens, heads, kv_heads = MODELS[model]
  meshes = [(n // u, u) for u in range(1, n + 1) if n % u == 0]
  return min(meshes, key=lambda mesh: cost(*mesh, tokens, 1, heads, kv_heads, 128, cluster=cluster)["total"])


def link_table():
  sizes = (2, 4, 8, 16, 32, 64)
  yield "| Wan 720p; links in GB/s | " + " | ".join(f"{n} GPUs" for n in sizes) + " |"
  yield "|---|" + "---|" * len(sizes)
  for name, (node, network) in LINKS.items():
    cluster = CLUSTER | dict(node=node, network=network)
    cells = []
    for n in sizes:
      mesh = best(n, "Wan 720p", cluster)
      cells.append(f"{mesh[0]} x {mesh[1]}: {percent(mesh, 'Wan 720p', cluster):.0f} %")
    yield f"| {name} | " + " | ".join(cells) + " |"


def length_table():
  columns = [(2, 40, 40), (4, 40, 40), (8, 40, 40), (8, 32, 8)]
  yield "| tokens | " + " | ".join(f"{n} GPUs, {h} heads" + (f" on {k}" if k != h else "") for n, h, k in columns) + " |"
  yield "|---|" + "---|" * len(columns)
  for tokens in (8192, 16_384, 32_768, 75_600, 262_144):
    cells = []
    for n, heads, kv_heads in columns:
      u, r = (100 * cost(*mesh, tokens, 1, heads, kv_heads, 128)["efficiency"] for mesh in ((1, n), (n, 1)))
      cells.append(f"{u:.0f} : {r:.0f}")
    yield f"| {tokens:,} | " + " | ".join(cells) + " |"


def latest_on_two():
  """The last rows of two GPUs over NCCL by (kernel, tokens, heads, ring, keys)."""
  latest = {}
  for run in json.loads((ROOT / "bench/results/distributed-h200x2.json").read_text())["runs"]:
    for row in run["rows"]:
      if row["what"] == "speed" and row["transport"] == "nccl" and row["ranks"] == 2:
        latest[row["backend"], row["tokens"], row["heads"], row["ring"], row["keys"]] = row
  return latest


def run_table():
  """What two GPUs took beside what the model says, with the time of one GPU in the same run."""
  yield "| tokens x heads | kernel | way | measured, ms | model, ms | times one GPU | of both GPUs, % | L1 |"
  yield "|---|---|---|---|---|---|---|---|"
  ways = {(1, "ring"): "Ulysses", (2, "ring"): "ring", (2, "all_gather"): "all-gather"}
  for (kernel, tokens, heads, ring, keys), row in sorted(latest_on_two().items(), key=lambda item: (item[0][0] != "sage", *item[0][1:])):
    model = cost(ring, 2 // ring, tokens, 1, heads, row["kv_heads"], row["head_dim"])["total"] * 1e3
    yield f"| {tokens:,} x {heads} | {kernel} | {ways[ring, keys]} | {row['ms']:.2f} | " + (f"{model:.2f}" if kernel == "sage" else "-") \
          + f" | {row['times_one']:.2f} | {100 * row['efficiency']:.0f} | {row['error']:.4f} |"


def tables():
  """Replaces the tables of the page whose header lines begin as ours do."""
  page = ROOT / "docs/distributed.md"
  lines = page.read_text().splitlines()
  for rows in (list(mesh_table()), list(link_table()), list(length_table()), list(run_table())):
    begin = " | ".join(rows[0].split(" | ")[:2])[:18]
    start = next(i for i, line in enumerate(lines) if line.startswith(begin))
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    lines[start:end] = rows
  page.write_text("\n".join(lines) + "\n")


def plot(out):
  import matplotlib
  matplotlib.use("Agg")
  import matplotlib.pyplot as plt
  sizes = [1, 2, 4, 8, 16, 32, 64]
  figure, axes = plt.subplots(1, len(MODELS), figsize=(12, 3.6), sharey=True)
  for axis, (model, (tokens, heads, kv_heads)) in zip(axes, MODELS.items()):
    for name, mesh in (("Ulysses", lambda n: (1, n)), ("ring", lambda n: (n, 1)),
                       ("best mesh", lambda n: best(n, model, CLUSTER))):
      points = [cost(*mesh(n), tokens, 1, heads, kv_heads, 128) for n in sizes if mesh(n)[1] <= heads]
      axis.plot(sizes[:len(points)], [p["one"] / p["total"] for p in points], marker="o", label=name,
                linewidth=3 if name == "best mesh" else 1.5, zorder=1 if name == "best mesh" else 2)
    points = {ring: row["times_one"] for (kernel, n, h, ring, keys), row in latest_on_two().items()
              if (kernel, n, h, keys) == ("sage", tokens, heads, "ring")}
    if points:
      axis.plot([2] * len(points), list(points.values()), "kx", markersize=9, zorder=3, label="measured: Ulysses, ring")
    axis.plot(sizes, sizes, color="grey", linewidth=0.8, linestyle=":", label="ideal")
    axis.set(xscale="log", yscale="log", title=f"{model}: {tokens:,} tokens, {heads} heads", xlabel="GPUs, 8 a machine")
    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.set_yticks(sizes, [str(n) for n in sizes])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
  axes[0].set_ylabel("speed-up over one GPU (model)")
  axes[0].legend(fontsize=8)
  figure.tight_layout()
  figure.savefig(out, dpi=110)


def cases(out):
  rng = random.Random(7)
  lines = ["# bench/sequence_cost.py cases: ring, ulysses, tokens, batch, heads, kvHeads, headDim, causal, gpusPerNode; total, one, "
           "exchange, exposed, merge in seconds, message in bytes"]
  for _ in range(60):
    ring, ulysses = rng.choice([1, 1, 2, 3, 4, 8]), rng.choice([1, 1, 2, 3, 4, 8, 16])
    heads, kv_heads = rng.choice([(40, 40), (24, 24), (32, 8), (8, 2), (12, 1), (7, 7)])
    shape = (rng.randrange(64, 200_000), rng.choice([1, 2]), heads, kv_heads, rng.choice([64, 80, 96, 128]))
    causal, gpus = rng.random() < 0.4, rng.choice([1, 4, 8])
    c = cost(ring, ulysses, *shape, causal, CLUSTER | dict(gpus=gpus))
    lines.append("\t".join(map(str, (ring, ulysses, *shape, int(causal), gpus))) + "\t"
                 + "\t".join(f"{c[k]:.9e}" for k in ("total", "one", "exchange", "exposed", "merge", "message")))
  Path(out).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
  if sys.argv[1:2] == ["tables"]:
    tables()
  elif sys.argv[1:2] == ["plot"] and len(sys.argv) == 3:
    plot(sys.argv[2])
  elif sys.argv[1:2] == ["cases"] and len(sys.argv) == 3:
    cases(sys.argv[2])
  else:
    sys.exit(__doc__)
