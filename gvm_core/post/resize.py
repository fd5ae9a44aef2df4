"""Fit frames to what the network takes, and bring mattes back to the frames' own size exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Fit:
    """How frames of one size are scaled and padded for the network, so that it can be undone.

    Attributes:
        source: Height and width of the frames.
        scaled: Height and width after scaling.
        padded: Height and width after padding, what the network sees.

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
        cls, source: tuple[int, int], short_edge: int | None = None, max_edge: int | None = None, multiple: int = 32
    ) -> Fit:
        """Decide the sizes for frames of ``source`` (height, width).

        The shorter side becomes ``short_edge``; if then the longer one exceeds ``max_edge``, it becomes that and the
        shorter one follows, cut to a whole pixel. Any two edges may meet, squares included.
        """
        short, long = min(source), max(source)
        new_short, new_long = short, long
        if short_edge is not None:
            new_short, new_long = short_edge, int(short_edge * long / short)
        if max_edge is not None and new_long > max_edge:
            new_short, new_long = max(int(max_edge * new_short / new_long), 1), max_edge
        scaled = (new_short, new_long) if source[0] <= source[1] else (new_long, new_short)
        padded = tuple(-(-edge // multiple) * multiple for edge in scaled)
        return cls(source, scaled, padded)  # pyright: ignore[reportArgumentType]

    def fit(self, frames: Tensor) -> Tensor:
        """Scale and pad frames ``[T, C, *source]`` to ``[T, C, *padded]``; the edges are mirrored outwards."""
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
        """Rows above and columns left of the picture inside the padding, which is centred."""
        return (self.padded[0] - self.scaled[0]) // 2, (self.padded[1] - self.scaled[1]) // 2


def mirrored(edge: int, target: int) -> Tensor:
    """Which of ``edge`` pixels each of ``target`` shows when a line is continued by reflection on both sides.

    Unlike ``torch.nn.functional.pad`` this takes any amount of padding, even of a single pixel.

    Example:
        >>> mirrored(3, 8).tolist()
        [2, 1, 0, 1, 2, 1, 0, 1]
    """
    period = max(2 * (edge - 1), 1)
    place = (torch.arange(target) - (target - edge) // 2) % period
    return torch.where(place < edge, place, period - place)


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale ``[T, C, H, W]`` to ``size``, bilinear, without aliasing when shrinking; untouched if it fits already."""
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    return F.interpolate(frames, size, mode="bilinear", align_corners=False, antialias=True)
