"""Scale and pad frames for the network, and bring mattes back to the exact size of the frames."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

SQUARE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Fit:
    """How frames of one size are scaled and padded for the network. It can be undone.

    Attributes:
        source: Height and width of the frames.
        scaled: Height and width after scaling.
        padded: Height and width after padding; the network sees this size.

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

    def fit(self, frames: Tensor) -> Tensor:
        """Scale and pad frames ``[T, C, *source]`` to ``[T, C, *padded]``; padding mirrors the frame at its edges."""
        frames = resize(frames, self.scaled)
        for axis, (edge, target) in enumerate(zip(self.scaled, self.padded, strict=True), start=2):
            if edge != target:
                frames = frames.index_select(axis, mirrored(edge, target).to(frames.device))
        return frames

    def restore(self, frames: Tensor) -> Tensor:
        """Crop and scale ``[T, C, *padded]`` back to ``[T, C, *source]``."""
        (top, left), (height, width) = self.offset, self.scaled
        return resize(frames[:, :, top : top + height, left : left + width], self.source)

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
