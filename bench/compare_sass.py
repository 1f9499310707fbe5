"""Whether the machine code of two builds is the same, kernel by kernel.

  python3 bench/compare_sass.py OLD/libattn4j.so NEW/libattn4j.so [FILTER]

Needs cuobjdump of a CUDA toolkit. Instructions are compared with their operands and scheduling bits, without addresses of
comments. Prints what differs, with the number of instructions before and after, and what only one build has; exit status 0
only if all kernels that both have (and whose mangled names contain FILTER) are the same.
"""
import re
import subprocess
import sys


def kernels(library):
  """Mangled name -> its instructions."""
  text = subprocess.run(["cuobjdump", "-sass", library], check=True, capture_output=True, text=True).stdout
  found, current = {}, None
  for line in text.splitlines():
    if match := re.match(r"\s*Function : (\S+)", line):
      # An anonymous namespace is named after hashes of its file.
      name = re.sub(r"\d+_GLOBAL__N__[0-9a-f]{8}_(\d+_\w+?_cu)_[0-9a-f]{8}", r"\1", match[1])
      current = found.setdefault(name, [])
    elif current is not None and (match := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*)", line)):
      current.append(match[1].strip())
    elif current is not None and re.match(r"\s*/\* 0x[0-9a-f]{16} \*/", line):
      current.append(line.strip())  # the second half of an instruction: scheduling
  return found


def main():
  old, new = (kernels(path) for path in sys.argv[1:3])
  wanted = sys.argv[3] if len(sys.argv) > 3 else ""
  names = sorted(n for n in set(old) | set(new) if wanted in n)
  both = [n for n in names if n in old and n in new]
  differ = [n for n in both if old[n] != new[n]]
  for name in differ:
    print(f"differs: {name}: {len(old[name])} and {len(new[name])} lines")
  for name in names:
    if name not in both:
      print(f"only in {'the old' if name in old else 'the new'} build: {name}")
  print(f"{len(both)} kernels in both, {len(both) - len(differ)} the same, {len(differ)} differ")
  return 1 if differ else 0


if __name__ == "__main__":
  sys.exit(main())
