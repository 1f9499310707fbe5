"""A small diffusion transformer over image tokens: 2x2 pixels a token, self-attention over all of them, cross-attention to
a few words. 128x128 pixels are 4,096 tokens, 256x256 are 16,384. The Java twin is org.attn4j.server.diffusion.

Noise: x = cos(phi) picture + sin(phi) noise, pictures in [-1, 1]; the model answers v = dx/dphi.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 2
HEAD_DIM = 64
MAX_WORDS = 4
FOURIER = 4  # octaves of the position in the picture
TIME_FEATURES = 64  # sines and as many cosines of phi
GRID = 64.0  # RoPE's unit: a 64th of the picture's side
INPUTS = 3 * PATCH * PATCH + 4 * FOURIER + 1

if hasattr(F, "scaled_dot_product_attention"):

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

else:  # before PyTorch 2.0: for the tests on the CPU

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, dim=-1) @ v


def norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, [x.shape[-1]], None, None, 1e-6)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: (batch, heads, tokens, 64); the first half turns with y, the second with x."""
    parts = []
    for i in range(2):
        a = x[..., 32 * i : 32 * i + 16]
        b = x[..., 32 * i + 16 : 32 * i + 32]
        parts.append(a * cos[i] - b * sin[i])
        parts.append(b * cos[i] + a * sin[i])
    return torch.cat(parts, dim=-1)


class Block(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.heads, self.head_dim = dim // HEAD_DIM, HEAD_DIM
        self.table = nn.Parameter(torch.zeros(6, dim))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.cross_q = nn.Linear(dim, dim, bias=False)
        self.cross_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.cross_out = nn.Linear(dim, dim, bias=False)
        self.up = nn.Linear(dim, hidden)
        self.near = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.down = nn.Linear(hidden, dim)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, [self.heads, self.head_dim]).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, mod: Tensor, words: Tensor, cos: Tensor, sin: Tensor, height: int) -> Tensor:
        shift = (mod + self.table).unsqueeze(2)  # (batch, 6, 1, dim)
        y = norm(x) * (1 + shift[:, 0]) + shift[:, 1]
        q, k, v = self.qkv(y).chunk(3, dim=-1)
        q = rotate(self.split(q), cos, sin)
        k = rotate(self.split(k), cos, sin)
        x = x + shift[:, 2] * self.out(self.join(attend(q, k, self.split(v))))
        k, v = self.cross_kv(words).chunk(2, dim=-1)
        q = self.split(self.cross_q(norm(x)))
        x = x + self.cross_out(self.join(attend(q, self.split(k), self.split(v))))
        y = self.up(norm(x) * (1 + shift[:, 3]) + shift[:, 4])
        grid = y.transpose(1, 2).unflatten(2, [height, -1])
        y = y + self.near(grid).flatten(2).transpose(1, 2)
        return x + shift[:, 5] * self.down(F.gelu(y, approximate="tanh"))


class Painter(nn.Module):
    def __init__(self, vocabulary: int, dim: int = 192, hidden: int = 448, depth: int = 5):
        super().__init__()
        self.patch, self.octaves, self.time_features, self.grid = PATCH, FOURIER, TIME_FEATURES, GRID  # TorchScript reads no globals
        self.words = nn.Embedding(vocabulary, dim)  # 0: no word
        self.patch_in = nn.Linear(INPUTS, dim)
        self.time_in = nn.Linear(2 * TIME_FEATURES, dim)
        self.time_out = nn.Linear(dim, dim)
        self.mod = nn.Linear(dim, 6 * dim)
        self.blocks = nn.ModuleList([Block(dim, hidden) for _ in range(depth)])
        self.last_mod = nn.Linear(dim, 2 * dim)
        self.patch_out = nn.Linear(dim, 3 * PATCH * PATCH)
        for layer in [self.mod, self.last_mod, self.patch_out]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for block in self.blocks:
            nn.init.zeros_(block.near.weight)
            nn.init.zeros_(block.near.bias)

    def positions(self, height: int, width: int, like: Tensor) -> Tensor:
        """The centre of each token, from 0 to 1: (2, tokens), y and x."""
        y = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) / width
        return torch.stack([y.unsqueeze(1).expand(height, width), x.unsqueeze(0).expand(height, width)]).flatten(1)

    def forward(self, picture: Tensor, phi: Tensor, words: Tensor) -> Tensor:
        """picture: (batch, 3, H, W), noisy; phi: (batch), radians; words: (batch, 4). Returns v, of the picture's sizes."""
        batch, height, width = picture.shape[0], picture.shape[2] // self.patch, picture.shape[3] // self.patch
        at = self.positions(height, width, picture)
        octaves = 2.0 ** torch.arange(self.octaves, device=picture.device, dtype=torch.float32) * 2 * math.pi
        waves = at.unsqueeze(-1) * octaves  # (2, tokens, octaves)
        scale = torch.full([height * width, 1], math.log(height / 32.0), device=picture.device)
        place = torch.cat([waves[0].sin(), waves[0].cos(), waves[1].sin(), waves[1].cos(), scale], dim=-1)
        tokens = picture.unflatten(3, [width, self.patch]).unflatten(2, [height, self.patch])  # b 3 h 2 w 2
        tokens = tokens.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        place = place.to(picture.dtype).unsqueeze(0).expand(batch, -1, -1)
        x = self.patch_in(torch.cat([tokens, place], dim=-1))

        rates = 0.5 * 1.1 ** torch.arange(self.time_features, device=picture.device, dtype=torch.float32)
        angles = phi.float().unsqueeze(1) * rates
        features = torch.cat([angles.sin(), angles.cos()], dim=-1).to(picture.dtype)
        text = self.words(words)
        c = self.time_out(F.silu(self.time_in(features))) + text.mean(dim=1)
        mod = self.mod(F.silu(c)).unflatten(1, [6, -1])

        turn = 100.0 ** (-torch.arange(16, device=picture.device, dtype=torch.float32) / 16)
        angles = (at * self.grid).unsqueeze(-1) * turn  # (2, tokens, 16)
        cos, sin = angles.cos().to(picture.dtype), angles.sin().to(picture.dtype)
        for block in self.blocks:
            x = block(x, mod, text, cos, sin, height)
        shift = self.last_mod(F.silu(c)).unflatten(1, [2, -1]).unsqueeze(2)
        y = self.patch_out(norm(x) * (1 + shift[:, 0]) + shift[:, 1])
        y = y.unflatten(2, [3, self.patch, self.patch]).unflatten(1, [height, width])  # b h w 3 2 2
        return y.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def angle(t: Tensor, side: int) -> Tensor:
    """The noise at time t in [0, 1]: larger pictures need more of it, as their pixels say the same thing more often."""
    return torch.atan(torch.tan(t * (math.pi / 2)) * (side / 64))


def schedule(steps: int, side: int) -> Tensor:
    """steps + 1 angles, from almost noise alone to the picture."""
    return angle(torch.linspace(0.995, 0.0, steps + 1, dtype=torch.float64), side)


@torch.no_grad()
def sample(model: nn.Module, noise: Tensor, words: Tensor, steps: int, sampler: str = "ddim", guidance: float = 1.0) -> Tensor:
    """Turns noise into pictures in [-1, 1]; DDIM (arXiv:2010.02502, eta 0) or Euler steps of the probability flow."""
    x = noise
    angles = schedule(steps, noise.shape[-1])
    for here, there in zip(angles[:-1].tolist(), angles[1:].tolist()):
        phi = torch.full([x.shape[0]], here, device=x.device)
        v = model(x, phi, words).float()
        if guidance != 1.0:
            without = model(x, phi, torch.zeros_like(words)).float()
            v = without + guidance * (v - without)
        if sampler == "euler":
            x = x + (there - here) * v
        else:
            clean = (math.cos(here) * x - math.sin(here) * v).clamp(-1, 1)
            rest = (x - math.cos(here) * clean) / math.sin(here)
            x = math.cos(there) * clean + math.sin(there) * rest
    return x
