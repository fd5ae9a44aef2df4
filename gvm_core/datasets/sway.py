"""Smooth motion of several values at once, for bodies, hand-held cameras and light."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

FPS = 24.0


class Sway:
    """Values that swing about 0, each a sum of three sine waves.

    Args:
        random: Decides sizes, rates and phases.
        count: How many values.
        size: The largest amplitude, about.
        speed: 1 is a calm human pace.
    """

    def __init__(self, random: np.random.Generator, count: int, size: float, speed: float = 1.0) -> None:
        def draw(least: float, most: float) -> Tensor:
            return torch.from_numpy(random.uniform(least, most, (3, count)).astype(np.float32))

        self.size = draw(0, size) * torch.tensor([1.0, 0.4, 0.15])[:, None]
        self.rate = draw(0.15, 0.7) * torch.tensor([1.0, 2.3, 4.1])[:, None] * speed * 2 * math.pi
        self.phase = draw(0, 2 * math.pi)

    def at(self, times: Tensor) -> Tensor:
        """The values at ``times`` ``[T]`` in seconds: ``[T, count]``."""
        return (self.size * torch.sin(self.rate * times[:, None, None] + self.phase)).sum(dim=1)
