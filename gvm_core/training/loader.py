"""The batch of every training step, prepared in other processes while earlier steps run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..datasets.batch import Source
from .config import Stage

KEPT = 16
"""How many of the last batches stay on the device if clips are used in several steps."""


class StepData(NamedTuple):
    """The data of one step.

    Attributes:
        seed: Seed of the noise that the step adds.
        batch: The clips.
    """

    seed: int
    batch: Any


class StepDataset(Dataset):
    """New clips by their number. Everything random in them depends only on the arguments and that number.

    Args:
        source: Where clips come from.
        stage: Says how many clips, and their size and length.
        seed: Seed of the stage.
        process: Number of this process. At the same number all processes have clips of the same size, but not the same
            clips.
    """

    def __init__(self, source: Source, stage: Stage, seed: list[int], process: int) -> None:
        self.source, self.stage, self.seed, self.process = source, stage, seed, process

    def __getitem__(self, number: int) -> StepData:
        """The clips of ``number``. If each clip is used in one step, this is the number of the step."""
        size = int(np.random.default_rng([*self.seed, number]).choice(self.stage.sizes))
        random = np.random.default_rng([*self.seed, number, self.process])
        seed = int(random.integers(2**31))
        return StepData(seed, self.source.batch(self.stage.batch, size, self.stage.frames, random))


def load_steps(steps: StepDataset, first: int, workers: int, device: torch.device) -> Iterator[StepData]:
    """The data of steps ``first`` to the last, on ``device``.

    Args:
        steps: Makes the clips.
        first: The first step.
        workers: How many processes make clips; 0 makes them in this process.
        device: Where the training computes.
    """
    repeats, end = steps.stage.repeats, steps.stage.steps
    oldest = first if repeats == 1 else max(first // repeats - KEPT + 1, 0)
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=range(oldest, math.ceil(end / repeats)),
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    kept: deque[Any] = deque(maxlen=KEPT)
    for number, data in enumerate(loader, oldest):
        batch = data.batch.to(device)
        if repeats == 1:
            yield StepData(data.seed, batch)
            continue
        kept.append(batch)
        for step in range(max(number * repeats, first), min((number + 1) * repeats, end)):
            random = np.random.default_rng([*steps.seed, step, steps.process, repeats])
            yield StepData(int(random.integers(2**31)), mixed(kept, random))


def mixed(batches: deque[Any], random: np.random.Generator) -> Any:
    """Random clips from ``batches``: as many as the last one has, and of its size."""
    newest = batches[-1]
    alike = [batch for batch in batches if batch[0].shape[2:] == newest[0].shape[2:]]
    count = len(newest[0])
    number, clip = random.integers(len(alike), size=count), random.integers(count, size=count)
    parts = [
        [part[torch.from_numpy(clip[number == which]).to(part.device)] for part in alike[which]]
        for which in np.unique(number)
    ]
    return type(newest)(*(torch.cat(each) for each in zip(*parts, strict=True)))
