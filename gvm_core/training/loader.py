"""The batch of every training step, prepared in other processes while earlier steps run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..datasets.batch import Source
from .config import Stage


class StepData(NamedTuple):
    """The data of one step.

    Attributes:
        seed: Seed of the noise that the step adds.
        batch: The clips.
    """

    seed: int
    batch: Any


class StepDataset(Dataset):
    """The data of each step by its number. Everything random in it depends only on the arguments and that number.

    Args:
        source: Where clips come from.
        stage: Says how many clips, and their size and length.
        seed: Seed of the stage.
        process: Number of this process. In one step all processes have clips of the same size, but not the same clips.
    """

    def __init__(self, source: Source, stage: Stage, seed: list[int], process: int) -> None:
        self.source, self.stage, self.seed, self.process = source, stage, seed, process

    def __getitem__(self, step: int) -> StepData:
        """The data of ``step``."""
        size = int(np.random.default_rng([*self.seed, step]).choice(self.stage.sizes))
        random = np.random.default_rng([*self.seed, step, self.process])
        seed = int(random.integers(2**31))
        return StepData(seed, self.source.batch(self.stage.batch, size, self.stage.frames, random))


def load_steps(steps: StepDataset, first: int, workers: int, device: torch.device) -> Iterator[StepData]:
    """The data of steps ``first`` to the last, made by ``workers`` processes; 0 makes them in this process."""
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=range(first, steps.stage.steps),
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    return iter(loader)
