"""A canvas of premultiplied colour and alpha, painted back to front with exact coverage, and what is painted on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .surface import Cloth, Light

Box = tuple[slice, slice]
TABLE = 64


@dataclass
class Canvas:
    """A premultiplied picture in linear light and its alpha, both 0 at first.

    Attributes:
        size: Height and width in pixels.
        offset: Where the frame's centre lies, down and right.
        colour: ``[3, H, W]``, premultiplied.
        alpha: ``[H, W]``.
    """

    size: tuple[int, int]
    offset: tuple[float, float] = (0.0, 0.0)
    colour: Tensor = field(init=False)
    alpha: Tensor = field(init=False)

    def __post_init__(self) -> None:
        height, width = self.size
        self.pixel = 1.0 / height
        self.rows = (torch.arange(height) + 0.5) / height - 0.5 + self.offset[0]
        self.columns = (torch.arange(width) + 0.5) / height - 0.5 * width / height + self.offset[1]
        self.colour = torch.zeros(3, height, width)
        self.alpha = torch.zeros(height, width)

    def box(self, low: np.ndarray, high: np.ndarray) -> Box | None:
        """The rows and columns of ``low..high`` (down, right) with two pixels around; None if outside the frame."""
        (top, left), (bottom, right) = low - self.offset, high - self.offset
        height, width = self.size
        edges = [
            (math.floor((top + 0.5) * height) - 2, math.ceil((bottom + 0.5) * height) + 2, height),
            (math.floor(left * height + 0.5 * width) - 2, math.ceil(right * height + 0.5 * width) + 2, width),
        ]
        rows, columns = (slice(max(a, 0), min(b, end)) for a, b, end in edges)
        return (rows, columns) if rows.stop > rows.start and columns.stop > columns.start else None

    def to_pixels(self, points: Tensor) -> Tensor:
        """``points`` ``[..., 2]`` (down, right) as rows and columns in pixels."""
        height, width = self.size
        return (points - torch.tensor(self.offset)) * height + torch.tensor([0.5 * height, 0.5 * width])

    def paint(self, where: Box, coverage: Tensor, colour: Tensor) -> None:
        """Composite straight ``colour`` ``[3, h, w]`` with ``coverage`` ``[h, w]`` over the canvas."""
        rows, columns = where
        below = self.colour[:, rows, columns]
        below += coverage * (colour - below)
        alpha = self.alpha[rows, columns]
        alpha += coverage * (1 - alpha)


@dataclass(frozen=True)
class Limb:
    """A tapered, slightly uneven round shape between two points: an arm, a torso, a nose.

    Attributes:
        start: Down and right.
        end: Down and right.
        profile: Half widths from start to end, of the left and the right side, ``[2, TABLE]``.
        material: What it is made of.
        flat: How round its shading is: 1 is a cylinder, less is nearer to a flat board.
        cut: Whether its end is straight instead of round.
        open: Share of the width that is painted, in the middle: for cloth under an open jacket.
    """

    start: np.ndarray
    end: np.ndarray
    profile: Tensor
    material: Cloth
    flat: float = 1.0
    cut: bool = False
    open: float = 1.0

    def draw(self, canvas: Canvas, light: Light, scale: float) -> None:
        """Paint it on ``canvas``. Patterns grow with ``scale``."""
        reach = float(self.profile.max()) * np.ones(2)
        where = canvas.box(np.minimum(self.start, self.end) - reach, np.maximum(self.start, self.end) + reach)
        if where is None:
            return
        (sy, sx), (dy, dx) = map(float, self.start), map(float, self.end - self.start)
        length = math.hypot(dy, dx) + 1e-6
        uy, ux = dy / length, dx / length
        y, x = canvas.rows[where[0], None] - sy, canvas.columns[None, where[1]] - sx
        along, side = y * uy + x * ux, x * uy - y * ux
        inside = along.clamp(0, length)
        beyond = along - inside
        place = inside * ((TABLE - 1.001) / length)
        entry, hand = place.long(), (side > 0).long()
        radius = torch.lerp(self.profile[hand, entry], self.profile[hand, entry + 1], place - entry).clamp(min=1e-6)
        away = side.square() + beyond.square()
        coverage = (0.5 + (radius - away.sqrt()) / canvas.pixel).clamp(0, 1)
        if self.cut:
            coverage = coverage * (0.5 + (length - along) / canvas.pixel).clamp(0, 1)
        if self.open < 1:
            coverage = coverage * (0.5 + (self.open * radius - side.abs()) / canvas.pixel).clamp(0, 1)
        if not coverage.any():
            return
        across, over = (side / radius).clamp(-1, 1), (beyond / radius).clamp(-1, 1)
        facing = (1 - (across.square() + over.square()).clamp(max=0.98) * self.flat).sqrt()
        normal = (self.flat * (over * uy - across * ux), self.flat * (over * ux + across * uy), facing)
        canvas.paint(where, coverage, self.material.lit(along / scale, side / scale, normal, light))


def splat(size: tuple[int, int], places: Tensor, values: Tensor) -> Tensor:
    """Add ``values`` ``[C, N]`` at ``places`` ``[N, 2]`` (row, column, in pixels), each over its four nearest pixels.

    Returns:
        ``[C, H, W]``. What falls outside is lost.
    """
    height, width = size
    corner = (places - 0.5).floor()
    part = places - 0.5 - corner
    corner = corner.long()
    total = torch.zeros(values.shape[0], (height + 2) * (width + 2))
    for row in (0, 1):
        for column in (0, 1):
            weight = (part[:, 0] if row else 1 - part[:, 0]) * (part[:, 1] if column else 1 - part[:, 1])
            at = (corner[:, 0] + row + 1).clamp(0, height + 1) * (width + 2) + (corner[:, 1] + column + 1).clamp(
                0, width + 1
            )
            total.index_add_(1, at, values * weight)
    return total.view(-1, height + 2, width + 2)[:, 1:-1, 1:-1]
