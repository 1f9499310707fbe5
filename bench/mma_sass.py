"""Counts what the loops of the mma.sync kernels ask of an SM, and bounds their speed on GPUs that nobody here has.

  python3 bench/mma_sass.py count [ARCH ...]      compiles the kernels (nvcc) and prints the counts and bounds
  python3 bench/mma_sass.py record [ARCH ...]     the same into bench/results/mma-sass.json
  python3 bench/mma_sass.py check [ARCH ...]      compares with that file: exit status 1 if a loop grew by 3 % or spills
  python3 bench/mma_sass.py plot OUT.svg          bounds of the recorded counts, as a picture
  python3 bench/mma_sass.py cubin FILE HEAD_DIM   any cubin with a loop of mma.sync

No disassembler is needed: opcodes are read from the instruction words. Counted is the step of the loop that no mask
touches, per 16 rows x 64 keys, the shortest way through it: without rare blocks (references that move) and the copies of
the next tile, which are listed by themselves, per tile and warp. A bound is the busiest unit's clocks at the vendor's boost
clock. It is no measurement: nothing says that the other units' work hides behind it. On Hopper nothing does (measured:
an mma.sync keeps the scheduler to itself), and its bound adds them up.
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CPP = ROOT / "src/main/cpp"
RECORD = ROOT / "bench/results/mma-sass.json"
ARCHS = (80, 89, 90, 120)  # 8.6 compiles to the counts of 8.9
FAMILY = {80: "80", 86: "86", 89: "89", 90: "80", 120: "120"}  # 9.0: the kernels of family 80, as they are measured
# The block-sparse kernel has the loop of the first.
TEMPLATES = {"MmaInt8F16": "INT8", "MmaInt8Acc16": "INT8, fp16 acc.", "MmaInt8Fp8": "INT8/FP8",
             "MmaInt8Fp8Acc16": "INT8/FP8, fp16 acc.", "ExactMma": "exact"}
ALSO = {90: {"MmaInt8Fp8": "89", "MmaInt8Fp8Acc16": "89"}}  # families of which 9.0 has these, to test them
GROWTH = 1.03

# Low nine bits of the opcode. What is missing here is counted as "other".
OPCODES = {
    0x03c: "HMMA", 0x037: "IMMA", 0x07a: "QMMA", 0x03b: "LDSM", 0x1ae: "LDGSTS", 0x184: "LDS", 0x188: "STS", 0x189: "SHFL",
    0x183: "LDL", 0x187: "STL", 0x108: "MUFU", 0x106: "I2F", 0x020: "FMUL", 0x021: "FADD", 0x023: "FFMA", 0x024: "IMAD",
    0x025: "IMAD", 0x027: "IMAD", 0x009: "FMNMX", 0x00b: "FSETP", 0x00c: "ISETP", 0x00f: "VIMNMX3", 0x010: "IADD3",
    0x011: "LEA", 0x012: "LOP3", 0x016: "PRMT", 0x017: "IMNMX", 0x019: "SHF", 0x01c: "PLOP3", 0x007: "SEL", 0x008: "FSEL",
    0x030: "HADD2", 0x031: "HFMA2", 0x032: "HMUL2", 0x036: "VIADD", 0x03e: "F2FP", 0x045: "I2FP", 0x048: "VIMNMX",
    0x046: "VIADDMNMX", 0x147: "BRA", 0x006: "VOTE", 0x11d: "BAR", 0x11a: "DEPBAR", 0x1af: "LDGDEPBAR", 0x118: "NOP",
    0x002: "MOV",
}
MMA = ("HMMA", "IMMA", "QMMA")
FP32 = ("FMUL", "FADD", "FFMA")
SPECIAL = ("MUFU", "I2F")
# Wavefronts of shared memory per instruction: ldmatrix.x4 and 16-byte copies read or write four lines.
WAVEFRONTS = {"LDSM": 4, "LDGSTS": 4, "LDS": 1, "STS": 1, "SHFL": 2, "LDL": 1, "STL": 1}
NOT_ALU = set(MMA + FP32 + SPECIAL) | set(WAVEFRONTS) | {"IMAD", "BRA", "VOTE", "BAR", "DEPBAR", "LDGDEPBAR", "NOP", "other"}
HALF_RATE = {"FMNMX", "VIMNMX", "VIMNMX3", "IMNMX", "I2FP", "F2FP", "LOP3", "PRMT", "SEL", "FSEL", "ISETP", "FSETP", "SHF",
             "LEA"}

# SMs, GHz (vendors' boost clocks; the H200's is what these kernels run at), and clocks of one scheduler for a warp's
# instruction: m16n8k16 with fp32 and with fp16 accumulators, m16n8k32 on INT8, and on FP8 with both accumulators (from the
# vendors' dense rates; H200 measured, where FP8 becomes two HMMA), fp32, ALU, integer multiplies.
Gpu = collections.namedtuple("Gpu", "name sms ghz hmma hmma16 imma qmma qmma16 fp32 alu imad serial")
GPUS = {
    80: Gpu("A100", 108, 1.41, 8, 8, 8, 0, 0, 2, 2, 2, False),
    86: Gpu("RTX 3090", 82, 1.695, 32, 16, 16, 0, 0, 1, 2, 2, False),
    89: Gpu("RTX 4090", 128, 2.52, 32, 16, 16, 32, 16, 1, 2, 2, False),
    90: Gpu("H200", 132, 1.9, 6.03, 6.03, 6.03, 0, 0, 1, 2, 2, True),
    120: Gpu("RTX 5090", 170, 2.407, 32, 16, 16, 32, 16, 1, 2, 2, False),
}


class Instruction:
  def __init__(self, low, high):
    self.low, self.high = low, high
    self.name = OPCODES.get(low & 0x1FF, "other")
    self.conditional = self.name == "BRA" and ((low >> 12) & 15 != 7 or low & 0xFFF != 0x947)
    self.wide = bool(high >> 12 & 1)  # of HMMA: fp32 accumulators
    self.wide8 = bool(high >> 13 & 1)  # of QMMA

  def target(self, index, sm):
    """Of a branch, as an index."""
    if sm >= 90:  # in units of 4 bytes, the low bits apart
      offset = (self.high & 0x3FFFF) << 30 | self.low >> 34
      offset -= (offset >> 47 & 1) << 48
      return index + 1 + (offset << 8 | self.low >> 16 & 255) * 4 // 16
    offset = (self.high & 0x3FFFF) << 32 | self.low >> 32
    offset -= (offset >> 49 & 1) << 50
    return index + 1 + offset // 16


def kernels_of(blob):
  """(architecture, {section: instructions}) of a cubin: ELF64."""
  sm = struct.unpack_from("<I", blob, 0x30)[0]
  sm = sm >> 8 & 0xFF if sm >> 8 & 0xFF else sm & 0xFF
  table, = struct.unpack_from("<Q", blob, 0x28)
  size, count, names = struct.unpack_from("<HHH", blob, 0x3A)
  headers = [struct.unpack_from("<IIQQQQ", blob, table + i * size) for i in range(count)]
  found = {}
  for header in headers:
    start = headers[names][4] + header[0]
    name = blob[start:blob.index(b"\0", start)].decode()
    if name.startswith(".text."):
      found[name[6:]] = [Instruction(*struct.unpack_from("<QQ", blob, header[4] + i)) for i in range(0, header[5], 16)]
  return sm, found


def cheapest_way(code, first, last, sm, wanted):
  """Through a loop: the way with the most of the `wanted` instructions, in this order of kinds, and else the shortest."""
  best = {last + 1: ((0,) * len(wanted) + (0,), None)}  # index: (what is wanted, length), where to go on
  for i in range(last, first - 1, -1):
    x = code[i]
    ends = [i + 1]
    if x.name == "BRA" and i < (end := x.target(i, sm)) <= last:
      ends = [i + 1, end] if x.conditional else [end]
    here = tuple(-(x.name in kind) for kind in wanted) + (1,)
    ways = [(best[e][0], e) for e in ends if e in best]
    if ways:
      value, end = min(ways)
      best[i] = (tuple(u + v for u, v in zip(here, value)), end)
  way, i = [], first
  while i is not None and i <= last:
    way.append(code[i])
    i = best[i][1]
  return way


def tightest_step(code, sm):
  """(instructions of the step, how many more its copies are): of the loop with the fewest instructions per multiply."""
  loops = []
  for i, x in enumerate(code):
    if x.name == "BRA" and 0 <= (first := x.target(i, sm)) < i:
      loops.append((first, i))
  best = None
  for first, last in loops:
    inner = [(a, b) for a, b in loops if (a, b) != (first, last) and first <= a and b <= last]
    if any(code[i].name in MMA for a, b in inner for i in range(a, b)):
      continue
    step = cheapest_way(code, first, last, sm, [MMA])
    multiplies = sum(x.name in MMA for x in step)
    if multiplies >= 8 and (best is None or len(step) / multiplies < best[0]):
      copying = cheapest_way(code, first, last, sm, [MMA, ("LDGSTS",)])
      best = (len(step) / multiplies, step, len(copying) - len(step))
  return best[1:] if best else None


def measure(step, copies, head_dim, sm):
  """Counts and clocks per 16 rows x 64 keys."""
  count = collections.Counter(x.name for x in step)
  # The scores of such a unit take head_dim / 4 IMMA, or head_dim / 2 HMMA beside the head_dim / 2 of P V.
  units = count["IMMA"] / (head_dim / 4) if count["IMMA"] else count["HMMA"] / head_dim
  per = {name: n / units for name, n in count.items()}
  narrow = sum(x.name == "HMMA" and not x.wide for x in step) / units
  narrow8 = sum(x.name == "QMMA" and not x.wide8 for x in step) / units
  gpu, issued = GPUS[sm], len(step) / units
  clocks = {
      "tensor": (per.get("IMMA", 0) * gpu.imma + narrow * gpu.hmma16 + (per.get("HMMA", 0) - narrow) * gpu.hmma
                 + narrow8 * gpu.qmma16 + (per.get("QMMA", 0) - narrow8) * gpu.qmma),
      "special": 8 * sum(per.get(name, 0) for name in SPECIAL),
      "fp32": gpu.fp32 * sum(per.get(name, 0) for name in FP32) + gpu.imad * per.get("IMAD", 0),
      "alu": gpu.alu * sum(n for name, n in per.items() if name not in NOT_ALU),
      "shared memory": 4 * sum(per.get(name, 0) * w for name, w in WAVEFRONTS.items()),
      "issue": issued,
  }
  multiplies = sum(per.get(name, 0) for name in MMA)
  if gpu.serial:
    clocks["serial"] = clocks["tensor"] + issued - multiplies + sum(per.get(name, 0) for name in HALF_RATE)
  busiest = max(clocks, key=clocks.get)
  tops = 4 * 16 * 64 * head_dim * 4 * gpu.sms * gpu.ghz / clocks[busiest] / 1e3
  return {
      "instructions": round(issued, 1), "multiplies": round(multiplies, 1), "copies": copies,
      "clocks": {name: round(c) for name, c in clocks.items()}, "bound": busiest, "tops_bound": round(tops),
  }


def variants(arch):
  """(template, header, head_dim, bytes it may spill) of variants.list for an architecture's family."""
  for line in (CPP / "variants.list").read_text().splitlines():
    columns = line.split("#")[0].split()
    if len(columns) < 5 or columns[0] not in TEMPLATES:
      continue
    family = ALSO.get(arch, {}).get(columns[0], FAMILY[arch])
    if columns[4] == "*" or family in columns[4].split(","):
      for head_dim in columns[2].split(","):
        yield columns[0], columns[1], int(head_dim), int(columns[5]) if len(columns) > 5 else 0


def compile_one(arch, template, header, head_dim, allowed, folder):
  """(row, spilled bytes if they are more than allowed, or read more than twice in a step) of a kernel in fp16."""
  stem = pathlib.Path(folder) / f"{template}_{head_dim}_{arch}"
  stem.with_suffix(".cu").write_text(
      f'#include "{header}"\nnamespace attn4j {{\nKernelEntry made();\n'
      f'KernelEntry made() {{ return {template}<{head_dim}, DType::kFloat16>::entry("x"); }}\n}}\n')
  out = subprocess.run(
      ["nvcc", "-std=c++17", "-O3", f"-DATTN4J_SM={arch}", f"-gencode=arch=compute_{arch},code=sm_{arch}", "-cubin",
       "-Xptxas=-v", f"-I{CPP}", f"-I{CPP / 'include'}", str(stem.with_suffix(".cu")), "-o", str(stem.with_suffix(".cubin"))],
      capture_output=True, text=True)
  if out.returncode != 0:
    sys.exit(out.stderr[-2000:])
  sm, kernels = kernels_of(stem.with_suffix(".cubin").read_bytes())
  code = max((k for name, k in kernels.items() if "PackedTiles" not in name), key=len)
  step, copies = tightest_step(code, sm)
  row = {"arch": arch, "kernel": template, "head_dim": head_dim, **measure(step, copies, head_dim, sm)}
  spilled = max(map(int, re.findall(r"(\d+) bytes spill stores", out.stderr)))
  reads = sum(x.name in ("LDL", "STL") for x in step)
  return row, 0 if spilled <= allowed and reads <= 2 else spilled


def compile_all(archs):
  jobs = [(arch, *variant) for arch in archs for variant in variants(arch)]
  with tempfile.TemporaryDirectory() as folder:
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", os.cpu_count() or 1))) as pool:
      return list(pool.map(lambda job: compile_one(*job, folder), jobs))


def show(rows):
  for r in rows:
    print(f"{GPUS[r['arch']].name:9} {r['kernel']:17} {r['head_dim']:4}: {r['instructions']:6.1f} instructions, "
          f"{r['multiplies']:5.1f} of them multiplies; copies of a tile {r['copies']}; clocks "
          + ", ".join(f"{name} {c}" for name, c in r["clocks"].items())
          + f"; bound by {r['bound']}: {r['tops_bound']} TOPS")


def check(found):
  known = {(r["arch"], r["kernel"], r["head_dim"]): r for r in json.loads(RECORD.read_text())["rows"]}
  failed = False
  for row, spilled in found:
    name = f"{row['kernel']}<{row['head_dim']}> for sm_{row['arch']}"
    was = known.get((row["arch"], row["kernel"], row["head_dim"]))
    if spilled:
      print(f"{name} spills {spilled} bytes")
    elif was is None:
      print(f"{name} isn't in {RECORD.name}: run bench/mma_sass.py record")
    elif row["instructions"] > GROWTH * was["instructions"] or row["copies"] > GROWTH * was["copies"] + 2:
      print(f"{name}: {row['instructions']} instructions per 16 rows x 64 keys and {row['copies']} to copy a tile; "
            f"recorded are {was['instructions']} and {was['copies']}")
    else:
      continue
    failed = True
  print(f"{len(found)} loops counted: " + ("see above" if failed else "none grew, none spills"))
  return failed


def record(found):
  version = re.search(r"release (\S+),", subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout)
  result = {
      "what": "instructions of the mma.sync kernels' loops per 16 rows x 64 keys, and bounds from them; not measurements",
      "nvcc": version[1] if version else "unknown", "command": "python3 bench/mma_sass.py record",
      "rows": [row for row, _ in found],
  }
  text = json.dumps(result, indent=None)
  RECORD.write_text(text.replace("[{", "[\n{").replace("}, {\"arch\"", "},\n{\"arch\"").replace("}]}", "}\n]}") + "\n")


def plot(path):
  rows = [r for r in json.loads(RECORD.read_text())["rows"] if r["head_dim"] in (64, 128) and "Sparse" not in r["kernel"]]
  bar, gap, left, scale = 14, 10, 210, 0.55
  lines, y = [], 30
  for arch in ARCHS:
    for r in (r for r in rows if r["arch"] == arch):
      label = f"{GPUS[arch].name} {TEMPLATES[r['kernel']]} {r['head_dim']}"
      colour = "#cc8844" if r["kernel"] == "ExactMma" else "#44aa77" if "Fp8" in r["kernel"] else "#4477aa"
      width = r["tops_bound"] * scale
      lines.append(f'<text x="{left - 6}" y="{y + 11}" text-anchor="end">{label}</text>'
                   f'<rect x="{left}" y="{y}" width="{width:.0f}" height="{bar}" fill="{colour}"/>'
                   f'<text x="{left + width + 5:.0f}" y="{y + 11}">{r["tops_bound"]} ({r["bound"]})</text>')
      y += bar + 3
    y += gap
  head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{y}" font-family="sans-serif" font-size="11">'
          '<rect width="100%" height="100%" fill="white"/>'
          '<text x="10" y="18" font-size="13">Bounds from instruction counts, TOPS. Not measurements.</text>')
  pathlib.Path(path).write_text(head + "\n" + "\n".join(lines) + "\n</svg>\n")


def main():
  mode, rest = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
  if mode == "cubin":
    sm, kernels = kernels_of(pathlib.Path(rest[0]).read_bytes())
    for name, code in kernels.items():
      if step := tightest_step(code, sm):
        show([{"arch": sm, "kernel": name[:17], "head_dim": int(rest[1]), **measure(*step, int(rest[1]), sm)}])
  elif mode == "plot":
    plot(rest[0])
  elif mode in ("count", "record", "check"):
    found = compile_all([int(a) for a in rest] or ARCHS)
    if mode == "check":
      sys.exit(1 if check(found) else 0)
    if mode == "record":
      record(found)
    show([row for row, _ in found])
  else:
    sys.exit(__doc__)


if __name__ == "__main__":
  main()
