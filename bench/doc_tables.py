"""Writes the tables of README.md and docs/ that quote bench/results: the rows below each known header, nothing else.

  python3 bench/doc_tables.py     from the repository's root; afterwards `git diff` shows what changed

Text around the tables, dates and commits are for people to keep true.
"""
import json
import pathlib

RESULTS = pathlib.Path("bench/results")
LENGTHS = (1024, 2048, 4096, 8192, 16384, 32768)


def rows_of(name, part="rows", gpu="h100"):
  return json.loads((RESULTS / f"{name}-{gpu}.json").read_text())[part]


def write_table(path, header, rows):
  """Replaces the rows of the only table of `path` whose header line begins with `header`."""
  path = pathlib.Path(path)
  lines = path.read_text().splitlines()
  found = [i for i, line in enumerate(lines) if line.startswith(header)]
  if len(found) != 1:
    raise SystemExit(f"{path}: {len(found)} tables begin with {header}")
  first = found[0] + 2  # behind the line of dashes
  end = first
  while end < len(lines) and lines[end].startswith("|"):
    end += 1
  lines[first:end] = ["|" + "|".join(f" {cell} " if cell != "" else " " for cell in row) + "|" for row in rows]
  path.write_text("\n".join(lines) + "\n")


class Dense:
  """Times in microseconds of each kernel and shape."""

  def __init__(self, gpu="h100"):
    self.by_shape = {}
    for row in rows_of("dense", gpu=gpu):
      key = (row["shape"], row["d"], row["lq"], row["lk"], row["causal"])
      self.by_shape.setdefault(key, {})[row["kernel"]] = row

  def grid(self, d, length, causal):
    return self.by_shape.get(("dense", d, length, length, int(causal)))

  def named(self, name):
    (found,) = [shape for key, shape in self.by_shape.items() if key[0] == name]
    return found

  def renew(self, rows):
    """Takes newer times of `sageattn` in place of the old ones, for the shapes that were timed again."""
    for row in rows:
      shape = self.by_shape.get((row["shape"], row["d"], row["lq"], row["lk"], row["causal"]))
      if shape is not None:
        shape["sage"] = dict(row, us=row["new_us"])

  @staticmethod
  def best(shape):
    return min((shape[name] for name in ("cudnn", "flash2") if name in shape), key=lambda row: row["us"])


def grid_rows(dense):
  for d, causal in ((128, 0), (128, 1), (96, 0), (64, 0), (64, 1)):
    shapes = [dense.grid(d, length, causal) for length in LENGTHS]
    yield [f"{d}, causal" if causal else d, "best of cuDNN and FA2"] + [f"{dense.best(s)['tops']:.0f}" for s in shapes]
    yield ["", "**`sageattn`**"] + [f"**{s['sage']['tops']:.0f}**" for s in shapes]
    yield ["", "its speed over the best"] + [f"{dense.best(s)['us'] / s['sage']['us']:.2f}" for s in shapes]


MODELS = {"sdxl_self4096": "SDXL self-attention", "sdxl_cross77": "SDXL cross-attention", "sd15_40":
          "SD 1.5 self-attention", "flux": "Flux", "wan_480p": "Wan 480p", "cogvideox": "CogVideoX", "gqa": "grouped heads"}


def thousands(number):
  return f"{number:,}" if number >= 10000 else number


def h200_grid_rows(dense, lengths):
  for d, causal in ((128, 0), (128, 1), (96, 0), (64, 0), (64, 1)):
    cells = []
    for length in lengths:
      shape = dense.grid(d, length, causal)
      if causal and length < 4096:  # timed with a kernel that is gone
        cells.append("")
        continue
      best = dense.best(shape)
      cells.append(f"{best['tops']:.0f} → **{shape['sage']['tops']:.0f}** ({best['us'] / shape['sage']['us']:.2f}x)")
    yield [f"{d}, causal" if causal else d] + cells


def h200_model_rows(dense, style):
  for name, title in MODELS.items():
    shape = dense.named(name)
    ours, best = shape["sage"], dense.best(shape)["us"]
    yield [title] + ([ours["b"]] if style == "all" else []) + [
        f"{ours['hq']}/{ours['hkv']}", thousands(ours["lq"]), thousands(ours["lk"]), ours["d"], f"{best:.0f}",
        f"{ours['us']:.0f}", f"**{best / ours['us']:.2f}x**"]


def h200_error_rows():
  """Relative L1 on N(0,1), 4096 tokens, FP16, not causal: two files, as the FP8 kernel was checked by another program."""
  wanted = lambda row, kernel, d, length: (row["kernel"], row["d"], row["dtype"], row["causal"], length) == (kernel, d, "f16", 0, 4096)
  mma = [row for row in rows_of("mma", "accuracy", "h200") if row["data"] == "randn"]
  fp8 = [row for row in rows_of("faults", gpu="h200") if row["data"] == "normal"]
  for kernel, title in (("exact", "exact"), ("int8_f16", "SageAttention, 16-bit P·V"), ("fp8_sm90", "SageAttention, FP8 P·V")):
    cells = []
    for d in (64, 128):
      found = [row["l1"] for row in mma if wanted(row, kernel, d, row["l"])] + [
          row["after"]["l1"] for row in fp8 if wanted(row, kernel, d, row["lk"])]
      (error,) = found
      cells.append(f"{error:.4f}")
    yield [title] + cells


def model_rows(dense):
  for name, title in MODELS.items():
    shape = dense.named(name)
    ours, best = shape["sage"], dense.best(shape)["us"]
    yield [title, ours["b"], f"{ours['hq']}/{ours['hkv']}", ours["lq"], ours["lk"], ours["d"], f"{best:.0f}",
           f"{ours['us']:.0f}", f"{ours['us'] / best:.2f}"]


def choice_rows(dense):
  for d, causal in ((128, 0), (128, 1), (96, 0), (64, 0), (64, 1)):
    for length in LENGTHS[:4]:
      shape = dense.grid(d, length, causal)
      if shape is None:
        continue
      exact, fp8 = shape["exact"], shape["fp8_sm90"]
      cell = lambda row, wins: (f"**{row['us'] / 1e3:.3f}**" if wins else f"{row['us'] / 1e3:.3f}") + f" ({row['tops']:.0f})"
      # sageattn ran one of the two kernels; its time says which.
      took = min((exact, fp8), key=lambda row: abs(row["us"] - shape["sage"]["us"]))
      yield [d, "yes" if causal else "no", length, cell(exact, exact["us"] < fp8["us"]), cell(fp8, fp8["us"] <= exact["us"]),
             "exact" if took is exact else "FP8"]


def sustained_rows():
  shapes = {}
  for row in rows_of("dense", "sustained"):
    shapes.setdefault((row["shape"], row["d"], row["lk"]), {})[row["kernel"]] = row
  names = {"dense": "4 x 32 heads", "flux": "Flux", "sdxl_self4096": "SDXL self-attention"}
  for (name, d, length), shape in shapes.items():
    ours, cudnn = shape["sage"], shape["cudnn"]
    yield [names[name], f"{length:,}" if length >= 10000 else length, d, f"{cudnn['tops']:.0f}", f"{ours['tops']:.0f}",
           f"{ours['us'] / cudnn['us']:.2f}"]


def hopper_rows(dense):
  aims = {128: (760, 830, 870, 890), 64: (580, 620, 650, 660), 96: (700, 700, 700, None)}
  for d, of_d in aims.items():
    got = [dense.grid(d, length, 0) for length in LENGTHS[2:]]
    yield [f"head_dim {d}, aim"] + [f"{s['sage']['tops']:.0f}, {aim}" if aim else f"{s['sage']['tops']:.0f}"
                                    for s, aim in zip(got, of_d)]
  ratio = lambda d, n: dense.grid(d, n, 1)["sage"]["tops"] / dense.grid(d, n, 0)["sage"]["tops"]
  yield ["causal / not causal: 128, 64 (aim 0.85)", ""] + [f"{ratio(128, n):.2f}, {ratio(64, n):.2f}" for n in LENGTHS[3:]]


def accuracy_rows(kernel, data, d):
  cells = []
  for dtype in ("f16", "bf16"):
    found = [row for row in rows_of("dense", "accuracy")
             if (row["kernel"], row["data"], row["d"], row["dtype"], row["l"], row["causal"]) == (kernel, data, d, dtype, 4096, 0)]
    cells.append(f"{found[0]['cos']:.6f}, {found[0]['l1']:.4f}")
  return cells


def sparge_rows():
  table = {(row["what"], row["d"], row["l"]): row for row in rows_of("sparge")}
  titles = {"dense int8_fp8": "dense, the same kernel", "random block mask 0.00": "caller's map, nothing left out",
            "random block mask 0.50": "caller's map, half left out", "random block mask 0.75": "caller's map, 75 % left out",
            "random block mask 0.90": "caller's map, 90 % left out", "topk 1.00, clustered": "`topk` 1", "topk 0.50, clustered": "`topk` 0.5",
            "topk 0.25, clustered": "`topk` 0.25", "topk 0.10, clustered": "`topk` 0.1"}
  for what, title in titles.items():
    found = [table[what, d, length] for d, length in ((128, 8192), (128, 32768), (64, 8192), (64, 32768))]
    yield [title] + [f"{row['us'] / 1e3:.2f} ms, {row['tops']:.0f}" for row in found]


def drop_in_rows():
  shapes = {}
  for row in rows_of("pytorch", gpu="h200"):
    if "server" in row:
      shapes.setdefault(row["shape"], {})[row["server"]] = row
  for name, shape in shapes.items():
    torch, auto = shape["pytorch"], shape["auto"]
    yield [name, torch["b"], f"{torch['hq']}/{torch['hkv']}", torch["lq"], torch["lk"], torch["d"],
           f"{torch['us']:.0f}", f"{auto['us']:.0f}", f"{auto['us'] / torch['us']:.2f}"]


def main():
  dense = Dense()
  h200 = Dense("h200")
  h200.renew(rows_of("choice", gpu="h200"))
  write_table("README.md", "| model | heads (q/kv)", h200_model_rows(h200, "few"))
  write_table("README.md", "| kernel | head dimension 64", h200_error_rows())
  write_table("docs/speed.md", "| head dimension, mask | 1024", h200_grid_rows(h200, (1024,) + LENGTHS[2:5]))
  write_table("docs/speed.md", "| shape | batch | heads (q/kv) | queries | keys | head dimension | best |",
              h200_model_rows(h200, "all"))
  write_table("docs/speed.md", "| head dimension, mask | |", grid_rows(dense))
  write_table("docs/speed.md", "| shape | batch | heads (q/kv) | queries | keys | head dimension | best of", model_rows(dense))
  write_table("docs/speed.md", "| kept busy |", sustained_rows())
  titles = {"exact": "exact", "int8_f16": "INT8, 16-bit PV", "fp8_sm90": "INT8, FP8 PV"}
  write_table("docs/accuracy.md", "| kernel | data | head_dim |", [
      [title, f"`{data}`", d] + accuracy_rows(kernel, data, d)
      for kernel, title in titles.items() for data in ("randn", "outlier") for d in (64, 128)])
  write_table("docs/choice.md", "| head_dim | causal | L |", choice_rows(dense))
  write_table("docs/hopper.md", "| | 4096 | 8192 |", hopper_rows(dense))
  write_table("docs/sparge.md", "| | head_dim 128, 8K |", sparge_rows())
  write_table("docs/pytorch.md", "| shape | batch | heads q/kv |", drop_in_rows())


if __name__ == "__main__":
  main()
