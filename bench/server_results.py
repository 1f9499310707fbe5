"""Turns what SeedStudy measured into bench/results/server-NAME.json and the table of docs/server.md.

    python3 bench/server_results.py h200 server-pytorch-128.json server-pytorch-256.json    from the repository's root
    python3 bench/server_results.py cpu server-cpu-64.json
    python3 bench/server_results.py sheet server-pytorch-128.ppm OUT.png    the first pictures, a row for each way

The table goes between the lines `<!-- server-NAME -->` and `<!-- end of server-NAME -->`.
"""
import json
import pathlib
import struct
import sys
import zlib

PAGE = pathlib.Path("docs/server.md")
SAME = 99.0  # dB: what is as near differs by the rounding of FP32 alone


def db(pair):
    return "the same" if pair["least"] >= SAME else f"{pair['mean']:.1f} ({pair['least']:.1f})"


def milliseconds(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def table(studies):
    head = ["pixels (tokens)", "attention", "ms a step", "s an image", "left out", "PSNR to exact, dB: mean (least)"]
    rows = [head, ["---"] * len(head)]
    for study in studies:
        for way in study["ways"]:
            out = f"{100 * way['left_out']:.1f} %" if "left_out" in way else "not told"
            rows.append([
                f"{study['side']} x {study['side']} ({study['tokens']:,})", label(way["way"], study), milliseconds(way["ms_per_step"]),
                f"{way['ms_per_image'] / 1000:.2f}", "-" if way["way"] in ("exact", "sage", "PyTorch's own", "sage's rounding") else out,
                "-" if way["way"] == study["ways"][0]["way"] else db(way["psnr"][study["ways"][0]["way"]])])
    return ["|" + "|".join(f" {cell} " if cell != "---" else cell for cell in row) + "|" for row in rows]


def label(name, study):
    if study["model"] == "gpu":
        name = f"{name}, our own tensors"
    if "tuned" not in name:
        return name
    tuned = study["tuned"]
    return f"{name} (simthreshd1 {tuned['simthreshd1']}, cdfthreshd {tuned['cdfthreshd']})"


def between(studies):
    """A sentence for each size: how far the ways are from each other, where neither is exact."""
    lines = []
    for study in studies:
        ways = study["ways"][1:]
        pairs = [f"{a['way']} to {b['way']} {db(a['psnr'][b['way']])}" for i, a in enumerate(ways) for b in ways[i + 1:]]
        if pairs:
            lines += [f"Between the others at {study['side']} x {study['side']}, in dB: {'; '.join(pairs)}.", ""]
    return lines


def facts(study):
    kept = "" if study.get("bar_kept", True) else " No thresholds kept the bar there, so tuned are SpargeAttn's own."
    return (f"{study['device']}: {study['seeds']} seeds, {study['steps']} steps of {study['sampler']}; thresholds tuned on two other seeds, "
            f"the fastest of {len(study.get('tried', []))} tried that kept {study.get('bar_db', 0):.0f} dB.{kept}")


def write(name, files):
    studies = [json.loads(pathlib.Path(file).read_text()) for file in files]
    result = pathlib.Path("bench/results") / f"server-{name}.json"
    result.write_text(json.dumps({"command": "SeedStudy, see samples/model/README.md", "studies": studies}, indent=1) + "\n")
    lines = PAGE.read_text().splitlines()
    first, end = lines.index(f"<!-- server-{name} -->"), lines.index(f"<!-- end of server-{name} -->")
    lines[first + 1:end] = [facts(studies[0]), "", *table(studies), "", *between(studies)]
    PAGE.write_text("\n".join(lines) + "\n")


def sheet(source, target):
    """PPM to PNG."""
    content = pathlib.Path(source).read_bytes()
    _, size, _, pixels = content.split(b"\n", 3)
    width, height = map(int, size.split())
    rows = b"".join(b"\0" + pixels[3 * width * y:3 * width * (y + 1)] for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pathlib.Path(target).write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    if sys.argv[1] == "sheet":
        sheet(*sys.argv[2:])
    else:
        write(sys.argv[1], sys.argv[2:])
