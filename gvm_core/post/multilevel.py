"""Multi-level estimation of one frame's colours: what `foreground` is built on.

From coarse to fine, each square of pixels gets the colours of subject and background that explain its pixels best.
`foreground` says where this comes from, and what is different here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

SURE = 1 / 1024
"""Where alpha is this near to 0 or 1, a step of 10 bits, nothing has to be estimated. Mattes of networks have such
values nearly everywhere."""
TINY = 1e-12
"""Keeps a division by 0 from giving what is no number, where its result is not used."""
WIDE = 4
"""Of the limits, the level whose largest alphas widen the limits of colours: its squares of 3x3 are 192 pixels wide."""
WIDEST = 4.0
"""Limits are widened by at most this many times the plate's range: a difference of alpha of 0.25 says enough."""
PIXELS_AT_ONCE = 2**17
"""Pixels that are computed at once. Small pieces stay in the processor's cache, and memory does not grow with the
number of soft pixels."""


def estimate(plate: Tensor, alpha: Tensor, weight: float, into: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write the subject's colours of one frame ``into`` ``[3, H, W]``.

    Args:
        plate: ``[3, H, W]``; ``H`` and ``W`` are multiples of 4.
        alpha: ``[1, H, W]``, 0..1.
        weight: How much the surroundings count. A pixel counts with the square of its alpha.
        into: Where to write.

    Returns:
        Places in the flat frame, ``[N]``, that include all soft pixels. The means of its 2x2 pixels, and the range of
        colours in the whole frame; see `pyramid`.
    """
    known = plate
    means, limits = pyramid(plate, alpha)
    if not means[-1].isfinite().all():  # there are infinities, or values that are no numbers
        finite = plate.nan_to_num(0.0, 0.0, 0.0)
        known, alpha = plate.nan_to_num(0.0, float(finite.amax()), float(finite.amin())), alpha.nan_to_num(0.0)
        means, limits = pyramid(known, alpha)
    colours = canvas = coarsest(means[-1])
    for level in range(len(means) - 1, -1, -1):
        last = means[level]
        colours, canvas = canvas, doubled(canvas, last) if level else room(6, *last.shape[1:], device=plate.device)
        cells = Cells.of(spread(mixed(last, level), torch.logical_or))
        refine(canvas, cells, means, limits, level, colours, weight)
    extend(colours[:3], known, alpha, into)
    places = finish(canvas, mixed(means[0], 0), known, alpha, limits[1], weight, into)
    if known is not plate:
        into.copy_(torch.where(alpha >= 1, plate, into))
    return places, means[0], limits[-1]


def pyramid(plate: Tensor, alpha: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Means over ever larger squares of pixels, and the range of colours around each.

    Args:
        plate: ``[3, H, W]``; ``H`` and ``W`` are multiples of 4.
        alpha: ``[1, H, W]``, 0..1.

    Returns:
        For each level, from squares of 2x2 pixels to at most 2x2 squares: means of alpha, colour, alpha squared, and
        colour times alpha, ``[8, h, w]``. And for each level but the first, limits of the subject's colours: the
        smallest ones and the negated largest ones, ``[6, h, w]``. See `widened`.
    """
    height, width = alpha.shape[-2:]
    first = room(8, height // 2, width // 2, device=plate.device)
    rows = max(PIXELS_AT_ONCE // width // 4 * 4, 4)
    second, ranges = [], []
    for top in range(0, height, rows):
        colour, share = plate[:, top : top + rows], alpha[:, top : top + rows].clamp(0, 1)
        part = first[:, top // 2 : (top + rows) // 2]
        for values, sums in zip((share, colour, share * share, share * colour), part.split((1, 3, 1, 3)), strict=True):
            pairs = values[:, ::2] + values[:, 1::2]
            torch.add(pairs[..., ::2], pairs[..., 1::2], out=sums)
        second.append(halved(part.mul_(0.25), torch.add))
        ranges.append(torch.cat([halved(part[:4], torch.minimum), -halved(part[:4], torch.maximum)]))
    means, limits = [first, torch.cat(second, dim=1).mul_(0.25)], [torch.cat(ranges, dim=1)]  # no limits of the first
    while max(means[-1].shape[-2:]) > 2:
        means.append(halved(means[-1], torch.add).mul_(0.25))
        limits.append(halved(limits[-1], torch.minimum))
    limits = [spread(each, torch.minimum) for each in limits]
    steps = [max(min(WIDE, len(limits) - 1) - level, 0) for level in range(len(limits))]
    wide = [widened(limits[level], limits[level + step], step) for level, step in enumerate(steps)]
    return means, [first[:6, :0], *wide]


def widened(limits: Tensor, around: Tensor, step: int) -> Tensor:
    """Limits of the subject's colours ``[6, h, w]``.

    They are the limits of alpha and colour ``[8, h, w]``, of means of 2x2 pixels in 3x3 squares, but for the following.
    Where alpha is never 1, the plate does not show the subject's colours. They lie beyond its range, in proportion to
    what alpha leaves out: ``(1 - most) / (most - least)`` times the range. That is smoke, which would turn grey. The
    limits of alpha are those ``around``, ``step`` levels up: near something opaque, the plate shows the subject.
    """
    least, most, share, opaque = limits[1:4], -limits[5:], around[:1], -around[4:5]
    place = [torch.arange(size, device=limits.device) >> step for size in limits.shape[1:]]
    beyond = torch.maximum(1 - opaque, share) / (opaque - share).clamp(min=1 / WIDEST)
    extra = (most - least) * beyond.index_select(1, place[0]).index_select(2, place[1])
    return torch.cat([torch.maximum(least - extra, least.clamp(max=0)), -(most + extra)])


def room(*shape: int, device: torch.device) -> Tensor:
    """``torch.empty`` for float32. NumPy asks the system for large pages of memory, which come much faster."""
    if device.type == "cpu":
        return torch.from_numpy(numpy.empty(shape, numpy.float32))
    return torch.empty(shape, device=device)


def halved(values: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Join each 2x2 values of ``[C, h, w]``; an odd last row or column is repeated.

    Example:
        >>> halved(torch.tensor([[[1.0, 5.0, 2.0]]]), torch.maximum).tolist()
        [[[5.0, 2.0]]]
    """
    height, width = values.shape[-2:]
    if height % 2 or width % 2:
        values = F.pad(values[None], (0, width % 2, 0, height % 2), mode="replicate")[0]
    rows = join(values[:, ::2], values[:, 1::2])
    return join(rows[..., ::2], rows[..., 1::2])


def spread(values: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Join the 3x3 values around each of ``[..., h, w]``, as far as there are any.

    Example:
        >>> spread(torch.tensor([[1, 0, 0, 0, 2]]), torch.maximum).tolist()
        [[1, 1, 0, 2, 2]]
    """
    for axis in (-2, -1):
        length = values.shape[axis] - 1
        joined = values.clone()
        for here, there in ((1, 0), (0, 1)):
            part = joined.narrow(axis, here, length)
            part.copy_(join(part, values.narrow(axis, there, length)))
        values = joined
    return values


def coarsest(means: Tensor) -> Tensor:
    """Mean colours of subject and background ``[6, 1, 1]``. If there is none of one, the plate's mean."""
    share, colour, _, shared = means.mean(dim=(1, 2), keepdim=True).split((1, 3, 1, 3))
    subject = torch.where(share > 0, shared / share.clamp(min=TINY), colour)
    background = torch.where(share < 1, (colour - shared) / (1 - share).clamp(min=TINY), colour)
    return torch.cat([subject, background])


def doubled(colours: Tensor, like: Tensor) -> Tensor:
    """``[6, h, w]`` at twice the size, bilinear, cropped to that of ``like``."""
    height, width = like.shape[-2:]
    return F.interpolate(colours[None], scale_factor=2, mode="bilinear")[0, :, :height, :width].contiguous()


def mixed(means: Tensor, level: int) -> Tensor:
    """Which squares of a level ``[8, h, w]`` hold soft pixels, or pixels of both kinds: ``[h, w]``."""
    sure = SURE / 4**level  # one square of the level below is mixed, the others may be empty
    return (means[0] > sure) & (means[0] < 1 - sure)


@dataclass(frozen=True)
class Cells:
    """Some squares of a level.

    Attributes:
        on: Which ones, or more of them, ``[h, w]``.
        y: Row of each, ``[N]``.
        x: Column of each, ``[N]``.
    """

    on: Tensor
    y: Tensor
    x: Tensor

    @classmethod
    def of(cls, on: Tensor) -> Cells:
        """Those where ``on`` is true."""
        return cls(on, *on.nonzero().int().unbind(1))

    def parts(self) -> Iterator[Cells]:
        """Some of them after the other, as many as are computed at once."""
        size = PIXELS_AT_ONCE // 2
        for y, x in zip(self.y.split(size), self.x.split(size), strict=True):
            yield Cells(self.on, y, x)

    def places(self, down: int = 0, right: int = 0) -> Tensor:
        """Place in the flat level of each, or of the one ``down`` and ``right`` of it; its own if that is not on."""
        height, width = self.on.shape
        own = self.y * width + self.x
        if not down and not right:
            return own
        y = (self.y + down).clamp_(0, height - 1) if down else self.y
        x = (self.x + right).clamp_(0, width - 1) if right else self.x
        beside = y * width + x
        return (beside - own).mul_(self.on.flatten().index_select(0, beside)).add_(own)


def refine(
    canvas: Tensor, cells: Cells, means: list[Tensor], limits: list[Tensor], level: int, coarse: Tensor, weight: float
) -> None:
    """Find the colours of some squares of a level: near those of the coarser level, then near those of their neighbours.

    Args:
        canvas: Where to write: colours of subject and background at this level, ``[6, h, w]``.
        cells: Which squares.
        means: As `pyramid` gives them.
        limits: Likewise.
        level: Which of them.
        coarse: Colours at the next level.
        weight: As in `estimate`.
    """
    far = min(level + 2, len(means) - 1)
    known, ranges, flat = means[level].flatten(1), limits[far].flatten(1), canvas.flatten(1)

    def solve(some: Cells, prior: Tensor) -> Tensor:
        wider = (some.y >> (far - level)) * limits[far].shape[-1] + (some.x >> (far - level))
        return solved(known.index_select(1, some.places()), prior, ranges.index_select(1, wider), weight)

    for some in cells.parts():
        flat.index_copy_(1, some.places().long(), solve(some, between(coarse, some.y, some.x)))
    again = [flat[:, :0]]
    for some in cells.parts():
        total = 2 * flat.index_select(1, some.places())
        for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            total += flat.index_select(1, some.places(down, right))
        again.append(solve(some, total.mul_(1 / 6)))
    flat.index_copy_(1, cells.places().long(), torch.cat(again, dim=1))


def between(coarse: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Values ``[C, N]`` at rows ``y`` and columns ``x`` of a level, from the next ``[C, h, w]``, bilinear."""
    height, width = coarse.shape[-2:]
    flat, row, column = coarse.flatten(1), y >> 1, x >> 1
    other_row = (row - 1 + 2 * (y & 1)).clamp_(0, height - 1)
    other_column = (column - 1 + 2 * (x & 1)).clamp_(0, width - 1)
    own, below, beside, across = (
        flat.index_select(1, rows * width + columns)
        for rows, columns in ((row, column), (other_row, column), (row, other_column), (other_row, other_column))
    )
    return bilinear(own, below, beside, across)


def bilinear(own: Tensor, below: Tensor, beside: Tensor, across: Tensor) -> Tensor:
    """Value a quarter of a square away from its centre, both ways, from it and the three squares on that side."""
    return (below + beside).mul_(0.1875).add_(own, alpha=0.5625).add_(across, alpha=0.0625)


def solved(means: Tensor, prior: Tensor, limits: Tensor, weight: float) -> Tensor:
    """Colours of subject and background that explain the pixels in each square, and stay near a ``prior``.

    For each square it minimises the mean of ``(F * a + B * (1 - a) - I)**2`` over its pixels, plus ``weight`` times
    the squared distances of ``F`` and ``B`` from the prior. This is a 2x2 system.

    Args:
        means: ``[8, N]``, as `pyramid` gives them.
        prior: ``[6, N]``.
        limits: ``[6, N]``, likewise.
        weight: Of the prior.

    Returns:
        ``[6, N]``.
    """
    share, colour, square, shared = means.split((1, 3, 1, 3))
    subject, background = prior.split(3)
    cross = share - square
    rest = 1 - share - cross
    inverse = 1 / ((square + weight) * (rest + weight) - cross * cross)
    one = shared - square * subject - cross * background
    other = colour - shared - cross * subject - rest * background
    cross *= inverse
    change = [(rest + weight) * inverse * one - cross * other, (square + weight) * inverse * other - cross * one]
    return limited(prior.view(2, 3, -1), torch.stack(change), limits[:3], -limits[3:]).view(6, -1)


def limited(colour: Tensor, change: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """``colour + change``, with the change shortened so that no channel leaves its range. So hues stay.

    A range always includes the colour itself. Arguments are ``[..., 3, N]``.

    Example:
        >>> grey, orange = torch.full((3, 1), 0.5), torch.tensor([[0.8], [0.4], [0.0]])
        >>> limited(grey, orange, torch.zeros(3, 1), torch.ones(3, 1)).flatten().tolist()
        [1.0, 0.75, 0.5]
    """
    inverse = change.reciprocal()
    ahead = torch.maximum((most - colour).mul_(inverse), (least - colour).mul_(inverse))  # one end or the other
    share = ahead.nan_to_num_(1.0).amin(dim=-2, keepdim=True).clamp_(0, 1)
    return torch.addcmul(colour, change, share)


def extend(colours: Tensor, plate: Tensor, alpha: Tensor, into: Tensor) -> None:
    """Write the plate where alpha is nearly 1, and where it is nearly 0 the subject's ``colours`` ``[3, H/4, W/4]``."""
    plate, alpha, into = (each.unflatten(1, (-1, 4)) for each in (plate, alpha, into))  # [C, H/4, 4, W]
    rows = max(PIXELS_AT_ONCE // alpha.shape[-1] // 4, 1)
    for top in range(0, colours.shape[1], rows):
        part = slice(top, top + rows)
        wide = F.interpolate(colours[None, :, part], scale_factor=(1, 4))[0, :, :, None]  # [3, h, 1, W]
        choose(alpha[:, part] > 0.5, plate[:, part], wide, into[:, part])


def choose(mask: Tensor, one: Tensor, other: Tensor, into: Tensor) -> None:
    """``torch.where`` for float32, bit by bit: ten times as fast on processors if the mask is irregular."""
    bits = torch.bitwise_xor(one.view(torch.int32), other.view(torch.int32), out=into.view(torch.int32))
    bits &= mask.int().neg_()
    bits ^= other.view(torch.int32)


def finish(
    canvas: Tensor, inside: Tensor, plate: Tensor, alpha: Tensor, limits: Tensor, weight: float, into: Tensor
) -> Tensor:
    """Find the colours of the pixels in squares of 2x2, and write the subject's ``into`` ``[3, H, W]``.

    The background's colour is as the squares have it: a single pixel cannot tell more.

    Args:
        canvas: Colours of the squares, ``[6, h, w]``, where `refine` has found them.
        inside: Which squares, ``[h, w]``.
        plate: As in `estimate`.
        alpha: Likewise.
        limits: Of the second level; see `pyramid`.
        weight: As in `estimate`.
        into: Likewise.

    Returns:
        Their places in the flat frame.
    """
    width = plate.shape[-1]
    level, flat, shares = canvas.flatten(1), plate.flatten(1), alpha.flatten()
    cells = Cells(spread(inside, torch.logical_or), *inside.nonzero().int().unbind(1))
    places = [cells.y.new_empty(0)]
    for some in cells.parts():
        near = {(v, h): level.index_select(1, some.places(v, h)) for v in (-1, 0, 1) for h in (-1, 0, 1)}
        wider = (some.y >> 1) * (width // 4) + (some.x >> 1)
        least, most = limits.flatten(1).index_select(1, wider).split(3)
        most = -most
        for v, h in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            places.append((2 * some.y + (v > 0)) * width + 2 * some.x + (h > 0))
            own, share = flat.index_select(1, places[-1]), shares.index_select(0, places[-1]).clamp_(0, 1)
            subject, background = bilinear(near[0, 0], near[v, 0], near[0, h], near[v, h]).split(3)
            gap = own - share * subject - (1 - share) * background
            change = gap * (share / (share.square() + (1 - share).square() + weight))
            colour = limited(subject, change, torch.minimum(least, own), torch.maximum(most, own))
            choose(share >= 1, own, colour, gap)
            into.flatten(1).index_copy_(1, places[-1].long(), gap)
    return torch.cat(places)
