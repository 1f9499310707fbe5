"""Trains the model and writes what Java needs. Minutes on one GPU; seconds on a CPU with --tiny.

    python3 samples/model/train.py --out server/src/main/resources/org/attn4j/server/model

writes model.safetensors (FP16), model.pt (TorchScript, FP16) and model.json (seed, command, commit, licences, losses, PSNR).
samples.png goes to --samples: what the model paints for each word. With --untrained the same three files, of random weights.
"""
import argparse
import copy
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import time

import torch

import model as m
import pictures as p
import repack

HERE = pathlib.Path(__file__).resolve().parent
MOST_BYTES = 6_000_000
BANK = 4096  # crops of each stage, cut once


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the three files")
    parser.add_argument("--samples", type=pathlib.Path, help="folder for samples.png")
    parser.add_argument("--stages", default="64:6000:64,128:4000:24,256:600:6", help="side:steps:batch, one after the other")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--hidden", type=int, default=448)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--guidance", type=float, default=1.5, help="how the pictures are sampled; goes into model.json")
    parser.add_argument("--minutes", type=float, default=9, help="no stage goes on past this; the schedule is cut, and said so")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--tiny", action="store_true", help="a smoke test: few channels, steps and pixels")
    parser.add_argument("--untrained", action="store_true", help="random weights from the seed: to time the model, not to paint")
    options = parser.parse_args()
    if options.tiny:
        options.dim, options.hidden, options.depth, options.stages = 64, 96, 2, "16:30:8,32:5:2"
    return options


def untrained(options):
    """Random weights, also where training begins with zeros, or most of the model would compute nothing."""
    torch.manual_seed(options.seed)
    net = m.Painter(len(p.WORDS), options.dim, options.hidden, options.depth).requires_grad_(False)
    for weights in net.parameters():
        if not weights.any():
            weights.normal_(std=0.5 * weights[0].numel() ** -0.5)
    return net


def loss_of(net, pictures, words, side, generator, noises):
    """The mean squared error of v, at a random noise for each picture. generator is the CPU's, noises the device's."""
    count, device = pictures.shape[0], pictures.device
    t = ((torch.rand((), generator=generator) + torch.arange(count) / count) % 1) * 0.998 + 0.001  # spread evenly
    phi = m.angle(t, side).to(device)
    noise = torch.randn(pictures.shape, generator=noises, device=device)
    cos, sin = phi.cos().view(-1, 1, 1, 1), phi.sin().view(-1, 1, 1, 1)
    dropped = (torch.rand(count, generator=generator) < 0.1).to(device)
    words = torch.where(dropped[:, None], torch.zeros_like(words), words)
    v = net(cos * pictures + sin * noise, phi, words)
    return torch.nn.functional.mse_loss(v.float(), cos * noise - sin * pictures)


def train(options, device):
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    noises = torch.Generator(device).manual_seed(options.seed)
    net = m.Painter(len(p.WORDS), options.dim, options.hidden, options.depth).to(device)
    average = copy.deepcopy(net).eval().requires_grad_(False)
    run = torch.compile(net, dynamic=False) if options.compile else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01)
    crops = p.Crops(device, generator)
    stages = [tuple(int(n) for n in stage.split(":")) for stage in options.stages.split(",")]
    start, log, done = time.monotonic(), [], 0
    for number, (side, steps, batch) in enumerate(stages):
        recent, began = [], time.monotonic()
        pictures, words = crops.bank(min(BANK, steps * batch), side)
        for step in range(steps):
            warm = min(1, (step + 1) / 100) if number == 0 else 1
            fall = 0.5 + 0.5 * math.cos(math.pi * step / steps)
            for group in optimizer.param_groups:
                group["lr"] = options.rate * warm * (0.1 + 0.9 * fall) * 0.5**number
            with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
                chosen = torch.randint(len(pictures), (batch,), generator=generator).to(device)
                loss = loss_of(run, pictures[chosen], words[chosen], side, generator, noises)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            done += 1
            with torch.no_grad():
                keep = min(0.999, (1 + done) / (10 + done))
                for a, b in zip(average.parameters(), net.parameters()):
                    a.lerp_(b, 1 - keep)
            recent = (recent + [loss.detach()])[-100:]
            late = time.monotonic() - start > 60 * options.minutes
            if step % 100 == 99 or late or step == steps - 1:
                seconds = time.monotonic() - began
                mean = torch.stack(recent).mean().item()
                print(f"side {side}, step {step + 1} of {steps}: loss {mean:.5f}, {1000 * seconds / (step + 1):.1f} ms a step", flush=True)
            if late:
                break
        mean = torch.stack(recent).mean().item()
        log.append({"side": side, "steps": step + 1, "of": steps, "batch": batch, "loss": round(mean, 6),
                    "seconds": round(time.monotonic() - began, 1)})
        save(average, options, log, {})  # what is there if a later stage is cut off
        if late:
            print(f"cut after {options.minutes} minutes", flush=True)
            break
    return average, log


@torch.no_grad()
def quality(net, side, device, seed):
    """PSNR in dB of the picture that one look at a noisy one finds, at three noises (sigma = tan phi), over all photographs."""
    generator = torch.Generator().manual_seed(seed)
    crops = p.Crops(device, generator)
    found = {}
    for sigma in (0.2, 0.5, 1.0):
        phi, errors = math.atan(sigma), []
        for index in range(1, len(p.WORDS)):
            picture = crops.one(p.WORDS[index], side)[None]
            x = math.cos(phi) * picture + math.sin(phi) * torch.randn(picture.shape, generator=generator).to(device)
            words = torch.tensor([[index, 0, 0, 0]], device=device)
            clean = math.cos(phi) * x - math.sin(phi) * net(x, torch.tensor([phi], device=device), words)
            errors.append(((clean.clamp(-1, 1) - picture) / 2).square().mean())
        found[f"sigma {sigma}"] = round(-10 * math.log10(torch.stack(errors).mean().item()), 2)
    return found


def safetensors(state, path):
    """huggingface.co/docs/safetensors: the header's length, the header as JSON, the numbers."""
    header, blobs, at = {}, [], 0
    for name, tensor in state.items():
        blob = tensor.detach().cpu().contiguous().numpy().tobytes()
        kind = {torch.float16: "F16", torch.float32: "F32"}[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return path.stat().st_size


def commit():
    if "ATTN4J_COMMIT" in os.environ:  # of a copy without .git, as on a borrowed GPU
        return os.environ["ATTN4J_COMMIT"]
    answer = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True)
    return answer.stdout.strip() or "not in a checkout"


def save(net, options, log, facts):
    options.out.mkdir(parents=True, exist_ok=True)
    half = copy.deepcopy(net).half().cpu()  # a file from the GPU loads on no machine without one
    size = safetensors(half.state_dict(), options.out / "model.safetensors")
    if size > MOST_BYTES:
        raise SystemExit(f"model.safetensors has {size} bytes; {MOST_BYTES} are allowed")
    torch.jit.script(half.eval()).save(str(options.out / "model.pt"))
    repack.repack(options.out / "model.pt")
    about = {
        "command": "python3 " + " ".join(sys.argv), "commit": commit(), "seed": options.seed, "torch": torch.__version__,
        "licence": "Apache-2.0, as attn4j; the photographs are free of rights",
        "photographs": {word: {"skimage.data": f, "licence": licence, "by": by} for word, (f, licence, by, _) in p.PHOTOGRAPHS.items()},
        "dim": options.dim, "hidden": options.hidden, "depth": options.depth, "words": p.WORDS,
        "sides": sorted({stage["side"] for stage in log}), "guidance": options.guidance, "stages": log, **facts,
    }
    (options.out / "model.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def paint(net, side, device, options):
    """A row for each word: four seeds."""
    rows = []
    for index in range(1, len(p.WORDS)):
        noise = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(options.seed)).to(device)
        words = torch.tensor([[index, 0, 0, 0]] * 4, device=device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            rows.append(torch.cat(list(m.sample(net, noise, words, 30, guidance=options.guidance)), dim=2))
    return torch.cat(rows, dim=1).clamp(-1, 1)


def main():
    options = arguments()
    if options.untrained:
        save(untrained(options), options, [], {})
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net, log = train(options, device)
    sides = [stage["side"] for stage in log]
    facts = {"psnr": {str(side): quality(net, side, device, options.seed) for side in sides},
             "device": torch.cuda.get_device_name() if device == "cuda" else "CPU"}
    save(net, options, log, facts)
    if options.samples:
        import imageio

        options.samples.mkdir(parents=True, exist_ok=True)
        picture = paint(net, sides[min(1, len(sides) - 1)], device, options)
        imageio.imwrite(options.samples / "samples.png", ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
