"""Writes what the Java tests compare with: what PyTorch computes in FP32 with a small model whose weights follow a formula,
so that they need not be committed, and a smaller model as TorchScript.

    python3 samples/model/fixture.py server/src/test/resources/org/attn4j/server/diffusion
"""
import pathlib
import sys

import numpy as np
import torch

import model as m
import train

WORDS = 4


def numbers(count: int, state: int):
    """Numbers between -1 and 1 by a linear congruential generator, and its next state."""
    values = np.empty(count, dtype=np.float64)
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        values[i] = (state >> 8) / 2**23 - 1
    return torch.from_numpy(values), state


def build(dim: int, hidden: int, depth: int) -> m.Painter:
    """Nothing is zero, or its part would go untested."""
    net = m.Painter(WORDS, dim, hidden, depth).eval()
    state = 1
    for tensor in net.state_dict().values():
        values, state = numbers(tensor.numel(), state)
        scale = (3 / tensor.shape[-1]) ** 0.5 if tensor.dim() > 1 else 0.5
        tensor.copy_((values * scale).view(tensor.shape).half())
    return net


@torch.no_grad()
def main(folder: pathlib.Path):
    folder.mkdir(parents=True, exist_ok=True)
    net = build(128, 24, 2)
    picture = lambda height, width: numbers(3 * height * width, 7)[0].view(1, 3, height, width).float()
    square, wide = picture(16, 16), picture(12, 20)
    words, others = torch.tensor([[1, 3, 0, 0]]), torch.tensor([[2, 0, 0, 0]])
    expected = {
        "square.v": net(square, torch.tensor([0.7]), words),
        "wide.v": net(wide, torch.tensor([1.3]), others),
        "angles": m.schedule(5, 128).float(),
        "ddim": m.sample(net, square, words, 5, "ddim", 1.5),
        "euler": m.sample(net, square, others, 4, "euler", 1.0),
    }
    train.safetensors({name: tensor.float() for name, tensor in expected.items()}, folder / "expected.safetensors")
    torch.jit.script(build(64, 16, 1).half()).save(str(folder / "small.pt"))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
