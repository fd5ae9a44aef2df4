"""Scale and pad frames for the network, and bring mattes back to the exact size of the frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from ..region import WHOLE, Box, Region, square

SQUARE = Fraction(1)
ENLARGED = 2
"""A crop is enlarged this much at most. More shows the network nothing new, and takes away what is around the subject."""
Span = tuple[float, float, int]
"""Samples along an axis, in its pixels: where the first one begins, how wide each one is, and how many there are."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How frames of one size are scaled and padded for the network. It can be undone.

    Attributes:
        source: Height and width of the frames.
        scaled: Height and width after scaling.
        padded: Height and width after padding; the network sees this size.
        box: The part of the frame that is scaled; None for all of it. It may begin and end between two pixels.

    Example:
        >>> plan = Fit.plan((1080, 1920), short_edge=720, max_edge=1024)
        >>> plan.scaled, plan.padded
        ((576, 1024), (576, 1024))
        >>> plan = Fit.plan((7, 5))
        >>> plan.restore(plan.fit(torch.rand(1, 3, 7, 5))).shape
        torch.Size([1, 3, 7, 5])
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    padded: tuple[int, int]
    box: Box | None = None

    @classmethod
    def plan(
        cls,
        source: tuple[int, int],
        short_edge: int | None = None,
        max_edge: int | None = None,
        multiple: int = 32,
        pixel_aspect: Fraction = SQUARE,
    ) -> Fit:
        """Choose the sizes for frames of ``source`` (height, width).

        The shorter side becomes ``short_edge``. If the longer side then exceeds ``max_edge``, it becomes ``max_edge``
        and the shorter side shrinks with it, rounded down to a whole pixel. ``pixel_aspect`` is the width of a pixel
        over its height: the network sees square pixels, whatever the frames have.
        """
        height, width = source
        wide = pixel_aspect > 1
        shown = (height, round(width * pixel_aspect)) if wide else (round(height / pixel_aspect), width)
        short, long = min(shown), max(shown)
        new_short, new_long = short, long
        if short_edge is not None:
            new_short, new_long = short_edge, int(short_edge * long / short)
        if max_edge is not None and new_long > max_edge:
            new_short, new_long = max(int(max_edge * new_short / new_long), 1), max_edge
        scaled = (new_short, new_long) if shown[0] <= shown[1] else (new_long, new_short)
        padded = tuple(-(-edge // multiple) * multiple for edge in scaled)
        return cls(source, scaled, padded)  # pyright: ignore[reportArgumentType]

    def at(self, region: Region | None) -> Fit:
        """This fit for a frame with a region: only its box is scaled, in the frame's aspect ratio.

        A small box is widened (see `ENLARGED`). None, and a box that is the whole frame, change nothing.

        Example:
            >>> fit = Fit.plan((1080, 1920), max_edge=240)
            >>> view = fit.at(Region(Box(0.5, 0.25, 0.75, 0.5)))
            >>> float(view.restore(torch.ones(1, 1, *fit.padded)).mean())
            0.0625
        """
        if region is None:
            return self
        box = region.box
        least = max(small / (ENLARGED * own) for small, own in zip(self.scaled, self.source, strict=True))
        side = min(max(box.height, box.width, least), 1.0)
        crop = square((box.top + box.bottom) / 2, (box.left + box.right) / 2, side)
        return replace(self, box=None if crop == WHOLE else crop)

    @property
    def place(self) -> tuple[slice, slice]:
        """The rows and columns of the frame that are in the box: those of pixels whose centres are."""
        rows, columns = (slice(math.ceil(begin - 0.5), math.ceil(begin + length - 0.5)) for begin, length in self.sides)
        return rows, columns

    @property
    def sides(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where the box begins, and how long it is, in rows and in columns of the frame."""
        box, (height, width) = self.box or WHOLE, self.source
        return (box.top * height, box.height * height), (box.left * width, box.width * width)

    def fit(self, frames: Tensor) -> Tensor:
        """Scale and pad frames ``[T, C, *source]`` to ``[T, C, *padded]``; padding mirrors the frame at its edges."""
        if self.box is None:
            frames = resize(frames, self.scaled)
        else:
            spans = ((begin, length / n, n) for (begin, length), n in zip(self.sides, self.scaled, strict=True))
            frames = resample(frames, *spans)
        for axis, (edge, target) in enumerate(zip(self.scaled, self.padded, strict=True), start=2):
            if edge != target:
                frames = frames.index_select(axis, mirrored(edge, target).to(frames.device))
        return frames

    def restore(self, frames: Tensor) -> Tensor:
        """Crop and scale ``[T, C, *padded]`` back to ``[T, C, *source]``, 0 outside the box."""
        return self.placed(self.inside(frames))

    def inside(self, frames: Tensor) -> Tensor:
        """Crop and scale ``[T, C, *padded]`` back to the pixels in the box, ``[T, C, h, w]``; for these see `place`."""
        shown = self.unpadded(frames)
        if self.box is None:
            return resize(shown, self.source)
        steps = [n / length for (_, length), n in zip(self.sides, self.scaled, strict=True)]
        spans = (
            ((where.start - begin) * step, step, where.stop - where.start)
            for where, (begin, _), step in zip(self.place, self.sides, steps, strict=True)
        )
        return resample(shown, *spans)

    def placed(self, patch: Tensor) -> Tensor:
        """The frames ``[T, C, *source]`` that have ``patch`` ``[T, C, h, w]`` in the box, and 0 outside."""
        if self.box is None:
            return patch
        frames = patch.new_zeros(*patch.shape[:2], *self.source)
        frames[:, :, self.place[0], self.place[1]] = patch
        return frames

    def unpadded(self, frames: Tensor) -> Tensor:
        """``[T, C, *padded]`` without its padding, ``[T, C, *scaled]``."""
        (top, left), (height, width) = self.offset, self.scaled
        return frames[:, :, top : top + height, left : left + width]

    @property
    def offset(self) -> tuple[int, int]:
        """Number of padding rows above and padding columns left of the picture, which is centred."""
        return (self.padded[0] - self.scaled[0]) // 2, (self.padded[1] - self.scaled[1]) // 2


def mirrored(edge: int, target: int) -> Tensor:
    """For each of ``target`` pixels, the index of the pixel it shows if ``edge`` pixels are mirrored on both sides.

    Unlike ``torch.nn.functional.pad`` this allows any amount of padding, even for a line of one pixel.

    Example:
        >>> mirrored(3, 8).tolist()
        [2, 1, 0, 1, 2, 1, 0, 1]
    """
    period = max(2 * (edge - 1), 1)
    place = (torch.arange(target) - (target - edge) // 2) % period
    return torch.where(place < edge, place, period - place)


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale ``[T, C, H, W]`` to ``size``, bilinear with antialiasing. Frames of that size are returned unchanged."""
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    return F.interpolate(frames, size, mode="bilinear", align_corners=False, antialias=True)


def resample(frames: Tensor, rows: Span, columns: Span) -> Tensor:
    """Sample a part of ``[T, C, H, W]``, which may begin and end between two pixels.

    It is bilinear, with antialiasing, as `resize`: the filter is a triangle, as wide as two samples or two pixels,
    whichever is more. Only frames' own pixels count. Samples that are pixels stay exact.

    Example:
        >>> line = torch.tensor([0.0, 1.0, 4.0, 9.0]).view(1, 1, 1, 4)
        >>> resample(line, (0, 1, 1), (1.5, 1, 2)).flatten().tolist()
        [2.5, 6.5]
    """
    frames, rows = cut(frames, 2, rows)
    frames, columns = cut(frames, 3, columns)
    shrinks = rows[1] > 1  # rows are quicker to pick than columns, so there should be few rows when columns are picked
    for axis, span in ((2, rows), (3, columns)) if shrinks else ((3, columns), (2, rows)):
        frames = sampled(frames, axis, span)
    return frames


def cut(frames: Tensor, axis: int, span: Span) -> tuple[Tensor, Span]:
    """The part of ``frames`` that the samples ``span`` along ``axis`` depend on, and the same samples in this part."""
    begin, step, count = span
    reach = max(step, 1)
    first = max(math.floor(begin - reach), 0)
    stop = min(math.ceil(begin + step * count + reach), frames.shape[axis])
    return frames.narrow(axis, first, stop - first), (begin - first, step, count)


def sampled(frames: Tensor, axis: int, span: Span) -> Tensor:
    """`resample` along one axis. It adds weighted pixels one by one, always in the same order."""
    begin, step, count = span
    size, reach = frames.shape[axis], max(step, 1)
    centre = begin + (torch.arange(count, dtype=torch.float64) + 0.5) * step
    pixel = (centre - reach + 0.5).floor()[:, None] + torch.arange(math.ceil(2 * reach))  # [count, taps]
    weight = (1 - (pixel + 0.5 - centre[:, None]).abs() / reach).clamp(min=0) * ((pixel >= 0) & (pixel < size))
    weight = (weight / weight.sum(dim=1, keepdim=True)).to(frames)
    pixel = pixel.long().clamp(0, size - 1).to(frames.device)
    shape = [-1 if dim == axis else 1 for dim in range(frames.ndim)]
    total = frames.index_select(axis, pixel[:, 0]) * weight[:, 0].view(shape)
    for tap in range(1, pixel.shape[1]):
        total.addcmul_(frames.index_select(axis, pixel[:, tap]), weight[:, tap].view(shape))
    return total
