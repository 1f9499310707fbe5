"""Makes PyTorch's libtorch_cuda.so small enough to be carried: one architecture, and the kernels whose names match.

  python3 bench/slim_cuda.py libtorch_cuda.so OUT.so 90 'direct_copy|FillFunctor|...'

The fat binaries keep their sizes and places; what is left out becomes zeros, which compress to nothing. CUDA loads modules
lazily, so a module left out fails when one of its kernels is launched, not before. Needs readelf and zstd.
"""
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

FATBIN_MAGIC = 0xBA55ED50
COMPRESSED_ZSTD = 0x8000


def section(path, name):
  """Offset and size in the file."""
  table = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True, check=True).stdout
  found = re.search(rf"\] {re.escape(name)}\s+PROGBITS\s+[0-9a-f]+\s+([0-9a-f]+)\s+([0-9a-f]+)", table)
  return int(found[1], 16), int(found[2], 16)


def images(data):
  """(architecture, offset of the payload, its size, size without padding or 0, flags) of each image."""
  at = 0
  while at < len(data):
    magic, _, header, size = struct.unpack_from("<IHHQ", data, at)
    if magic != FATBIN_MAGIC:
      at += 8
      continue
    entry, end = at + header, at + header + size
    while entry < end:
      _, _, header, size = struct.unpack_from("<HHIQ", data, entry)
      yield (struct.unpack_from("<I", data, entry + 28)[0], entry + header, size, struct.unpack_from("<I", data, entry + 16)[0],
             struct.unpack_from("<Q", data, entry + 40)[0])
      entry += header + size
    at = end


def kernels(payload, flags, folder):
  cubin = Path(folder) / "cubin"
  if flags & COMPRESSED_ZSTD:
    packed = Path(folder) / "cubin.zst"
    packed.write_bytes(payload)
    subprocess.run(["zstd", "-qdf", packed, "-o", cubin], check=True)
  else:
    cubin.write_bytes(payload)
  symbols = subprocess.run(["readelf", "-sW", cubin], capture_output=True, text=True).stdout
  return [line.split()[-1] for line in symbols.splitlines() if " FUNC " in line]


def main():
  source, target, arch, names = sys.argv[1:5]
  wanted, library = re.compile(names), bytearray(Path(source).read_bytes())
  begin, size = section(source, ".nv_fatbin")
  data, kept = library[begin:begin + size], []
  with tempfile.TemporaryDirectory() as folder:
    for image_arch, at, length, real, flags in list(images(data)):
      if image_arch == int(arch) and any(map(wanted.search, kernels(bytes(data[at:at + (real or length)]), flags, folder))):
        kept.append(length)
      else:
        data[at:at + length] = bytes(length)
  library[begin:begin + size] = data
  Path(target).write_bytes(library)
  print(f"{len(kept)} modules of {sum(kept)} bytes are left")


if __name__ == "__main__":
  if len(sys.argv) != 5:
    sys.exit(__doc__)
  main()
