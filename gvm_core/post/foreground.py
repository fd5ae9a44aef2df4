"""The subject's own colours, without the old background: multi-level estimation, steady over time.

Where a pixel is half hair and half wall, the plate shows both: ``I = F * a + B * (1 - a)``. This module finds ``F``. It
works from coarse to fine, as Germer, Uelwer, Conrad and Harmeling do (Fast Multi-Level Foreground Estimation, 2020),
with three differences. A coarse square does not stand for one of its pixels, it fits all of them: their alphas differ,
and that tells subject and background apart. The full size is computed only where the matte is soft, a few percent of
most frames. And a colour never leaves the range that the plate has around it. Instead of many iterations, a level is
solved, mixed with its neighbours and solved again, as in blur fusion (Forte and Pitié, Approximate Fast Foreground
Colour Estimation, 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .guided import local_mean

Screen = Literal["off", "green", "blue", "auto"]
Limit = Literal["average", "double average", "maximum"]
SCREENS = ("off", "green", "blue", "auto")
LIMITS = ("average", "double average", "maximum")
FARTHEST = 4
"""The largest `ForegroundSettings.margin`."""
DEEPEST = 64
"""The largest `ForegroundSettings.reach`: erosion over 65 x 65 pixels."""

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
MIDDLE = 0.789
"""Median of a sum of three squared normal numbers, over its mean."""
ALIKE = 1e-3
"""Squared difference of colour between two frames, summed over channels, beyond what noise explains, at which one
frame's weight in the other's colours is 1/e. It is 0.018 a channel: finer motion is not seen, and hardly matters."""
SLACK = 1.5
"""Differences up to this many times the expected noise are noise."""
NOISIEST = 0.05
"""Noise is never taken to be stronger than this standard deviation of a pixel. More could be a texture that moves."""
SAME_ALPHA = 0.25
"""Difference of alpha at which a neighbouring frame's weight is 1/e. The plate may stand still while the matte errs."""


@dataclass(frozen=True, kw_only=True)
class ForegroundSettings:
    """How the subject's colour is found, and how spill of a screen is removed from it (`despill`).

    Attributes:
        margin: Number of frames before and after a frame that its soft colours depend on, where they look alike. 1
            leaves a third of the flicker on a still subject, 2 a fifth: the second frame brings less and has to be
            computed too. 0 works frame by frame.
        gain_floor: Where alpha is below this, a pixel says little about the subject's colour, which then comes from
            the surroundings. Noise and errors of the matte are amplified by at most ``1 / (2 * gain_floor)``. On drawn
            clips 0.1 has the least error; 0.15 has hardly more, and much less grain where the matte is not exact.
        screen: The colour whose spill `despill` removes. ``"auto"`` must be decided once for a clip, with `screen_of`.
            ``"off"`` by default: what is opaque stays as it was filmed unless somebody asks.
        limit: What the screen's channel may not exceed: the average of the other two channels, their double average,
            or the larger of them. The average is the usual first choice; the others take less.
        strength: Share of the spill that is removed, 0..1. At 1 the limit holds.
        keep_brightness: Whether to give back the removed light as grey. By default it is not: the known formulas darken
            spilled edges, and compositors put light of the new background there.
        reach: How far despill reaches from soft edges into the subject, in pixels, if it is given alpha. Light that
            wraps around an edge is a few pixels wide in HD; 16 leave room to fade out.

    Raises:
        InputError: If a value is out of range.

    Example:
        >>> ForegroundSettings(screen="green", margin=0).limit
        'average'
    """

    margin: int = 1
    gain_floor: float = 0.15
    screen: Screen = "off"
    limit: Limit = "average"
    strength: float = 1.0
    keep_brightness: bool = False
    reach: int = 16

    def __post_init__(self) -> None:
        for name, most in (("margin", FARTHEST), ("reach", DEEPEST)):
            value = getattr(self, name)
            if not (isinstance(value, int) and 0 <= value <= most):
                raise InputError(f"{name} must be a whole number from 0 to {most}, got {value!r}")
        for name, least in (("gain_floor", 0.01), ("strength", 0.0)):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and least <= value <= 1):
                raise InputError(f"{name} must be a number from {least:g} to 1, got {value!r}")
        for name, allowed in (("screen", SCREENS), ("limit", LIMITS), ("keep_brightness", (False, True))):
            value = getattr(self, name)
            if value not in allowed:
                words = ", ".join(repr(each) for each in allowed[:-1])
                raise InputError(f"{name} must be {words} or {allowed[-1]!r}, got {value!r}")


@torch.no_grad()
def estimate_foreground(frames: Tensor, alpha: Tensor, settings: ForegroundSettings | None = None) -> Tensor:
    """The subject's own colours, without the old background.

    Where alpha is 1 they are the plate's, bit by bit. Where alpha is 0 they are the nearest colours of the subject,
    extended over the frame: a filter that reaches over the edge, as in every change of size, then finds the subject's
    colours there. The plate in their place would bring the old background back. A frame without a subject is filled
    with the mean of its plate.

    Args:
        frames: The plate, ``[T, 3, H, W]``, any light, any range. Values above 1 and below 0 survive.
        alpha: ``[T, 1, H, W]``, 0..1, 1 = subject. It is not changed.
        settings: Only `margin` and `gain_floor` are used. ``None`` takes the defaults.

    Returns:
        Foreground ``[T, 3, H, W]``, straight (not premultiplied), in the plate's light and dtype, computed in float32. A
        frame depends only on itself and on `margin` frames before and after it.

    Raises:
        InputError: If the shapes do not fit, or values are not floating-point numbers.

    Example:
        >>> alpha = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
        >>> plate = (0.8 * alpha + 0.2 * (1 - alpha)).expand(-1, 3, -1, -1)  # light grey before dark grey
        >>> bool((estimate_foreground(plate, alpha) - 0.8).abs().max() < 0.03)
        True
    """
    settings = settings or ForegroundSettings()
    check(frames, alpha)
    if frames.numel() == 0:
        return frames.clone()
    height, width = frames.shape[2:]
    plates, shares = frames.float(), alpha.float()
    missing = (0, -width % 4, 0, -height % 4)
    if any(missing):
        plates, shares = (F.pad(each, missing, mode="replicate") for each in (plates, shares))
    colour, margin = room(*plates.shape, device=frames.device), min(settings.margin, len(frames) - 1)
    found: list[Found] = []
    for plate, share, into in zip(plates, shares, colour, strict=True):
        places, means, limits = estimate(plate.contiguous(), share.contiguous(), settings.gain_floor**2, into)
        if margin:
            small = compressed(means[1:4], limits)
            found.append(Found(share[0], places, small, noise(small)))
    if margin:
        steady(found, colour, margin)
    colour = colour[..., :height, :width].contiguous()
    return colour if frames.dtype == colour.dtype else torch.where(alpha >= 1, frames, colour.to(frames.dtype))


def check(frames: Tensor, alpha: Tensor) -> None:
    """Raise InputError unless frames ``[T, 3, H, W]`` and alpha ``[T, 1, H, W]`` fit each other."""
    if frames.ndim != 4 or frames.shape[1] != 3 or alpha.shape != (len(frames), 1, *frames.shape[2:]):
        raise InputError(
            f"colours must be [T, 3, H, W] and alpha [T, 1, H, W], with as many frames of the same size, "
            f"got {list(frames.shape)} and {list(alpha.shape)}"
        )
    if not frames.is_floating_point() or not alpha.is_floating_point():
        raise InputError(f"colours and alpha must be floating-point numbers, got {frames.dtype} and {alpha.dtype}")


# One frame


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


# Several frames


class Found(NamedTuple):
    """What is kept of a frame to make its soft colours steady.

    Attributes:
        alpha: ``[H, W]``.
        places: Places in the flat frame, ``[N]``, that include all soft pixels.
        plate: Means of 2x2 pixels of the plate, ``[3, h, w]``. Values beyond 1 are compressed.
        noise: Squared difference that noise makes between two such means, summed over channels.
    """

    alpha: Tensor
    places: Tensor
    plate: Tensor
    noise: Tensor


def compressed(colour: Tensor, limits: Tensor) -> Tensor:
    """A copy of ``[3, h, w]`` in which differences of bright values count as ratios; ``limits`` are its range."""
    if limits.abs().amax() <= 1:
        return colour.clone()
    size = colour.abs()
    return torch.where(size > 1, colour.sign() * (1 + size.clamp(min=1).log()), colour)


def noise(plate: Tensor) -> Tensor:
    """Squared difference, summed over channels, that a frame's noise makes to another frame with the same noise.

    It is measured on every fourth row of ``[3, h, w]``: most neighbours differ by noise alone, once a steady slope is
    taken away.
    """
    some = plate[:, ::4]
    bend = some[..., :-2] - 2 * some[..., 1:-1] + some[..., 2:]  # its variance is 6 times that of a value
    return usual(bend.square().sum(dim=0) / 3)


def usual(squares: Tensor) -> Tensor:
    """Mean of those sums of three squares that come from noise, if they are more than half; 0 of none."""
    some = squares.flatten()[::7]
    return some.median() / MIDDLE if len(some) else squares.new_zeros(())


def likeness(one: Found, other: Found) -> Tensor:
    """How much two frames look alike, for each square of 4x4 pixels, ``[N]``, 0..1.

    `guided.likeness` compares the mean colours of neighbourhoods: a fit may be shared even where a texture moves. Here
    single pixels are mixed. So small squares are compared, and what noise explains is taken away.
    """
    change = (one.plate - other.plate).square().sum(dim=0, keepdim=True)
    expected = torch.stack([usual(change), one.noise, other.noise]).amin().clamp(max=1.5 * NOISIEST**2)
    near = local_mean(halved(change, torch.add)[None] / 4, 1)
    return torch.exp((SLACK * expected - near).clamp(max=0) / ALIKE).flatten()


def steady(found: list[Found], colour: Tensor, margin: int) -> None:
    """Replace soft colours in ``colour`` ``[T, 3, H, W]`` by their means over ``margin`` frames before and after.

    A frame counts as far as it looks like the frame in question, and the frames between them do too: nothing is taken
    from beyond a cut, or from what has moved.
    """
    alike: dict[tuple[int, int], Tensor] = {}
    for step in range(1, margin + 1):
        for first in range(len(found) - step):
            last = first + step
            alike[first, last] = likeness(found[first], found[last])
            if step > 1:
                links = torch.minimum(alike[first, last - 1], alike[first + 1, last])
                alike[first, last] = torch.minimum(alike[first, last], links)
    means = []
    for index, own in enumerate(found):
        place, square = soft_places(own)
        share, total = own.alpha.flatten()[place], colour[index].flatten(1).index_select(1, place)
        weights = torch.ones_like(share)
        for other in range(max(index - margin, 0), min(index + margin + 1, len(found))):
            if other != index:
                weight = alike[min(index, other), max(index, other)][square]
                weight *= torch.exp(-((found[other].alpha.flatten()[place] - share) / SAME_ALPHA).square())
                total += weight * colour[other].flatten(1).index_select(1, place)
                weights += weight
        means.append((place, total.div_(weights)))
    for (place, mean), into in zip(means, colour, strict=True):
        into.flatten(1).index_copy_(1, place, mean)


def soft_places(found: Found) -> tuple[Tensor, Tensor]:
    """Places of a frame's soft pixels in the flat frame, and of the 4x4 pixels around each in the flat `likeness`."""
    width = found.alpha.shape[1]
    share = found.alpha.flatten().index_select(0, found.places)
    place = found.places.long()[(share > 0) & (share < 1)]
    y = torch.div(place, width, rounding_mode="floor")
    return place, (y >> 2) * (width // 4) + ((place - y * width) >> 2)
