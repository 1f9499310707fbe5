"""The photographs that the model is trained on: those that scikit-image ships (0.19 and newer), all free of rights."""
import numpy as np
import torch

PUBLIC_DOMAIN, CC0 = "public domain", "CC0"

# word: (function of skimage.data, licence, where it says so in skimage/data/_fetchers.py, smallest crop of the shorter side)
PHOTOGRAPHS = {
    "astronaut": ("astronaut", PUBLIC_DOMAIN, "NASA, Great Images database", 0.8),
    "bricks": ("brick", CC0, "CC0Textures, Bricks25", 0.4),
    "cameraman": ("camera", CC0, "Lav Varshney", 0.8),
    "cat": ("chelsea", CC0, "Stefan van der Walt", 0.8),
    "clock": ("clock", PUBLIC_DOMAIN, "Stefan van der Walt", 0.8),
    "coffee": ("coffee", CC0, "Rachel Michetti", 0.8),
    "galaxies": ("hubble_deep_field", PUBLIC_DOMAIN, "NASA", 0.4),
    "grass": ("grass", CC0, "linolafett, DeviantArt, Grass-01", 0.4),
    "gravel": ("gravel", CC0, "CC0Textures, Gravel04", 0.4),
    "retina": ("retina", CC0, "Mikael Häggström, Wikimedia Commons", 0.8),
    "rocket": ("rocket", PUBLIC_DOMAIN, "SpaceX", 0.8),
}
WORDS = ["", *PHOTOGRAPHS]  # the index is the token


def load(word: str) -> torch.Tensor:
    """(3, H, W), values from -1 to 1."""
    from skimage import data

    picture = np.asarray(getattr(data, PHOTOGRAPHS[word][0])())
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, axis=-1)
    return torch.from_numpy(picture[..., :3].copy()).permute(2, 0, 1).float() / 127.5 - 1


class Crops:
    """Random squares of the photographs, turned left to right half of the time, reduced to a side."""

    def __init__(self, device: str, generator: torch.Generator):
        self.photographs = {word: load(word).to(device) for word in PHOTOGRAPHS}
        self.generator = generator  # on the CPU, so that its numbers are those of every machine

    def number(self, least: float, most: float) -> float:
        return least + (most - least) * torch.rand((), generator=self.generator).item()

    def one(self, word: str, side: int) -> torch.Tensor:
        picture = self.photographs[word]
        shorter = min(picture.shape[1:])
        size = max(min(side, shorter), round(shorter * self.number(PHOTOGRAPHS[word][3], 1)))
        top = round(self.number(0, picture.shape[1] - size))
        left = round(self.number(0, picture.shape[2] - size))
        crop = picture[:, top : top + size, left : left + size]
        if self.number(0, 1) < 0.5:
            crop = crop.flip(2)
        return torch.nn.functional.interpolate(crop[None], (side, side), mode="bilinear", antialias=True, align_corners=False)[0]

    def bank(self, count: int, side: int):
        """Pictures (count, 3, side, side), each word as often as the others, and word tokens (count, 4)."""
        words = torch.arange(count) % len(PHOTOGRAPHS) + 1
        pictures = torch.stack([self.one(WORDS[word], side) for word in words.tolist()])
        tokens = torch.zeros(count, 4, dtype=torch.int64)
        tokens[:, 0] = words
        return pictures, tokens.to(pictures.device)
