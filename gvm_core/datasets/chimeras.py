"""Chimeras: photographed heads on drawn bodies, to have whole people where there are only portraits."""

from __future__ import annotations

import logging
import math
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..synthesis.canvas import TABLE, Canvas, Limb
from ..synthesis.figure import Person, random_shot
from ..synthesis.motion import Swing
from ..synthesis.surface import Cloth, Light, random_light
from .arrays import write_arrays
from .cutouts import Cutout, cutout
from .sway import FPS

log = logging.getLogger(__name__)

Generator = np.random.Generator
SIZE, FRAMES, TOGETHER = 256, 8, 16
DRAWING = 2
"""Raised whenever bodies are drawn differently, so that stored ones are drawn again."""
HEIGHT = 0.175
"""Distance from the top of the hair to the narrowest part of the neck, in body heights."""


@dataclass(frozen=True, eq=False)
class Head:
    """The head of a portrait.

    Attributes:
        layers: ``[4, h, w]`` bytes as in a `Cutout`, down to the neck.
        neck: Row and column of the narrowest part of the neck.
        skin: sRGB, 0..1.
    """

    layers: np.ndarray
    neck: tuple[float, float]
    skin: np.ndarray


def find_head(cut: Cutout) -> Head | None:
    """The head of ``cut``; None if its outline shows no neck between head and shoulders."""
    first, last, _, _ = cut.box
    alpha = cut.layers[0, 3] > 127
    wide = alpha.sum(axis=1).astype(np.float64)
    wide = np.convolve(np.pad(wide, 3, mode="edge"), np.ones(7) / 7, "valid")
    low, high = first + round(0.4 * (last - first)), first + round(0.85 * (last - first))
    if cut.cut[0] or high - low < 10 or len(cut.layers) > 1:
        return None
    neck = low + int(np.argmin(wide[low:high]))
    head = wide[first:neck].max(initial=0)
    if not neck < high - 2 or wide[neck] > 0.8 * head or wide[neck:last].max() < 1.3 * wide[neck]:
        return None
    columns = np.flatnonzero(alpha[neck])
    middle = float(columns.mean())
    rows = slice(first + round(0.55 * (neck - first)), first + round(0.8 * (neck - first)))
    face = cut.layers[0, :, rows, round(middle - 0.2 * head) : round(middle + 0.2 * head)]
    skin = np.median(face[:3].reshape(3, -1), axis=1) / 255
    left, right = (int(np.clip(middle + side * 0.62 * head, 0, alpha.shape[1])) for side in (-1, 1))
    layers = cut.layers[0, :, :neck, left:right].copy()
    start = first + round(0.75 * (neck - first))  # from here down an oval, without collar and shoulders
    oval = 0.52 * head * np.sqrt(1 - np.linspace(0, 1, neck - start) ** 3)
    inside = oval[:, None] - np.abs(np.arange(left, right) - middle) + 0.5
    layers[:, start:] = (layers[:, start:] * inside.clip(0, 1)).astype(np.uint8)
    if layers.shape[1] < 40 or layers[3][:, [0, -1]].max() > 127 or not 1.15 < (neck - first) / head < 2:
        return None
    return Head(layers, (float(neck), middle - left), skin)


class Photographed(Cloth):
    """Cloth with the texture of a picture.

    Args:
        random: Decides its part of the picture, and its relief.
        picture: ``[3, h, w]`` bytes, sRGB.
    """

    def __init__(self, random: Generator, picture: Tensor) -> None:
        super().__init__(random, np.full(3, 0.5), folds=float(random.uniform(0.1, 0.6)), gloss=0.02)
        height, width = (edge // 2 for edge in picture.shape[-2:])
        part = picture[:, height // 2 : height // 2 + height, width // 2 : width // 2 + width]
        small = F.interpolate(part[None].float() / 255, (96, 96), mode="bilinear", antialias=True)[0]
        part = torch.cat([small, small.flip(1)], dim=1)
        self.texture = torch.cat([part, part.flip(2)], dim=2).square()  # repeats without seams
        self.repeats = float(random.uniform(0.8, 2.0))

    def surface(self, u: Tensor, v: Tensor) -> Tensor:
        """The picture's colour, ``[3, h, w]``, linear."""
        _, height, width = self.texture.shape
        rows = ((u * self.repeats + self.shift[0]) * height).long() % height
        columns = ((v * self.repeats + self.shift[1]) * width).long() % width
        return self.texture[:, rows, columns]


class NoHair:
    """No drawn hair: a photographed head has its own."""

    def layers(self, *_: object) -> tuple[tuple, tuple]:
        """Nothing behind the head and nothing before it."""
        return (), ()

    def draw(self, *_: object) -> None:
        """Nothing."""


class Chimera(Person):
    """A drawn person with a photographed head, and mostly photographed clothes, which are often thick.

    Args:
        random: Decides all of it.
        head: The photographed head.
        pictures: Textures of cloth, ``[3, h, w]`` bytes; without any, the cloth is drawn.
    """

    def __init__(self, random: Generator, head: Head, pictures: tuple[Tensor, ...]) -> None:
        shot = random_shot(random, 1.0, str(random.choice(["far", "middle", "close"], p=[0.4, 0.5, 0.1])))
        super().__init__(random, shot, float(random.uniform(0.4, 1.8)), 1, 0.0)
        self.own = head
        self.bias = float(random.uniform(0.9, 1.12))
        self.yaw = Swing(random, random.normal(0, 0.25), 0.2)
        self.look = Swing(random, 0, 0.1)
        self.hair: Any = NoHair()
        self.skin = Cloth(random, np.clip(head.skin, 0.05, 0.95), folds=0.1, gloss=0.04)
        if random.uniform() < 0.45:
            self.thicken(random)
        if pictures and random.uniform() < 0.75:
            cloth = lambda: Photographed(random, pictures[random.integers(len(pictures))])  # noqa: E731
            self.top, self.inner = cloth(), cloth() if random.uniform() < 0.5 else self.inner
            self.bottom = cloth() if random.uniform() < 0.6 else self.bottom

    def thicken(self, random: Generator) -> None:
        """Give the body the outline of thick clothes: a coat, an overall, a costume."""
        self.sleeve, self.bare_legs, wide = 2, False, float(random.uniform(1.15, 1.6))
        self.build *= math.sqrt(wide)  # moves the shoulders and hips apart
        self.torso, self.pelvis, self.flare = self.torso * wide, self.pelvis * wide, self.flare * wide
        arms, legs = (wide * float(random.uniform(1, 1.3)) for _ in range(2))
        self.arm, self.forearm = self.arm * arms, self.forearm * arms
        self.thigh, self.shin = self.thigh * legs, self.shin * legs

    def draw_head(self, canvas: Canvas, light: Light, neck: np.ndarray, centre: np.ndarray, turned: np.ndarray) -> None:
        """Paint a neck, and the head over it."""
        scale = self.shot.scale
        wide = torch.full((2, TABLE), 0.031 * scale * math.sqrt(self.build))
        below = neck + 0.03 * scale * (neck - centre) / np.linalg.norm(neck - centre)
        Limb(centre + 0.3 * (neck - centre), below, wide, self.skin).draw(canvas, light, scale)
        self.paste(canvas, neck + np.array([0.006 * scale, 0]), math.atan2(-turned[1, 0], turned[0, 0]))

    def paste(self, canvas: Canvas, neck: np.ndarray, roll: float) -> None:
        """Lay the head over ``canvas``, its neck at ``neck`` (down, right)."""
        layers = torch.from_numpy(self.own.layers).float()[None] / 255
        row, column = self.own.neck
        first = int(np.flatnonzero(self.own.layers[3].max(axis=1) > 127)[0])
        pixels = (row - first) / (self.bias * HEIGHT * self.shot.scale)  # of the head in one frame height
        down, right = canvas.rows[:, None] - float(neck[0]), canvas.columns[None] - float(neck[1])
        rows = (math.cos(roll) * down + math.sin(roll) * right) * pixels + row
        columns = (math.cos(roll) * right - math.sin(roll) * down) * pixels + column
        shrink = pixels * canvas.pixel
        if shrink > 1.3:
            smaller = [max(round(edge / shrink), 4) for edge in layers.shape[-2:]]
            small = F.interpolate(layers, smaller, mode="bilinear", antialias=True)
        else:
            small = layers
        grid = torch.stack([columns / layers.shape[-1], rows / layers.shape[-2]], dim=-1) * 2 - 1
        seen = F.grid_sample(small, grid[None], padding_mode="zeros", align_corners=False)[0]
        alpha = seen[3].clamp(0, 1)
        straight = (seen[:3] / alpha.clamp(min=1 / 255)).clamp(0, 1).square()
        canvas.paint((slice(0, canvas.size[0]), slice(0, canvas.size[1])), alpha, straight)


def draw_chimera(seed: int, head: Head, pictures: tuple[Tensor, ...]) -> np.ndarray:
    """A chimera in motion, as the layers of a `Cutout`, ``[T, 4, H, W]`` bytes."""
    random = np.random.default_rng([seed, 3])
    person, light = Chimera(random, head, pictures), random_light(random)
    exposure, frames = float(np.exp(random.normal(0.1, 0.15))), []
    for index in range(FRAMES):
        canvas = Canvas((SIZE, SIZE))
        person.draw(canvas, light, index / FPS)
        straight = (exposure * canvas.colour / canvas.alpha.clamp(min=1e-4)).clamp(0, 1).sqrt()
        frames.append(torch.cat([straight * canvas.alpha, canvas.alpha[None]]))
    return (torch.stack(frames).clamp(0, 1) * 255).round().byte().numpy()


def read_chimeras(
    count: int,
    cutouts: list[Cutout],
    pictures: tuple[Tensor, ...],
    pools: Path,
    progress: Callable[[int], None] | None = None,
) -> list[Cutout]:
    """``count`` chimeras: read from ``pools``, or drawn by all CPU cores the first time.

    Args:
        count: How many; fewer if no portrait shows its neck.
        cutouts: People whose heads are used.
        pictures: Textures of cloth, ``[3, h, w]`` bytes.
        pools: Folder of the drawn ones. Each file has some, so a run that was stopped goes on with what is missing.
        progress: Called with the number drawn so far.
    """
    heads = [head for head in map(find_head, cutouts) if head is not None]
    if not heads:
        return []
    name = zlib.crc32(b"".join(head.layers.tobytes()[::97] for head in heads), len(pictures) + (DRAWING << 16))
    paths = {first: pools / f"chimeras_{name:08x}_{first:05}.npz" for first in range(0, count, TOGETHER)}
    missing = [first for first, path in paths.items() if not path.exists()]
    if missing:
        pools.mkdir(parents=True, exist_ok=True)
        log.info("drawing %d chimeras with %d heads", count, len(heads))
        done = count - TOGETHER * len(missing)
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as workers:
            jobs = [
                workers.submit(write_chimeras, paths[first], *ingredients(first, heads, pictures)) for first in missing
            ]
            for job in jobs:
                done += job.result()
                if progress:
                    progress(max(done, 0))
    found = []
    for path in paths.values():
        with np.load(path) as file:
            found += [cutout(file[each]) for each in file]
    return [each for each in found if each is not None][:count]


def ingredients(
    first: int, heads: list[Head], pictures: tuple[Tensor, ...]
) -> tuple[int, list[Head], list[list[np.ndarray]]]:
    """The first seed of one file's chimeras, their heads, and pictures of cloth for each."""
    random = np.random.default_rng([first, 4])
    own = [heads[random.integers(len(heads))] for _ in range(TOGETHER)]
    cloth = [[pictures[random.integers(len(pictures))].numpy() for _ in range(3 if pictures else 0)] for _ in own]
    return first, own, cloth


def write_chimeras(path: Path, first: int, heads: list[Head], pictures: list[list[np.ndarray]]) -> int:
    """Draw the chimeras of one file and write them; their number."""
    torch.set_num_threads(1)
    drawn = {}
    for number, (head, cloth) in enumerate(zip(heads, pictures, strict=True)):
        drawn[f"{number:04}"] = draw_chimera(first + number, head, tuple(torch.from_numpy(each) for each in cloth))
    write_arrays(path, drawn)
    return len(heads)
