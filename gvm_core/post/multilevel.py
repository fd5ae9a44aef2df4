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
WIDE = 3
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
    means, limits, inside = pyramid(plate, alpha)
    if not means[-1].isfinite().all():  # there are infinities, or values that are no numbers
        finite = plate.nan_to_num(0.0, 0.0, 0.0)
        known, alpha = plate.nan_to_num(0.0, float(finite.amax()), float(finite.amin())), alpha.nan_to_num(0.0)
        means, limits, inside = pyramid(known, alpha)
    colours = coarsest(means[-1])
    for level in range(len(means) - 1, 0, -1):
        own, far = means[level], min(level, len(limits) - 1)
        coarse, colours = colours, doubled(colours, own)
        refine(colours, coarse, mixed(own, level), own, limits[far], far + 2 - level, weight)
    extend(colours[:3], known, alpha, into)
    squares = room(6, *inside.shape, device=plate.device)
    refine(squares, colours, inside, means[0], limits[0], 2, weight)
    places = finish(squares, inside, known, alpha, limits[0], weight, into)
    if known is not plate:
        into.copy_(torch.where(alpha >= 1, plate, into))
    return places, means[0], limits[-1]


def pyramid(plate: Tensor, alpha: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Means over ever larger squares of pixels, and the range of colours around each.

    Args:
        plate: ``[3, H, W]``; ``H`` and ``W`` are multiples of 4.
        alpha: ``[1, H, W]``, 0..1.

    Returns:
        For each level, from squares of 2x2 pixels to at most 2x2 squares: means of alpha, colour, alpha squared, and
        colour times alpha, ``[8, h, w]``. And for each level but the first two, limits of the subject's colours: the
        smallest ones and the negated largest ones, ``[6, h, w]``. See `widened`. And which squares of the first level
        are mixed, ``[h, w]``.
    """
    height, width = alpha.shape[-2:]
    first = room(8, height // 2, width // 2, device=plate.device)
    rows, ranges = max(PIXELS_AT_ONCE // width // 4 * 4, 4), []
    for top in range(0, height, rows):
        part = first[:, top // 2 : (top + rows) // 2]
        shown = alpha[:, top : top + rows].clamp(0, 1), plate[:, top : top + rows]
        for values, sums in zip(shown, part[:4].split((1, 3)), strict=True):
            pairs = values[:, ::2] + values[:, 1::2]
            torch.add(pairs[..., ::2], pairs[..., 1::2], out=sums)
        torch.mul(part[:1], part[:4].mul_(0.25), out=part[4:])
        ranges.append(torch.cat([halved(part[:4], torch.minimum), -halved(part[:4], torch.maximum)]))
    inside = mixed(first, 0)
    weigh(first, inside, plate, alpha)
    means, limits = [first, halved(first, torch.add).mul_(0.25)], [halved(torch.cat(ranges, dim=1), torch.minimum)]
    while max(means[-1].shape[-2:]) > 2:
        means.append(halved(means[-1], torch.add).mul_(0.25))
        limits.append(halved(limits[-1], torch.minimum))
    limits = [spread(each, torch.minimum) for each in limits[: max(len(means) - 2, 1)]]
    steps = [max(min(WIDE, len(limits) - 1) - level, 0) for level in range(len(limits))]
    return means, [widened(limits[level], limits[level + step], step) for level, step in enumerate(steps)], inside


def weigh(means: Tensor, inside: Tensor, plate: Tensor, alpha: Tensor) -> None:
    """Correct means of alpha squared, and of colour times alpha, in squares of 2x2 pixels whose alphas differ.

    Args:
        means: ``[8, h, w]``, of alpha, colour, alpha squared, and colour times alpha. The last four are as if alpha
            were the same in all pixels of a square.
        inside: Which squares, ``[h, w]``.
        plate: ``[3, H, W]``.
        alpha: ``[1, H, W]``.
    """
    width, flat, shares = plate.shape[-1], plate.flatten(1), alpha.flatten()
    cells = Cells.of(inside)
    for some in cells.parts():
        corner = 2 * some.y * width + 2 * some.x
        total = means.new_zeros(4, len(corner))
        for place in (corner, corner + 1, corner + width, corner + width + 1):
            share = taken(shares, place).clamp_(0, 1)
            total[:1] += share * share
            total[1:] += share * taken(flat, place)
        put(means[4:].flatten(1), some.places(), total.mul_(0.25))


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


def taken(values: Tensor, places: Tensor) -> Tensor:
    """``values[..., places]`` for ``[..., M]``; ``gather`` takes the time of half an ``index_select``."""
    return values.gather(-1, places.expand(*values.shape[:-1], -1))


def put(values: Tensor, places: Tensor, new: Tensor) -> None:
    """``values[..., places] = new``, likewise."""
    values.scatter_(-1, places.expand(*values.shape[:-1], -1), new)


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
        shape: Height and width of the level.
        y: Row of each, ``[N]``.
        x: Column of each, ``[N]``.
    """

    shape: tuple[int, int]
    y: Tensor
    x: Tensor

    @classmethod
    def of(cls, on: Tensor) -> Cells:
        """Those where ``on`` ``[h, w]`` is true."""
        return cls((on.shape[0], on.shape[1]), *on.nonzero().unbind(1))

    def parts(self) -> Iterator[Cells]:
        """Some of them after the other, as many as are computed at once."""
        size = PIXELS_AT_ONCE // 2
        for y, x in zip(self.y.split(size), self.x.split(size), strict=True):
            yield Cells(self.shape, y, x)

    def places(self, down: int = 0, right: int = 0) -> Tensor:
        """Place in the flat level of each, or of the one ``down`` and ``right`` of it, if there is one."""
        height, width = self.shape
        y = (self.y + down).clamp_(0, height - 1) if down else self.y
        x = (self.x + right).clamp_(0, width - 1) if right else self.x
        return y * width + x

    def within(self, wide: Tensor, shift: int) -> Tensor:
        """Values for each from those of larger squares ``[C, h, w]``, ``shift`` levels up."""
        return taken(wide.flatten(1), (self.y >> shift) * wide.shape[-1] + (self.x >> shift))


def refine(
    canvas: Tensor, coarse: Tensor, inside: Tensor, means: Tensor, limits: Tensor, shift: int, weight: float
) -> None:
    """Find the colours of a level near those of the coarser one; where squares are mixed, again near their neighbours'.

    Args:
        canvas: Where to write: colours of subject and background ``[6, h, w]``, in and around mixed squares.
        coarse: Colours at the next level.
        inside: Which squares are mixed, ``[h, w]``.
        means: Of this level; see `pyramid`.
        limits: Of a coarser one; likewise.
        shift: How many levels coarser.
        weight: As in `estimate`.
    """
    flat, known = canvas.flatten(1), means.flatten(1)

    def solve(some: Cells, near: Tensor) -> Tensor:
        return solved(taken(known, some.places()), near, some.within(limits, shift), weight)

    for some in Cells.of(spread(inside, torch.logical_or)).parts():
        put(flat, some.places(), solve(some, between(coarse, some)))
    cells, again = Cells.of(inside), [flat[:, :0]]
    for some in cells.parts():
        total = 2 * taken(flat, some.places())
        for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            total += taken(flat, some.places(down, right))
        again.append(solve(some, total.mul_(1 / 6)))
    put(flat, cells.places(), torch.cat(again, dim=1))


def between(coarse: Tensor, cells: Cells) -> Tensor:
    """Values ``[C, N]`` for squares of a level, from the next one ``[C, h, w]``, bilinear."""
    height, width = coarse.shape[-2:]
    y, x = cells.y, cells.x
    flat, row, column = coarse.flatten(1), y >> 1, x >> 1
    other_row = (row - 1 + 2 * (y & 1)).clamp_(0, height - 1)
    other_column = (column - 1 + 2 * (x & 1)).clamp_(0, width - 1)
    own, below, beside, across = (
        taken(flat, rows * width + columns)
        for rows, columns in ((row, column), (other_row, column), (row, other_column), (other_row, other_column))
    )
    return own.lerp_(below, 0.25).lerp_(beside.lerp_(across, 0.25), 0.25)


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
    one = torch.addcmul(shared, square, subject, value=-1).addcmul_(cross, background, value=-1)
    other = (colour - shared).addcmul_(cross, subject, value=-1).addcmul_(rest, background, value=-1)
    cross *= inverse
    change = prior.new_empty(2, 3, prior.shape[1])
    torch.mul((rest + weight).mul_(inverse), one, out=change[0]).addcmul_(cross, other, value=-1)
    torch.mul((square + weight).mul_(inverse), other, out=change[1]).addcmul_(cross, one, value=-1)
    return limited(prior.view(2, 3, -1), change, limits[:3], -limits[3:]).view(6, -1)


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
        sure = alpha[:, part].round().clamp_(0, 1)
        torch.lerp(wide, plate[:, part], sure, out=into[:, part])  # exact for 0 and 1, and quicker than `where`


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
        limits: Of the third level; see `pyramid`.
        weight: As in `estimate`.
        into: Likewise.

    Returns:
        Their places in the flat frame.
    """
    width = plate.shape[-1]
    level, flat, shares = canvas.flatten(1), plate.flatten(1), alpha.flatten()
    cells = Cells.of(inside)
    places = [cells.y[:0]]
    for some in cells.parts():
        near = {v: [taken(level, some.places(v, h)) for h in (-1, 0, 1)] for v in (-1, 0, 1)}
        least, most = some.within(limits, 2).split(3)
        most = -most
        for v in (-1, 1):
            left, middle, right = (torch.lerp(one, other, 0.25) for one, other in zip(near[0], near[v], strict=True))
            for h, beside in ((0, left), (1, right)):
                places.append((2 * some.y + (v > 0)) * width + 2 * some.x + h)
                own, share = taken(flat, places[-1]), taken(shares, places[-1]).clamp_(0, 1)
                subject, background = torch.lerp(middle, beside, 0.25).split(3)
                gap = own - torch.lerp(background, subject, share)
                change = gap.mul_(share / (share.square() + (1 - share).square() + weight))
                colour = limited(subject, change, torch.minimum(least, own), torch.maximum(most, own))
                put(into.flatten(1), places[-1], colour.lerp_(own, (share >= 1).float()))
    return torch.cat(places)
