"""Steady the soft parts of a matte over time, along the motion of its frames.

A mean over neighbouring frames removes flicker, but it would also smear everything that moves. So mattes are moved along
the optical flow first, and a frame counts only where three things hold: it is of the same shot, its moved plate looks
like this one, and what the mattes differ by is flicker, not motion (see `chatter`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .expand import Disc, extent, over_segments
from .guided import local_mean
from .motion import flow, one_shot, read, warped

MOST_FRAMES = 4
"""How many frames before and after may count."""
SHORT_EDGE = 540
"""Motion is found on pictures with about this many pixels on their shorter side."""
SOFT = 0.02
"""Alpha from this to 1 minus this is soft."""
NEAR = 2
"""Pixels around a soft pixel that are steadied with it."""
AROUND = 24
"""Pixels around all soft pixels, on those pictures, in which motion is found."""
FINE = (0.1, 0.3, 0.5)
"""How much alpha counts beside brightness where motion is found: at the largest size, at half of it, and so on. Alpha
shows best how edges move, but at the largest size also its flicker would seem to move."""
MISMATCH = 0.1
"""Difference of sRGB colours, as a length, from which on a frame does not count: far above grain."""
PATCH = 2
"""Radius of the squares on which flicker is told from motion, in pixels."""
NOTHING = 1e-6
"""A squared difference of alpha that is too small to matter."""


def chatter(alpha: Tensor, frames: Tensor, reach: int) -> Tensor:
    """Steady soft edges: mix every frame's matte with those before and after, moved to where this frame has them.

    Flicker is independent from frame to frame, motion is not. Let ``d`` and ``e`` be the differences to the moved mattes
    of the frame before and the frame after. Flicker of this frame is in both: the mean of ``d * e`` over a small square
    is its variance. Where a matte is moved wrongly, ``d`` and ``e`` have little to do with each other, and the mean is
    about 0. A moved matte with difference ``d`` has the weight ``min(1, 2 * mean(d * e) / mean(d * d)) ** 2``: 1 where
    it differs by flicker alone. So clean mattes stay almost as they are. The other factor of the weight falls from 1 to
    0 as the difference between the moved plate and this one grows to `MISMATCH`. It is 0 for frames beyond a cut.

    Motion is found on brightness and alpha together (`motion.flow`), from frame to frame.

    Args:
        alpha: ``[T, 1, H, W]``, 0..1.
        frames: ``[T, 3, H, W]``, the plates, sRGB; values outside 0..1 are clamped.
        reach: How many frames before and after count, 0 to 4. 0 returns ``alpha``.

    Returns:
        ``[T, 1, H, W]``, 0..1. Pixels more than `NEAR` from a soft one stay as they are. A frame depends on ``reach``
        frames on each side. A frame with fewer than two frames of its shot among these stays as it is.

    Raises:
        InputError: If ``reach`` is out of range.

    Example:
        >>> chatter(torch.rand(5, 1, 32, 40), torch.rand(5, 3, 32, 40), 2).shape
        torch.Size([5, 1, 32, 40])
    """
    check_chatter(reach)
    if reach == 0:
        return alpha
    motion, result = Motion(alpha, frames), torch.empty_like(alpha)
    for index in range(len(alpha)):
        result[index, 0] = steadied(motion, index, reach)
        motion.forget(index - reach)
    return result


def check_chatter(reach: int) -> None:
    """Refuse a number of frames that `chatter` cannot use."""
    if not (isinstance(reach, int) and 0 <= reach <= MOST_FRAMES):
        raise InputError(f"chatter must be a whole number of frames, 0 to {MOST_FRAMES}, got {reach!r}")


class Motion:
    """The flow between the frames of a clip, each step from frame to frame found when it is first asked for.

    Args:
        alpha: ``[T, 1, H, W]``, 0..1.
        frames: ``[T, 3, H, W]``, sRGB.

    Attributes:
        factor: How much smaller the pictures are that motion is found on.
    """

    def __init__(self, alpha: Tensor, frames: Tensor) -> None:
        self.alpha, self.frames = alpha, frames
        self.factor = max(round(min(alpha.shape[-2:]) / SHORT_EDGE), 1)
        self.pictures: dict[int, Tensor] = {}
        self.steps: dict[tuple[int, int], Tensor | None] = {}
        self.cuts: dict[int, bool] = {}

    def picture(self, index: int) -> Tensor:
        """A frame and its alpha ``[1, 4, h, w]``, reduced."""
        if index not in self.pictures:
            whole = torch.cat([self.frames[index].clamp(0, 1), self.alpha[index]])[None]
            self.pictures[index] = F.avg_pool2d(whole, self.factor, ceil_mode=True, count_include_pad=False)
        return self.pictures[index]

    def step(self, here: int, there: int) -> Tensor | None:
        """Flow ``[1, 2, h, w]`` from a frame to one beside it, 0 far from soft pixels; None across a cut."""
        if (here, there) not in self.steps:
            cut = self.cut(min(here, there))
            self.steps[here, there] = None if cut else edge_flow(self.picture(here)[0], self.picture(there)[0])
        return self.steps[here, there]

    def cut(self, index: int) -> bool:
        """Whether the next frame is of another shot."""
        if index not in self.cuts:
            self.cuts[index] = not one_shot(*(self.picture(place)[0, :3] for place in (index, index + 1)))
        return self.cuts[index]

    def path(self, here: int, there: int) -> Tensor | None:
        """Flow ``[1, 2, h, w]`` from a frame to any other; None across a cut."""
        side = 1 if there > here else -1
        total: Tensor | None = None
        for index in range(here, there, side):
            step = self.step(index, index + side)
            if step is None:
                return None
            total = step if total is None else total + warped(step, total)
        return total

    def forget(self, index: int) -> None:
        """Drop what is kept about a frame and earlier ones."""
        self.pictures = {place: value for place, value in self.pictures.items() if place > index}
        self.steps = {pair: value for pair, value in self.steps.items() if min(pair) > index}
        self.cuts = {place: value for place, value in self.cuts.items() if place > index}


def edge_flow(here: Tensor, there: Tensor) -> Tensor:
    """Flow ``[1, 2, h, w]`` between two pictures with alpha ``[4, h, w]``, around their soft pixels; 0 elsewhere."""
    found = here.new_zeros(1, 2, *here.shape[-2:])
    span = extent(soft(here[3]) | soft(there[3]), AROUND)
    if span is not None:
        parts = [picture[(slice(None), *span)] for picture in (here, there)]
        one, other = (torch.stack([part[:3].mean(dim=0), part[3]]) for part in parts)
        found[(0, slice(None), *span)] = flow(one, other, [here.new_tensor([1, share]) for share in FINE])
    return found


def soft(alpha: Tensor) -> Tensor:
    """Which pixels are soft."""
    return (alpha > SOFT) & (alpha < 1 - SOFT)


def steadied(motion: Motion, index: int, reach: int) -> Tensor:
    """One frame's matte ``[H, W]``, steadied; see `chatter`."""
    matte = motion.alpha[index, 0]
    near = over_segments(soft(matte).to(matte.dtype), Disc(straight=2 * NEAR), 0, torch.maximum) > 0
    span = extent(near, 2 * PATCH)
    others = [other for other in range(index - reach, index + reach + 1) if 0 <= other < len(motion.alpha)]
    paths = {other: motion.path(index, other) for other in others if other != index} if span else {}
    within = {other: path for other, path in paths.items() if path is not None}
    if span is None or len(within) < 2:
        return matte
    spots = near.flatten().nonzero()[:, 0]
    here = matte.flatten()[spots]
    moved = {other: carried(motion, index, other, path, spots) for other, path in within.items()}
    pair = [moved[other] for other in sorted(moved, key=lambda other: abs(other - index))[:2]]
    both = pair[0][1] * pair[1][1]
    patch = Patches(near, span)
    flicker = 2 * patch.mean(both * (pair[0][0] - here) * (pair[1][0] - here)).clamp(min=0)
    total, weight = here.clone(), torch.ones_like(here)
    for level, trust in moved.values():
        share = trust * (flicker / (patch.mean(both * (level - here).square()) + NOTHING)).clamp(max=1).square()
        total += share * level
        weight += share
    result = matte.flatten().clone()
    result[spots] = total / weight
    return result.view(matte.shape)


class Patches:
    """Means over small squares around the pixels of a mask.

    Args:
        mask: ``[H, W]`` bool.
        span: Rows and columns that hold all of it, and those squares.
    """

    def __init__(self, mask: Tensor, span: tuple[slice, slice]) -> None:
        self.mask = mask[span]

    def mean(self, values: Tensor) -> Tensor:
        """The means ``[N]`` of values ``[N]`` at the mask's pixels, row by row, and 0 elsewhere."""
        picture = torch.zeros(self.mask.shape, dtype=values.dtype, device=values.device)
        picture[self.mask] = values
        return local_mean(picture[None, None], PATCH)[0, 0][self.mask]


def carried(motion: Motion, index: int, other: int, path: Tensor, spots: Tensor) -> tuple[Tensor, Tensor]:
    """Another frame's matte, moved to where this frame has it.

    Args:
        motion: The clip's.
        index: This frame.
        other: The other frame.
        path: The flow from this to the other.
        spots: Indices ``[N]`` of the pixels wanted, counted row by row.

    Returns:
        Alpha ``[N]``, and how well the moved plate looks like this one, ``[N]``, 0..1; 0 for what was out of the frame.
    """
    here, there = motion.picture(index)[:, :3], motion.picture(other)[:, :3]
    apart = local_mean(warped(there, path) - here, 1).square().sum(dim=1, keepdim=True)
    trust = (1 - local_mean(apart, PATCH) / MISMATCH**2).clamp(min=0).square()
    height, width = motion.alpha.shape[-2:]
    places = torch.stack([spots.div(width, rounding_mode="floor"), spots % width]).to(path.dtype)[None, :, None]
    found = read(torch.cat([path, trust], dim=1), (places + 0.5) / motion.factor - 0.5)
    places = places + motion.factor * found[:, :2]
    ends = places.new_tensor([height - 1, width - 1]).view(1, 2, 1, 1)
    inside = ((places >= 0) & (places <= ends)).all(dim=1)[0, 0]
    return read(motion.alpha[other][None], places)[0, 0, 0], found[0, 2, 0] * inside
