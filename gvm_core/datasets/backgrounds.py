"""Backgrounds without people: panoramas, moving pictures, plain walls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..media.sequence import PICTURES, natural, read_picture
from .panorama import Panorama, camera_directions, read_panorama
from .sway import Sway

SHORT_EDGE = 384
"""The largest shorter side, in pixels, with which pictures and cut-outs are held."""


@dataclass(frozen=True, eq=False)
class Places:
    """Backgrounds without people.

    Attributes:
        panoramas: A camera turns and zooms in these.
        pictures: ``[3, H, W]`` bytes, sRGB, of any size.
        drawn: Clips of a `ClipPool`, ``[N, T, 7, H, W]`` bytes, of which the last three channels are used.
        hard: Views that look like somebody, see `read_hard_negatives`, ``[3, H, W]`` bytes, sRGB. If there are any, a
            third of all backgrounds are these.
    """

    panoramas: tuple[Panorama, ...] = ()
    pictures: tuple[Tensor, ...] = ()
    drawn: np.ndarray | None = None
    hard: tuple[Tensor, ...] = ()

    @property
    def has_pictures(self) -> bool:
        """Whether there is anything for `some_picture`."""
        return bool(self.pictures) or self.drawn is not None

    def view(self, size: int, times: Tensor, shake: Sway, random: np.random.Generator) -> Tensor:
        """A random background, ``[T, 3, size, size]``, sRGB 0..1.

        Args:
            size: Edge of the frames.
            times: ``[T]``, seconds.
            shake: The camera's shake, in frame heights.
            random: Decides the place and the camera's motion.
        """
        kinds = [
            (self.look_about, 0.5 * bool(self.panoramas)),
            (self.drift, 0.25 * bool(self.pictures) + 0.15 * (self.drawn is not None)),
            (self.wall, 0.1),
            (self.hard_negative, 0.5 * bool(self.hard)),
        ]
        shares = np.array([share for _, share in kinds])
        kind = kinds[random.choice(len(kinds), p=shares / shares.sum())][0]
        view = kind(size, times, shake, random)
        return view.flip(-1) if random.uniform() < 0.5 else view

    def look_about(self, size: int, times: Tensor, shake: Sway, random: np.random.Generator) -> Tensor:
        """A panorama through a camera that pans, tilts, rolls and zooms."""
        panorama = self.panoramas[random.integers(len(self.panoramas))]
        field = math.radians(float(np.exp(random.uniform(math.log(30), math.log(100)))))
        pan = Sway(random, 2, 0.25 * field * random.uniform() ** 2).at(times) + field * shake.at(times)[:, :2]
        speed = field * random.normal(0, 0.3) * (random.uniform() < 0.4)  # a pan that goes on, frames a second
        roll, zoom = Sway(random, 2, 0.03).at(times).T
        directions = camera_directions(
            random.uniform(-math.pi, math.pi) + pan[:, 0] + speed * times,
            float(np.clip(random.normal(0.05, 0.2), -0.7, 0.7)) + pan[:, 1],
            random.normal(0, 0.05) + roll,
            field * zoom.exp(),
            size,
        )
        return panorama.view(directions, math.exp(random.normal(0, 0.4)))

    def drift(self, size: int, times: Tensor, shake: Sway, random: np.random.Generator) -> Tensor:
        """A part of a picture that moves, turns and grows."""
        return drifting(self.some_picture(random), size, times, shake, random)

    def front(self, size: int, times: Tensor, shake: Sway, random: np.random.Generator) -> Tensor:
        """The surface of a thing before people: a part of a picture, or one colour."""
        seen = self.drift if self.has_pictures and random.uniform() < 0.6 else self.wall
        return seen(size, times, shake, random)

    def hard_negative(self, size: int, times: Tensor, shake: Sway, random: np.random.Generator) -> Tensor:
        """A view that looks like somebody: most of it, so that it still does."""
        return drifting(self.hard[random.integers(len(self.hard))], size, times, shake, random, closest=0.6)

    def some_picture(self, random: np.random.Generator) -> Tensor:
        """A random picture or frame of a drawn background, ``[3, H, W]`` bytes."""
        if self.drawn is None or (self.pictures and random.uniform() < 0.6):
            return self.pictures[random.integers(len(self.pictures))]
        clip = self.drawn[random.integers(len(self.drawn))]
        return torch.from_numpy(np.array(clip[random.integers(len(clip)), 4:]))

    def wall(self, size: int, times: Tensor, shake: Sway, random: np.random.Generator) -> Tensor:
        """A still wall: one colour, or a gradient between two."""
        del shake
        angle = random.uniform(0, 2 * math.pi)
        at = torch.linspace(-0.7, 0.7, size)
        mix = (0.5 + math.cos(angle) * at[:, None] + math.sin(angle) * at).clamp(0, 1)
        first, second = (torch.from_numpy(random.uniform(0, 1, (3, 1, 1)).astype(np.float32)) for _ in range(2))
        if random.uniform() < 0.5:
            second = first * float(random.uniform(0.5, 1))
        return (first + (second - first) * mix).expand(len(times), -1, -1, -1)


def drifting(
    picture: Tensor, size: int, times: Tensor, shake: Sway, random: np.random.Generator, closest: float = 0.35
) -> Tensor:
    """A part of ``picture``, ``[3, H, W]`` bytes, that moves, turns and grows: ``[T, 3, size, size]``, 0..1.

    ``closest`` is the smallest part, as a share of the picture's shorter side.
    """
    picture = picture.float() / 255
    height, width = picture.shape[-2:]
    part = min(height, width) * float(np.exp(random.uniform(math.log(closest), 0)))
    scale = size / part
    if scale < 0.8:
        smaller = [max(round(scale * edge), size) for edge in (height, width)]
        picture = F.interpolate(picture[None], smaller, mode="bilinear", antialias=True)[0]
        height, width = picture.shape[-2:]
        part = float(size)
    turn, zoom = (Sway(random, 2, 0.04).at(times) + torch.tensor([random.normal(0, 0.08), 0.0], dtype=torch.float32)).T
    moved = Sway(random, 2, 0.15 * random.uniform() ** 2).at(times) + shake.at(times)[:, :2]
    corner = torch.tensor(random.uniform(-1, 1, 2) * [1 - part / width, 1 - part / height], dtype=torch.float32)
    across, down = part / width * zoom.exp(), part / height * zoom.exp()
    cos, sin = turn.cos(), turn.sin()
    where = torch.stack([
        torch.stack([across * cos, -across * sin, corner[0] + 2 * across * moved[:, 0]], dim=-1),
        torch.stack([down * sin, down * cos, corner[1] + 2 * down * moved[:, 1]], dim=-1),
    ], dim=1)  # fmt: skip
    grid = F.affine_grid(where, [len(times), 3, size, size], align_corners=False)
    every = picture.expand(len(times), -1, -1, -1)
    return F.grid_sample(every, grid, padding_mode="reflection", align_corners=False)


def read_places(paths: list[Path]) -> Places:
    """Every panorama (``.hdr``, or a picture in a folder called ``panoramas``) and picture under ``paths``.

    Raises:
        InputError: If one of them holds neither.
    """
    panoramas, pictures = [], []
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no folder {path}")
        files = sorted(path.rglob("*"), key=natural) if path.is_dir() else [path]
        lights = [file for file in files if file.suffix.lower() == ".hdr"]
        flats = [file for file in files if file.suffix.lower() in PICTURES - {".hdr"} and file.name[0] != "."]
        if not lights and not flats:
            raise InputError(f"{path} holds no picture and no panorama (.hdr) for a background")
        around = [file for file in flats if "panoramas" in file.parts]
        panoramas += [read_panorama(file) for file in (*lights, *around)]
        pictures += [as_bytes(read_picture(file)[:3]) for file in flats if file not in around]
    return Places(tuple(panoramas), tuple(pictures))


def as_bytes(picture: Tensor) -> Tensor:
    """A picture or its layers, ``[C, H, W]`` in 0..1, as bytes, scaled down to `SHORT_EDGE`."""
    scale = SHORT_EDGE / min(picture.shape[-2:])
    if scale < 1:
        smaller = [max(round(edge * scale), 1) for edge in picture.shape[-2:]]
        picture = F.interpolate(picture[None], smaller, mode="bilinear", antialias=True)[0]
    return (picture.clamp(0, 1) * 255).round().byte()
