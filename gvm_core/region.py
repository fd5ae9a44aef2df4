"""Where the network looks: the box around a subject, on a smooth path over time.

All lengths are shares of the frame: 0 is its top or left edge, 1 its bottom or right edge. So masks and frames may have
different sizes and pixel aspects, and a crop with the frame's own aspect ratio is a square.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor

from .errors import InputError

THRESHOLD = 0.5
"""Values of a mask from here on are inside."""
FINEST = 1024
"""Masks are kept with this many pixels on their longer side, or fewer: several are in memory at once."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Box:
    """A box in a frame, in shares of the frame's height and width.

    Example:
        >>> Box(0.25, 0.5, 0.75, 1.0).height
        0.5
    """

    top: float
    left: float
    bottom: float
    right: float

    @property
    def height(self) -> float:
        """From its top to its bottom edge."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """From its left to its right edge."""
        return self.right - self.left


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Region:
    """Where the network looks in a frame, and where alpha may be.

    Attributes:
        box: What the network sees.
        mask: ``[h, w]`` bool, the whole frame at any size: alpha is 0 except near it. None allows alpha in all of the box.
    """

    box: Box
    mask: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """How a region follows its subject. Lengths are shares of the shorter side of a crop.

    Attributes:
        margin: Space on each side of the subject, so that the network sees something of the background.
        grown: How far outside a mask alpha may be, for hair that the mask lacks.
        feather: Over this length alpha fades to 0 at the rim.
        radius: Frames before and after a frame that its crop depends on. The crop contains the subject in these frames,
            and then is averaged over as many frames.

    Raises:
        InputError: If a value is out of range.
    """

    margin: float = 0.08
    grown: float = 0.08
    feather: float = 0.04
    radius: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 0.4:
            raise InputError(f"the margin of a region must be 0 to 0.4, got {self.margin}")
        if not 0 < self.feather <= self.grown <= 1:
            raise InputError(
                f"a region needs 0 < feather <= grown <= 1, got feather={self.feather}, grown={self.grown}"
            )
        if self.radius < 0:
            raise InputError(f"the radius of a region must be at least 0 frames, got {self.radius}")

    def context(self, first: int, last: int | None) -> tuple[int, int | None]:
        """The first and last of the frames that the crops of ``first`` to ``last`` depend on.

        Example:
            >>> RegionSettings(radius=8).context(20, 30)
            (4, 46)
        """
        return max(first - 2 * self.radius, 0), None if last is None else last + 2 * self.radius


def box_of(mask: Tensor, threshold: float = THRESHOLD) -> Box | None:
    """The box around all of ``mask`` ``[H, W]`` that is at or above ``threshold``; None if nothing is.

    Where a soft edge crosses the threshold between two pixels, so does the box.

    Example:
        >>> import torch
        >>> mask = torch.zeros(4, 8)
        >>> mask[1:3, 2:4] = 1
        >>> box_of(mask)
        Box(top=0.25, left=0.25, bottom=0.75, right=0.5)
    """
    rows, columns = mask.amax(dim=1).tolist(), mask.amax(dim=0).tolist()
    if max(rows) < threshold:
        return None
    top, left = crossing(rows, threshold), crossing(columns, threshold)
    bottom, right = crossing(rows[::-1], threshold), crossing(columns[::-1], threshold)
    return Box(top, left, 1 - bottom, 1 - right)


def crossing(line: Sequence[float], threshold: float) -> float:
    """Where ``line`` first rises to ``threshold``, as a share of its length. Values lie in the middle of their pixels."""
    at = next(index for index, value in enumerate(line) if value >= threshold)
    before = line[at - 1] if at else 0.0
    back = (line[at] - threshold) / (line[at] - before)
    return max(at + 0.5 - back, 0.0) / len(line)


def glide(boxes: Iterable[Box | None], settings: RegionSettings | None = None) -> Iterator[Box]:
    """The crop of every frame, given the box around the subject in every frame.

    Each edge is the outermost in ``radius`` frames before and after, and then the mean of these over as many frames. So
    the subject, where there is one, is always inside, and the edges are never faster than the subject's. No position is
    rounded. Where no frame nearby has a subject, the crop glides to the whole frame.

    A crop has the aspect ratio of the frame, so that all crops of a clip suit one size of the network, and the largest
    crop is the whole frame. Near the frame's edges it is moved, not shrunk.

    Only the first and last ``2 * radius`` crops depend on where ``boxes`` begin and end.

    Example:
        >>> still = [Box(0.4, 0.4, 0.6, 0.5)] * 3
        >>> crop = next(glide(still, RegionSettings(margin=0.25)))
        >>> f"{crop.top:.2f} {crop.bottom:.2f} {crop.left:.2f} {crop.right:.2f}"
        '0.30 0.70 0.25 0.65'
    """
    settings = settings or RegionSettings()
    wide = (outermost(near) for near in neighbours(boxes, settings.radius))
    return (crop(mean(near), settings.margin) for near in neighbours(wide, settings.radius))


def neighbours(items: Iterable[T], radius: int) -> Iterator[list[T]]:
    """For each item, the items up to ``radius`` before and after it.

    Example:
        >>> [*neighbours("abcd", 1)]
        [['a', 'b'], ['a', 'b', 'c'], ['b', 'c', 'd'], ['c', 'd']]
    """
    source = iter(items)
    held = deque(islice(source, radius + 1))
    at = 0  # the current item in ``held``
    while at < len(held):
        yield list(held)
        held.extend(islice(source, 1))
        if at < radius:
            at += 1
        else:
            held.popleft()


def outermost(boxes: Sequence[Box | None]) -> Box:
    """The box around all ``boxes``; the whole frame if there is none."""
    there = [box for box in boxes if box is not None]
    if not there:
        return WHOLE
    top, left = min(box.top for box in there), min(box.left for box in there)
    return Box(top, left, max(box.bottom for box in there), max(box.right for box in there))


def mean(boxes: Sequence[Box]) -> Box:
    """The mean of each edge."""
    edges = ([box.top, box.left, box.bottom, box.right] for box in boxes)
    return Box(*(sum(values) / len(boxes) for values in zip(*edges, strict=True)))


def crop(subject: Box, margin: float) -> Box:
    """The smallest crop in the frame's aspect ratio around ``subject``, with ``margin`` where the frame has room."""
    space = margin * max(subject.height, subject.width) / (1 - 2 * margin)
    top, bottom = max(subject.top - space, 0.0), min(subject.bottom + space, 1.0)
    left, right = max(subject.left - space, 0.0), min(subject.right + space, 1.0)
    return square((top + bottom) / 2, (left + right) / 2, max(bottom - top, right - left))


def square(down: float, right: float, side: float) -> Box:
    """The box of that side with its centre at ``down`` and ``right``, moved into the frame.

    Example:
        >>> square(0.5, 0.9, 0.5)
        Box(top=0.25, left=0.5, bottom=0.75, right=1.0)
    """
    top, left = (min(max(middle - side / 2, 0.0), 1 - side) for middle in (down, right))
    return Box(top, left, top + side, left + side)


def from_masks(masks: Iterable[Tensor], settings: RegionSettings | None = None, first: int = 0) -> Iterator[Region]:
    """The region of every frame, given the mask of every frame.

    Args:
        masks: ``[H, W]`` each, 0..1, of any size. They begin with the mask of frame ``context(first, None)[0]``, as in
            `RegionSettings.context`.
        settings: How regions follow their masks; ``None`` for the defaults.
        first: The first frame to give a region for.

    Raises:
        InputError: If a mask has another shape.

    Example:
        >>> import torch
        >>> [region.box.height for region in from_masks([torch.ones(4, 6)])]
        [1.0]
    """
    settings = settings or RegionSettings()
    held: deque[Tensor] = deque()

    def boxes() -> Iterator[Box | None]:
        for mask in masks:
            held.append(kept(mask))
            yield box_of(mask)

    before = first - settings.context(first, None)[0]
    for index, box in enumerate(glide(boxes(), settings)):
        mask = held.popleft()
        if index >= before:
            yield Region(box, mask)


def kept(mask: Tensor) -> Tensor:
    """``mask`` ``[H, W]`` as bool, shrunk to `FINEST` where it is larger. No pixel that is inside is lost."""
    if mask.ndim != 2 or not mask.numel():
        raise InputError(f"a mask of a region is [H, W], got {list(mask.shape)}")
    height, width = mask.shape
    share = min(1.0, FINEST / max(height, width))
    size = max(round(height * share), 1), max(round(width * share), 1)
    return (F.adaptive_max_pool2d(mask[None].float(), size)[0] >= THRESHOLD).cpu()
