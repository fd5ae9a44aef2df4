"""Batches from a pool of drawn clips, in which any subject may stand before any background."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..media.sequence import pictures_in, read_picture
from ..synthesis.degrade import Degradation
from ..synthesis.scene import TIERS, Scene
from .batch import Batch

log = logging.getLogger(__name__)

LAYERS = 7  # premultiplied foreground, alpha, background
KEPT_TOGETHER = 40
"""Number of clips after which the count of finished ones is written."""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Which clips a pool holds.

    Attributes:
        count: How many.
        size: Height and width in pixels.
        frames: Frames in a clip.
        every: Distance between the frames of a clip: 1 for motion, more for more variety of poses.
        first_seed: Clip ``i`` is drawn from ``first_seed + i``.
        tiers: Shares of easy, medium and hard clips.
    """

    count: int
    size: int
    frames: int = 1
    every: int = 1
    first_seed: int = 0
    tiers: tuple[float, float, float] = (0.4, 0.4, 0.2)

    @property
    def name(self) -> str:
        """The name of the file of these clips."""
        shares = "-".join(f"{share:g}" for share in self.tiers)
        return f"clips_{self.count}x{self.frames}by{self.every}x{self.size}_{self.first_seed}_{shares}.npy"

    def tier(self, number: int) -> str:
        """The tier of clip ``number``."""
        random = np.random.default_rng([self.first_seed + number, 1])
        return str(random.choice(TIERS, p=np.array(self.tiers) / sum(self.tiers)))


class ClipPool:
    """Composes batches from drawn clips, held in layers as bytes.

    Drawing is slower than training, so each clip is used many times: its subject before the background of another clip
    or a photograph, flipped, cropped, reversed in time, in other light, with other camera faults.

    Args:
        layers: ``[N, T, 7, H, W]`` bytes: premultiplied foreground, alpha, background, sRGB.
        photographs: Pictures ``[3, h, w]``, sRGB 0..1, for a quarter of the backgrounds.
    """

    def __init__(self, layers: np.ndarray, photographs: tuple[Tensor, ...] = (), closest: float = 0.6) -> None:
        self.layers = layers
        self.photographs = photographs
        self.closest = closest

    def batch(self, count: int, size: int, frames: int, random: np.random.Generator) -> Batch:
        """Compose ``count`` clips."""
        images, alphas = zip(*(self.compose(size, frames, random) for _ in range(count)), strict=True)
        alpha = torch.stack(alphas)
        return Batch(torch.stack(images), alpha, torch.ones_like(alpha))

    def compose(self, size: int, frames: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One subject of the pool before one background, seen by a random camera: ``[T, 3 and 1, size, size]``."""
        subject, place = random.integers(len(self.layers), size=2)
        first = int(random.integers(self.layers.shape[1] - frames + 1))
        layers = self.cut(subject, first, frames, size, random)
        front, back = layers[:, :4], layers[:, 4:]
        which = random.uniform()
        if self.photographs and which < 0.25:
            back = photograph(self.photographs, size, frames, random)
        elif which < 0.5:  # else its own, with its shadows and spilt light
            back = self.cut(place, first, frames, size, random)[:, 4:]
            back = back.flip(-1) if random.uniform() < 0.5 else back
        colour, alpha = front[:, :3], front[:, 3:]
        if random.uniform() < 0.3:
            light = torch.from_numpy(random.uniform(0.6, 1.3, (1, 3, 1, 1)).astype(np.float32))
            colour = torch.minimum(colour * light, alpha)
        image = colour + back * (1 - alpha)
        if random.uniform() < 0.1:
            image = image[:, torch.from_numpy(random.permutation(3))]
        camera = Degradation(random, float(random.uniform(0, 1)))
        image = torch.stack([camera(frame, index) for index, frame in enumerate(image.clamp(0, 1))])
        if random.uniform() < 0.5:
            image, alpha = image.flip(-1), alpha.flip(-1)
        if random.uniform() < 0.5:
            image, alpha = image.flip(0), alpha.flip(0)
        return image, alpha

    def cut(self, number: int, first: int, frames: int, size: int, random: np.random.Generator) -> Tensor:
        """Layers ``[T, 7, size, size]`` of a clip, 0..1: all of it or a random square."""
        layers = torch.from_numpy(np.array(self.layers[number, first : first + frames])).float() / 255
        return cut_out(layers, size, self.closest, random)


def cut_out(layers: Tensor, size: int, closest: float, random: np.random.Generator) -> Tensor:
    """All of ``[T, C, H, W]`` or a random square with at least ``closest`` of its edge, scaled to ``size``."""
    edge = layers.shape[-1]
    least = min(max(round(closest * edge), 1), edge)
    part = edge if random.uniform() < 0.5 else int(random.integers(least, edge + 1))
    top, left = random.integers(edge - part + 1, size=2)
    piece = layers[..., top : top + part, left : left + part]
    return piece if part == size else F.interpolate(piece, (size, size), mode="bilinear", antialias=True)


def photograph(pictures: tuple[Tensor, ...], size: int, frames: int, random: np.random.Generator) -> Tensor:
    """A random square of a random picture that moves a little from frame to frame: ``[T, 3, size, size]``."""
    picture = pictures[random.integers(len(pictures))]
    height, width = picture.shape[-2:]
    part = int(random.integers(min(size, height, width), min(height, width) + 1))
    drift = random.uniform(-0.01, 0.01, 2) * part
    corner = random.uniform(0, 1, 2) * [height - part, width - part]
    cuts = []
    for index in range(frames):
        top, left = np.clip(corner + index * drift, 0, [height - part, width - part]).round().astype(int)
        cuts.append(picture[:, top : top + part, left : left + part])
    scaled = F.interpolate(torch.stack(cuts), (size, size), mode="bilinear", antialias=True)
    return scaled.flip(-1) if random.uniform() < 0.5 else scaled


def read_photographs(folder: Path | None) -> tuple[Tensor, ...]:
    """Every picture in ``folder``, ``[3, h, w]``; none without a folder."""
    return tuple(read_picture(path)[:3].clamp(0, 1) for path in pictures_in(folder)) if folder else ()


def drawn_layers(folder: Path, clips: Clips, progress: Callable[[int], None] | None = None) -> np.ndarray:
    """The layers of ``clips``: read from ``folder``, or drawn there by all CPU cores the first time.

    If drawing was stopped, it goes on after the last clip that was counted as finished.
    """
    path = folder / clips.name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part, noted = path.with_suffix(".part.npy"), path.with_suffix(".part.txt")
        done = int(noted.read_text()) if noted.exists() and part.exists() else 0
        log.info("drawing %d clips of %d frames at %d px", clips.count - done, clips.frames, clips.size)
        shape = (clips.count, clips.frames, LAYERS, clips.size, clips.size)
        pool = np.lib.format.open_memmap(part, "r+" if done else "w+", np.uint8, shape)
        with ProcessPoolExecutor(os.cpu_count()) as workers:
            drawn = workers.map(partial(draw_layers, clips), range(done, clips.count), chunksize=4)
            for index, layers in enumerate(drawn, done):
                pool[index] = layers
                if (index + 1) % KEPT_TOGETHER == 0:
                    pool.flush()
                    noted.write_text(str(index + 1))
                if progress:
                    progress(index + 1)
        pool.flush()
        del pool  # an open map cannot be renamed everywhere
        part.rename(path)
        noted.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def draw_layers(clips: Clips, number: int) -> np.ndarray:
    """Draw clip ``number`` as bytes ``[T, 7, H, W]``."""
    torch.set_num_threads(1)
    scene = Scene(clips.first_seed + number, (clips.size, clips.size), clips.tier(number))
    drawn = []
    for index in range(clips.frames):
        frame = scene.frame(index * clips.every)
        drawn.append(torch.cat([frame.foreground * frame.alpha, frame.alpha, frame.background]))
    return (torch.stack(drawn).clamp(0, 1) * 255).round().byte().numpy()
