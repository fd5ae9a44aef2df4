"""Batches of clips, the protocol of what makes them, and a mixture of two sources."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


class Batch(NamedTuple):
    """Clips with alpha.

    Attributes:
        images: ``[B, T, 3, H, W]``, sRGB 0..1.
        alpha: ``[B, T, 1, H, W]``, 0..1.
        confidence: The same shape: 1 where alpha is known, 0 elsewhere.
    """

    images: Tensor
    alpha: Tensor
    confidence: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on ``device``."""
        return Batch(*(part.to(device, non_blocking=True) for part in self))


class Source(Protocol):
    """Makes batches."""

    def batch(self, count: int, size: int, frames: int, random: np.random.Generator) -> Any:
        """``count`` square clips of ``size`` pixels and ``frames`` frames; only ``random`` decides which."""
        ...


class Mixture:
    """Batches of which each clip comes from one of two sources.

    Args:
        first: A source.
        second: Another.
        share: Share of clips from the first, on average.
    """

    def __init__(self, first: Source, second: Source, share: float = 0.5) -> None:
        self.first, self.second, self.share = first, second, share

    def batch(self, count: int, size: int, frames: int, random: np.random.Generator) -> Batch:
        """``count`` clips."""
        firsts = int(random.binomial(count, self.share))
        parts = [
            source.batch(number, size, frames, random)
            for source, number in ((self.first, firsts), (self.second, count - firsts))
            if number
        ]
        images, alpha, confidence = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("images", "alpha", "confidence")
        )
        return Batch(images, alpha, confidence)
