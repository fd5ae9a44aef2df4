"""Faults of cameras and files: exposure, colour cast, lost detail, noise, compression."""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import optional


class Degradation:
    """The faults of one camera and one file: chosen once for a clip, applied to every frame.

    Args:
        random: Decides everything.
        strength: 0 leaves pictures as they are, 1 is like ordinary footage, 2 is bad.

    Example:
        >>> worse = Degradation(np.random.default_rng(0), strength=1.0)
        >>> frame = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> worse(frame, 5).shape, bool((worse(frame, 5) == worse(frame, 5)).all())
        (torch.Size([3, 16, 16]), True)
    """

    def __init__(self, random: np.random.Generator, strength: float = 1.0) -> None:
        self.seed = int(random.integers(2**31))
        self.gamma = float(np.exp(random.normal(0, 0.15 * strength)))
        self.gain = torch.from_numpy(np.exp(random.normal(0, 0.05 * strength, (3, 1, 1))).astype(np.float32))
        self.lift = float(random.uniform(0, 0.05 * strength))
        self.detail = 1 - float(random.choice([0.0, random.uniform(0, 0.4)])) * min(strength, 1.5)
        self.noise = float(random.choice([0.0, random.uniform(0, 0.03)])) * strength
        self.coarse = float(random.uniform(0, 1))
        self.quality = round(100 - random.uniform(0, 45) * strength) if strength and random.uniform() < 0.6 else None

    def __call__(self, image: Tensor, index: int) -> Tensor:
        """Degrade frame ``index``, ``[3, H, W]``, sRGB 0..1. The same frame always gives the same result."""
        image = (self.lift + (1 - self.lift) * (image * self.gain).clamp(0, 1) ** self.gamma).clamp(0, 1)
        image = self.lose_detail(image)
        size = image.shape[-2:]
        if self.noise:
            random = torch.Generator().manual_seed(self.seed + index)
            fine = torch.randn(image.shape, generator=random)
            half = torch.randn(3, (size[0] + 1) // 2, (size[1] + 1) // 2, generator=random)
            blotches = F.interpolate(half[None], size, mode="bilinear", align_corners=False)[0]
            image = (image + self.noise * (fine + self.coarse * blotches)).clamp(0, 1)
        return image if self.quality is None else compressed(image, self.quality)

    def lose_detail(self, image: Tensor) -> Tensor:
        """``[C, H, W]`` with the detail of a smaller picture, or unchanged."""
        if self.detail == 1:
            return image
        size = image.shape[-2:]
        small = F.interpolate(image[None], [max(round(edge * self.detail), 1) for edge in size], mode="area")
        return F.interpolate(small, size, mode="bicubic", align_corners=False)[0].clamp(0, 1)


def compressed(image: Tensor, quality: int) -> Tensor:
    """``[3, H, W]`` after JPEG compression. Needs Pillow."""
    pillow = optional("PIL.Image", "pillow")
    pixels = (image.clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()
    file = io.BytesIO()
    pillow.fromarray(pixels).save(file, "JPEG", quality=quality)
    with pillow.open(file) as back:
        return torch.from_numpy(np.array(back)).movedim(-1, 0).float() / 255
