"""Move the edges of a matte out or in by parts of a pixel, and make them softer.

Both work frame by frame on ``[T, 1, H, W]``, on any device, by comparing or adding shifted slices in a fixed order. So a
frame's result never depends on the frames beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

FARTHEST_EXPAND = 128
"""How far `expand` may move edges, in pixels."""
FARTHEST_FEATHER = 64
"""The widest `feather`, in pixels."""
STEPS = ((0, 1), (1, 0), (1, 1), (-1, 1), (1, 2), (-1, 2), (2, 1), (-2, 1))
"""Directions (down, right) of the segments that make a disc: two straight, two diagonal, four of a knight's moves."""
EIGHTH = math.pi / 8
"""Angle between two neighbouring places of a ring."""
WIDEST_RING = 2.0
"""The largest radius of a ring that is added to segments."""
ONLY_RING = 3.0
"""Up to this radius, a ring around the segments is a disc: its places lie about a pixel apart."""
ROWS = 192
"""Rows that are interpolated at once: so many fit into a processor's cache."""
BOXES = 3
"""Boxes that together are as good as a Gaussian."""
SNAP = 1e-6
"""`feather` gives exactly 0 and 1 where rounding is nearer to them than this."""
Pick = Callable[..., Tensor]
"""`torch.maximum` or `torch.minimum`."""


class Disc(NamedTuple):
    """A disc as a sum of segments, and a ring.

    Attributes:
        straight: Steps of both straight segments; even.
        diagonal: Steps of both diagonal segments.
        knight: Steps of the four segments between them.
        ring: Radii of the ring's places: on an axis, an `EIGHTH` off it, on a diagonal.
        around: Whether the ring lies around the segments' sum. Otherwise it is added to it.
    """

    straight: int = 0
    diagonal: int = 0
    knight: int = 0
    ring: tuple[float, float, float] = (0.0, 0.0, 0.0)
    around: bool = False

    @property
    def reach(self) -> int:
        """Pixels that the sum of segments reaches along an axis."""
        return self.straight // 2 + self.diagonal + 3 * self.knight

    @property
    def segments(self) -> list[tuple[tuple[int, int], int]]:
        """Direction and number of steps of every segment."""
        counts = [self.straight] * 2 + [self.diagonal] * 2 + [self.knight] * 4
        return list(zip(STEPS, counts, strict=True))


def expand(alpha: Tensor, pixels: float) -> Tensor:
    """Move edges outwards, or inwards if ``pixels`` is negative, by parts of a pixel. Soft edges keep their slope.

    Every pixel becomes the largest (inwards: the smallest) value in a disc around it: dilation and erosion by a flat
    structuring element. The disc is a sum of segments in up to eight directions (Adams, Radial decomposition of discs
    and spheres, 1993), so that the cost hardly grows with its size. A ring of parts of a pixel completes it. Its values
    are interpolated (Keys, Cubic convolution interpolation, 1981). Pixels outside the frame do not exist: what the
    frame cuts off stays cut off there.

    Args:
        alpha: ``[T, 1, H, W]``, 0..1.
        pixels: -128 to 128. 0 returns ``alpha``.

    Returns:
        ``[T, 1, H, W]``, nowhere below ``alpha`` (inwards: nowhere above).

    Raises:
        InputError: If ``pixels`` is out of range.

    Example:
        >>> ramp = torch.tensor([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]).view(1, 1, 1, 9)
        >>> [f"{value:.2f}" for value in expand(ramp, 0.5).flatten()[3:6].tolist()]
        ['0.38', '0.62', '0.89']
    """
    check_range("expand", pixels, -FARTHEST_EXPAND, FARTHEST_EXPAND, "pixels")
    if pixels == 0:
        return alpha
    shape, pick = disc(abs(pixels)), torch.maximum if pixels > 0 else torch.minimum

    def moved(frame: Tensor) -> Tensor:
        spare = around_ring(shape.ring)
        if not shape.around:
            return over_ring(over_segments(frame, shape, spare, pick), shape.ring, pick)
        inside = over_segments(frame, shape, 0, pick)
        return pick(inside, over_ring(padded(frame, spare), shape.ring, pick))

    return each_frame(alpha, math.ceil(abs(pixels)) + 3, moved)


def check_range(name: str, value: float, least: float, most: float, unit: str = "") -> None:
    """Refuse a number outside a range.

    Raises:
        InputError: If ``value`` is not a number from ``least`` to ``most``.
    """
    if not (isinstance(value, (int, float)) and least <= value <= most):
        raise InputError(f"{name} must be {least:g} to {most:g} {unit}".rstrip() + f", got {value!r}")


def each_frame(alpha: Tensor, reach: int, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply ``change`` to the busy part of every frame ``[H, W]`` of ``[T, 1, H, W]``, one frame at a time.

    The busy part is the smallest rectangle with all pixels that differ from a neighbour, and ``reach`` pixels around.
    The rest stays as it is. ``change`` must give the same for a part as for the whole, and must not change a constant.
    """
    result = alpha.clone()
    for frame in result[:, 0]:
        part = busy(frame, reach)
        if part is not None:
            frame[part] = change(frame[part])
    return result


def busy(frame: Tensor, reach: int) -> tuple[slice, slice] | None:
    """The busy part of ``[H, W]``; see `each_frame`. None if all pixels are equal."""
    spans = []
    for across in (1, 0):
        low, high = frame.amin(dim=across), frame.amax(dim=across)
        fore, aft = (((low != side) | (high != side)).nonzero() for side in (low[0], low[-1]))
        if not len(fore):
            return None
        spans.append(slice(max(int(fore[0]) - 1 - reach, 0), min(int(aft[-1]) + 2 + reach, len(low))))
    return spans[0], spans[1]


def extent(mask: Tensor, around: int) -> tuple[slice, slice] | None:
    """Rows and columns of the smallest rectangle with all of ``mask`` ``[H, W]``, and some ``around``; None if empty."""
    spans = []
    for axis in (1, 0):
        places = mask.any(dim=axis).nonzero()
        if not len(places):
            return None
        spans.append(slice(max(int(places[0]) - around, 0), min(int(places[-1]) + 1 + around, mask.shape[1 - axis])))
    return spans[0], spans[1]


def over_segments(frame: Tensor, shape: Disc, spare: int, pick: Pick) -> Tensor:
    """The largest or smallest value of ``[H, W]`` over a disc's segments, for the frame and ``spare`` pixels around it.

    A running maximum over ``n`` places takes about ``log2(n)`` steps: twice as many places each time.
    """
    now = padded(frame, shape.reach + spare)
    other = now.clone()  # also its border, which no step writes, is then in range
    for (down, right), count in shape.segments:
        places = 1
        while places <= count:
            step = min(places, count + 1 - places)
            here, there = overlap(now.shape, down * step, right * step)
            pick(now[here], now[there], out=other[here])
            now, other = other, now
            places += step
    # All segments begin at a pixel and lead to the right of it; those down and up even out, but for the straight one.
    top = shape.reach - shape.straight // 2
    return now[top : top + frame.shape[0] + 2 * spare, : frame.shape[1] + 2 * spare]


def overlap(size: torch.Size, down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The pixels of a picture whose neighbour at this distance lies inside it too, and those neighbours."""
    here, there = zip(
        *(
            (slice(max(-step, 0), edge - max(step, 0)), slice(max(step, 0), edge + min(step, 0)))
            for edge, step in zip(size, (down, right), strict=True)
        ),
        strict=True,
    )
    return here, there


def padded(frame: Tensor, pixels: int) -> Tensor:
    """``[H, W]`` with its border repeated ``pixels`` times on each side."""
    height, width = frame.shape
    result = frame.new_empty(height + 2 * pixels, width + 2 * pixels)
    middle = result[pixels : pixels + height]
    middle[:, pixels : pixels + width] = frame
    middle[:, :pixels] = frame[:, :1]
    middle[:, pixels + width :] = frame[:, -1:]
    result[:pixels] = middle[:1]
    result[pixels + height :] = middle[-1:]
    return result


def around_ring(radii: tuple[float, float, float]) -> int:
    """Pixels needed around a frame for a ring: its radius, and two to interpolate."""
    return math.ceil(max(radii)) + 2


def over_ring(frame: Tensor, radii: tuple[float, float, float], pick: Pick) -> Tensor:
    """The largest or smallest of a pixel and the sixteen places of a ring around it.

    Args:
        frame: ``[H + 2 * spare, W + 2 * spare]``, with `around_ring` spare pixels around.
        radii: As in `Disc.ring`.
        pick: Which of them.

    Returns:
        ``[H, W]``.
    """
    spare = around_ring(radii)
    columns: dict[float, list[float]] = {}
    for across, down in ring_places(radii):
        columns.setdefault(across, []).append(down)
    found = frame[spare:-spare, spare:-spare].clone()
    for top in range(0, len(found), ROWS):
        here, band = found[top : top + ROWS], frame[top : top + ROWS + 2 * spare]
        for across, downs in columns.items():
            moved = moved_by(band, 1, across, spare)
            for down in downs:
                pick(here, moved_by(moved, 0, down, spare), out=here)
        bound(here, band, spare, pick)
    return found


def ring_places(radii: tuple[float, float, float]) -> list[tuple[float, float]]:
    """Across and down of the sixteen places of a ring, in pixels."""
    places = []
    for index in range(16):
        off = index % 4  # 0 on an axis, 2 on a diagonal
        radius, angle = radii[min(off, 4 - off)], index * EIGHTH
        places.append((round(radius * math.cos(angle), 6), round(radius * math.sin(angle), 6)))
    return places


def moved_by(frame: Tensor, axis: int, offset: float, spare: int) -> Tensor:
    """Values at ``offset`` pixels along ``axis``, between pixels by cubic convolution; ``spare`` less at both ends."""
    whole = math.floor(offset)
    t, length = offset - whole, frame.shape[axis] - 2 * spare
    if t == 0:
        return frame.narrow(axis, spare + whole, length)
    weights = (
        -0.5 * t**3 + t**2 - 0.5 * t,
        1.5 * t**3 - 2.5 * t**2 + 1,
        -1.5 * t**3 + 2 * t**2 + 0.5 * t,
        0.5 * t**3 - 0.5 * t**2,
    )
    first = spare + whole - 1
    total = frame.narrow(axis, first, length) * weights[0]
    for step in (1, 2, 3):
        total.add_(frame.narrow(axis, first + step, length), alpha=weights[step])
    return total


def bound(found: Tensor, frame: Tensor, spare: int, pick: Pick) -> None:
    """Keep interpolated values within those of the pixels around. Cubic convolution goes a little beyond them."""
    pixels = spare - 2
    for axis in (0, 1):
        length = frame.shape[axis] - 2 * spare
        around = frame.narrow(axis, spare - pixels, length)
        for step in range(1 - pixels, pixels + 1):
            around = pick(around, frame.narrow(axis, spare + step, length))
        frame = around
    limit = torch.minimum if pick is torch.maximum else torch.maximum
    limit(found, frame, out=found)


@lru_cache(maxsize=64)
def disc(radius: float) -> Disc:
    """The segments and the ring that come nearest to a disc of ``radius`` pixels, at most `FARTHEST_EXPAND`."""
    if radius <= ONLY_RING:
        inside = Disc() if radius < math.sqrt(2) else Disc(straight=2, diagonal=int(radius >= math.sqrt(5)))
        return inside._replace(ring=(radius, radius, radius), around=True)
    # As many steps as a regular polygon of eight or of sixteen sides has, and a few more or less. Without a straight
    # segment, diagonal ones would leave holes.
    near = ((0.414, 0.586, 0.0), (2, 3, 0)), ((0.236, 0.229, 0.178), (2, 3, 2))
    found = []
    for shares, slack in near:
        counts = [int(share * radius) for share in shares]
        spans = [range(max(count - more, 0), count + more + 1) for count, more in zip(counts, slack, strict=True)]
        sums = [Disc(2 * half, diagonal, knight) for half, diagonal, knight in product(*spans) if half]
        found += [with_ring(radius, segments) for segments in sums]
    return min(found, key=lambda pair: pair[1])[0]


def with_ring(radius: float, segments: Disc) -> tuple[Disc, float]:
    """Add the ring that ``segments`` lack for a disc, and tell by how many pixels the sum is off at most.

    A sum of shapes reaches as far in every direction as its parts do together.
    """
    angles = np.linspace(0, math.pi / 4, 33)
    down, right = np.sin(angles), np.cos(angles)
    reached = np.sum([0.5 * count * np.abs(y * down + x * right) for (y, x), count in segments.segments], axis=0)
    shift, ring, error = 0.0, segments.ring, reached
    for _ in range(2):
        on_axis, off_axis, diagonal = (
            min(max(float(radius + shift - reached[index]), 0.0), WIDEST_RING) for index in (0, 16, 32)
        )
        ring = on_axis, off_axis, diagonal
        error = reached + np.max([x * right + y * down for x, y in ring_places(ring)], axis=0) - radius
        shift -= float(error.max() + error.min()) / 2
    return segments._replace(ring=ring), float(np.abs(error).max())


def feather(alpha: Tensor, pixels: float) -> Tensor:
    """Make edges softer: a hard edge becomes a ramp that reaches about ``pixels`` to each side.

    A Gaussian blur with a standard deviation of half of ``pixels``. Wide ones are three boxes whose ends count in part
    (Gwosdek, Grewenig, Bruhn and Weickert, Theoretical foundations of Gaussian convolution by extended box filtering,
    2011). The frame is mirrored at its border. So the sum of alpha stays, and the border is not an edge.

    Args:
        alpha: ``[T, 1, H, W]``, 0..1.
        pixels: 0 to 64. 0 returns ``alpha``.

    Returns:
        ``[T, 1, H, W]``, 0..1.

    Raises:
        InputError: If ``pixels`` is out of range.

    Example:
        >>> edge = torch.tensor([0.0, 0, 0, 1, 1, 1]).view(1, 1, 1, 6)
        >>> [f"{value:.2f}" for value in feather(edge, 2).flatten().tolist()]
        ['0.00', '0.06', '0.30', '0.70', '0.94', '1.00']
    """
    check_range("feather", pixels, 0, FARTHEST_FEATHER, "pixels")
    if pixels == 0:
        return alpha
    half, ends = box(pixels * pixels / 4 / BOXES)
    reach = BOXES * (half + 1)

    def softer(frame: Tensor) -> Tensor:
        for axis in (0, 1):
            frame = blurred(frame, axis, half, ends)
        return frame.mul_(1 + 2 * SNAP).sub_(SNAP).clamp_(0, 1)

    return each_frame(alpha, reach, softer)


def box(variance: float) -> tuple[int, float]:
    """Pixels on each side of the middle that count in full, and how much the next ones count, for this variance.

    Example:
        >>> half, ends = box(1.0)
        >>> half, round(ends, 2)
        (1, 0.17)
    """
    half = math.floor((math.sqrt(12 * variance + 1) - 1) / 2 + 1e-9)
    return half, (2 * half + 1) * (half * (half + 1) - 3 * variance) / (6 * (variance - (half + 1) ** 2))


def blurred(frame: Tensor, axis: int, half: int, ends: float) -> Tensor:
    """``[H, W]`` through `BOXES` boxes along an axis, in bands; mirrored at the border, each pixel as often as another."""
    result, length = torch.empty_like(frame), frame.shape[axis]
    places = (torch.arange(length + 2 * BOXES * (half + 1), device=frame.device) - BOXES * (half + 1)) % (2 * length)
    places = torch.minimum(places, 2 * length - 1 - places)
    for start in range(0, frame.shape[1 - axis], ROWS):
        count = min(ROWS, frame.shape[1 - axis] - start)
        band = frame.narrow(1 - axis, start, count).index_select(axis, places)
        for _ in range(BOXES):
            band = boxed(band, axis, half, ends)
        result.narrow(1 - axis, start, count).copy_(band)
    return result


def boxed(values: Tensor, axis: int, half: int, ends: float) -> Tensor:
    """Means over ``2 * half + 1`` pixels and, by ``ends``, one more at each end; ``half + 1`` shorter at both ends.

    Sums of twice as many pixels each time make a sum of any number of them in few steps, without adding up rounding.
    """
    length = values.shape[axis] - 2 * (half + 1)
    total = (values.narrow(axis, 0, length) + values.narrow(axis, 2 * (half + 1), length)).mul_(ends)
    power, size, start = values, 1, 1
    for bit in range((2 * half + 1).bit_length()):
        if bit:
            power = power.narrow(axis, 0, power.shape[axis] - size) + power.narrow(axis, size, power.shape[axis] - size)
            size *= 2
        if (2 * half + 1) >> bit & 1:
            total.add_(power.narrow(axis, start, length))
            start += size
    return total.div_(2 * half + 1 + 2 * ends)
