"""Batches made ahead of the steps that learn from them, by as many processes as there are to spare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..datasets.batch import Source
from .config import Stage


class Draw(NamedTuple):
    """What a step starts from.

    Attributes:
        seed: For the noise the step draws.
        batch: Its clips.
    """

    seed: int
    batch: Any


class Draws(Dataset):
    """The draw of each step, by its number; everything random in it comes from that number.

    Args:
        source: Where clips come from.
        stage: How many, how large, how long.
        seed: Of the stage.
        member: The process that will learn from them: all have clips of one size, each has its own.
    """

    def __init__(self, source: Source, stage: Stage, seed: list[int], member: int) -> None:
        self.source, self.stage, self.seed, self.member = source, stage, seed, member

    def __getitem__(self, step: int) -> Draw:
        """The draw of ``step``."""
        size = int(np.random.default_rng([*self.seed, step]).choice(self.stage.sizes))
        random = np.random.default_rng([*self.seed, step, self.member])
        seed = int(random.integers(2**31))
        return Draw(seed, self.source.batch(self.stage.batch, size, self.stage.frames, random))


def draw_ahead(draws: Draws, first: int, workers: int, device: torch.device) -> Iterator[Draw]:
    """The draws from step ``first`` to the stage's last, made by ``workers`` processes, or by this one if 0."""
    loader = DataLoader(
        draws,
        batch_size=None,
        sampler=range(first, draws.stage.steps),
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    return iter(loader)
