"""A pool of drawn clips, mixed anew for every batch: any subject may stand before any background."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .synthesis import draw_clip

log = logging.getLogger(__name__)


class ClipPool:
    """``count`` drawn clips held as bytes, from which batches are composed.

    Drawing is slow beside training, so each clip is used many times: its subject before another clip's background,
    flipped, reversed in time, in other light.

    Args:
        folder: Where the drawn pool is kept between runs.
        count: How many clips.
        size: Height and width in pixels.
        frames: Length of each clip.
        first_seed: Seed of the first clip; clip ``i`` is drawn from ``first_seed + i``.
    """

    def __init__(self, folder: Path, count: int, size: int, frames: int, first_seed: int = 0) -> None:
        path = folder / f"pool_{count}x{frames}x{size}_{first_seed}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            log.info("drawing %d clips of %d frames at %d px", count, frames, size)
            part = path.with_suffix(".part.npy")
            pool = np.lib.format.open_memmap(part, "w+", np.uint8, (count, frames, 7, size, size))
            draw = partial(draw_layers, size=size, frames=frames)
            with ProcessPoolExecutor(os.cpu_count()) as workers:
                seeds = range(first_seed, first_seed + count)
                for index, clip in enumerate(workers.map(draw, seeds, chunksize=8)):
                    pool[index] = clip
            pool.flush()
            del pool  # an open map cannot be renamed everywhere
            part.rename(path)
        self.clips = np.load(path, mmap_mode="r")

    def batch(self, count: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Compose ``count`` clips: images ``[B, T, 3, H, W]`` and alpha ``[B, T, 1, H, W]``, both 0..1."""
        images, alphas = zip(*(self.compose(random) for _ in range(count)), strict=True)
        return torch.stack(images), torch.stack(alphas)

    def compose(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Put one subject of the pool before one background of the pool, in random light."""
        subject, place = random.integers(len(self.clips), size=2)
        if random.uniform() < 0.4:
            place = subject
        layers = torch.from_numpy(np.array(self.clips[subject])).float() / 255  # [T, 7, H, W]
        colour, alpha = layers[:, :3], layers[:, 3:4]
        background = torch.from_numpy(np.array(self.clips[place][:, 4:])).float() / 255
        if random.uniform() < 0.5:
            background = background.flip(-1)
        light = (
            torch.from_numpy(random.uniform(0.6, 1.3, (1, 3, 1, 1)).astype(np.float32)) if random.uniform() < 0.5 else 1
        )
        image = (colour * light + background * (1 - alpha)).clamp(0, 1)
        image = image ** float(np.exp(random.normal(0, 0.25)))
        if random.uniform() < 0.2:
            image = image[:, torch.from_numpy(random.permutation(3))]
        if random.uniform() < 0.5:
            noise = torch.from_numpy(random.standard_normal(image.shape, dtype=np.float32))
            image = (image + float(random.uniform(0, 0.03)) * noise).clamp(0, 1)
        if random.uniform() < 0.5:
            image, alpha = image.flip(-1), alpha.flip(-1)
        if random.uniform() < 0.5:
            image, alpha = image.flip(0), alpha.flip(0)
        return image, alpha


def draw_layers(seed: int, size: int, frames: int) -> np.ndarray:
    """Draw a clip as bytes ``[T, 7, H, W]``: premultiplied foreground, alpha, background."""
    torch.set_num_threads(1)
    clip = draw_clip(seed, (size, size), frames)
    layers = torch.cat([clip.foreground * clip.alpha, clip.alpha, clip.background], dim=1)
    return (layers.clamp(0, 1) * 255).round().byte().numpy()
