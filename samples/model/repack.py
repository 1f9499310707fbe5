"""Rewrites a TorchScript file so that it loads anywhere: tensors on the CPU, and without the tables of source lines, which
hold the paths of the machine that wrote it. PyTorch isn't needed.

    python3 samples/model/repack.py model.pt
"""
import pathlib
import pickletools
import struct
import sys
import zipfile

ALIGNMENT = 64  # where PyTorch begins the numbers of a tensor


def on_cpu(pickled):
    """The same pickle with the device "cpu" for every "cuda:N"."""
    out, at = b"", 0
    for code, value, position in pickletools.genops(pickled):
        if code.name == "BINUNICODE" and value.startswith("cuda:"):
            out += pickled[at:position] + b"X" + struct.pack("<I", 3) + b"cpu"
            at = position + 5 + len(value)
    return out + pickled[at:]


def repack(path):
    path = pathlib.Path(path)
    part = path.with_suffix(".part")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            if name.endswith(".debug_pkl"):
                continue
            content = old.read(name)
            if name.endswith(("/data.pkl", "/constants.pkl")):
                content = on_cpu(content)
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            start = new.fp.tell() + 30 + len(name.encode()) + 4  # the header, and the padding's own
            padding = -start % ALIGNMENT
            entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            new.writestr(entry, content)
    part.replace(path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        repack(name)
