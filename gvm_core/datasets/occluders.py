"""Things before people: rails, posts, tables. They hide a part of them, and are no part of the matte."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .sway import Sway


def occluder(size: int, times: Tensor, shake: Sway, random: np.random.Generator) -> Tensor:
    """The share of each pixel that a random thing covers, ``[T, 1, size, size]``, 0..1: bars, or all on one side of a line.

    Args:
        size: Edge of the frames.
        times: ``[T]``, seconds.
        shake: The camera's shake, in frame heights.
        random: Decides the shape, its place and its motion.
    """
    moved = Sway(random, 2, 0.05 * random.uniform() ** 2).at(times) + shake.at(times)[:, :2]
    upright = random.uniform() < 0.4
    angle = (math.pi / 2 if upright else 0.0) + random.normal(0, 0.2)
    at = (torch.arange(size) + 0.5) / size - 0.5
    down, right = at[:, None] - moved[:, 1, None, None], at - moved[:, 0, None, None]
    across = math.cos(angle) * down + math.sin(angle) * right  # distance from a line through the middle
    if random.uniform() < 0.3:  # a table, a wall
        inside = across * (random.choice([-1, 1]) if upright else 1) - random.uniform(0.12, 0.45)
    else:
        half = math.exp(random.uniform(math.log(0.008), math.log(0.06)))
        gap = half * random.uniform(3, 10)
        bars = [float(random.uniform(-0.4, 0.45)) + number * gap for number in range(1 + random.integers(4))]
        inside = torch.stack([half - (across - place).abs() for place in bars]).amax(dim=0)
    return (inside * size + 0.5).clamp(0, 1)[:, None].to(torch.float32)


def behind(
    cover: Tensor, front: Tensor, colour: Tensor, alpha: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour, alpha and background of people behind a thing of colour ``front`` that covers the share ``cover``.

    The thing belongs to the background then: ``colour + background * (1 - alpha)`` shows all of them.
    """
    rest = background * (1 - alpha) * (1 - cover) + front * cover
    colour, alpha = colour * (1 - cover), alpha * (1 - cover)
    return colour, alpha, (rest / (1 - alpha).clamp(min=1e-4)).clamp(0, 1)
