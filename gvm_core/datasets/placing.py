"""Choosing the part of a cut-out that a frame shows, at any size, so that nobody ends in mid-air.

A cut-out has nothing beyond the border of its picture. So a border that cuts the subject always lies on or outside the
frame's edge, while subject and camera move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .cutouts import Cutout
from .sway import Sway

SMALLEST = 0.25
"""The least height of a subject, as a share of the frame's edge."""


@dataclass(frozen=True)
class Placing:
    """Position of the frame over a cut-out at each time; lengths in pixels of the cut-out, from its top left corner.

    Attributes:
        centre: ``[T, 2]``, across and down.
        half: ``[T]``, half of the edge of the frame.
        turn: ``[T]``, radians.
        rows: How many rows of the cut-out are used, from its top.
        cut: Whether the top, bottom, left and right border of those rows cut the subject.
    """

    centre: Tensor
    half: Tensor
    turn: Tensor
    rows: int
    cut: tuple[bool, bool, bool, bool]


def place(cut: Cutout, times: Tensor, shake: Sway, lively: float, random: np.random.Generator) -> Placing:
    """A random `Placing` over ``cut``.

    Args:
        cut: The subject.
        times: ``[T]``, seconds.
        shake: The camera's shake, in frame heights.
        lively: How much subject and camera move; 1 is ordinary.
        random: Decides all of it.
    """
    height, width = cut.layers.shape[-2:]
    top, bottom, left, right = cut.cut
    first, last, west, east = cut.box
    rows = height
    if (left or right) and random.uniform() < 0.5 and (free := free_rows(cut)):
        rows = int(random.integers(round(0.85 * free), free + 1))  # a head and what of its shoulders touches no side
        left = right = False
        solid = np.flatnonzero((cut.layers[:, 3, :rows] > 64).reshape(-1, width).any(axis=0))
        west, east, last, bottom = int(solid[0]), int(solid[-1]) + 1, rows, True
    turn = random.normal(0, 0.06) + Sway(random, 1, 0.06 * lively, 0.7).at(times)[:, 0]
    widen = turn.cos().abs() + turn.sin().abs()  # of a turned frame's extent
    most = (last - first) / SMALLEST / 2
    if left and right:
        most = min(most, width / 2 / float(widen.max()))
    if top and bottom:
        most = min(most, rows / 2 / float(widen.max()))
    least = min(0.22 * min(last - first, east - west) + 8, most)
    half = torch.full_like(times, math.exp(random.uniform(math.log(least), math.log(most))))
    half = half * Sway(random, 1, 0.05 * lively, 0.5).at(times)[:, 0].exp()
    if float((half * widen).max()) > most:
        half = half * (most / float((half * widen).max()))
    reach = half * widen
    drift = (Sway(random, 2, 0.08 * lively).at(times) + shake.at(times)[:, :2]) * 2 * half[:, None]
    aim = 0.5 * (west + east) + random.normal(0, 0.35) * float(half[0])
    across = aim + drift[:, 0]
    room = 0.0 if bottom else 1 - (last - first) / (2 * float(half[0]))  # under somebody who is whole
    head = first + (1 - 2 * random.uniform(-0.1, max(room, 0.25))) * half  # from the frame's top
    anywhere = random.uniform(first + 0.3 * (last - first), max(last - float(half[0]), first + 0.6 * (last - first)))
    down = (head if random.uniform() < 0.65 else anywhere) + drift[:, 1]
    for near, far, length, axis in ((left, right, width, 0), (top, bottom, rows, 1)):
        along = across if axis == 0 else down
        if near:
            along = along.maximum(reach)
        if far:
            along = along.minimum(length - reach)
        across, down = (along, down) if axis == 0 else (across, along)
    return Placing(torch.stack([across, down], dim=-1), half, turn, rows, (top, bottom, left, right))


def free_rows(cut: Cutout) -> int:
    """How many rows from the top the picture's sides do not cut the subject; 0 if that is less than a head."""
    sides = cut.layers[:, 3][:, :, [0, -1]].max(axis=(0, 2))  # [H]
    free = int(np.argmax(sides > 32)) if (sides > 32).any() else len(sides)
    return free if free - cut.box[0] > 0.4 * (cut.box[1] - cut.box[0]) else 0


def grids(placing: Placing, size: int, shape: tuple[int, int]) -> Tensor:
    """The place of each frame pixel in a cut-out of ``shape``: ``[T, size, size, 2]``, across and down, -1..1."""
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    cos, sin = (part[:, None, None] for part in (placing.turn.cos(), placing.turn.sin()))
    across = cos * at - sin * at[:, None]
    down = sin * at + cos * at[:, None]
    pixels = torch.stack([across, down], dim=-1) * placing.half[:, None, None, None] + placing.centre[:, None, None]
    return pixels * (2 / torch.tensor([shape[1], shape[0]])) - 1
