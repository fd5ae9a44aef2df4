"""Works on finished mattes together with their frames, a few frames at a time: refined mattes, foreground colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, zip_longest

import torch
from torch import Tensor

from .errors import InputError
from .frames import Clip, check_frame
from .post.despill import despill
from .post.foreground import ForegroundSettings, estimate_foreground
from .post.refine import RefineSettings, refine
from .windows import around, gather

AT_ONCE, PIXELS_AT_ONCE = 8, 2**24
"""Frames that are worked on at once, and how many pixels these may have together. The result does not depend on it."""

Pair = tuple[Tensor, Tensor]
"""A frame ``[3, H, W]`` and its matte ``[1, H, W]`` in 0..1, of the same size, float."""
Work = Callable[[Tensor, Tensor], Tensor]
"""From frames ``[T, 3, H, W]`` and alpha ``[T, 1, H, W]`` to one result for each frame."""


def refined(pairs: Iterable[Pair], settings: RefineSettings, device: torch.device, first: int = 0) -> Iterator[Clip]:
    """Refine mattes of any length; see `post.refine.refine`. With the default settings they stay as they are, to the bit.

    Args:
        pairs: Frames, sRGB, and their mattes; see also `paired`.
        settings: What to do.
        device: Where to compute.
        first: Index of the first frame.

    Yields:
        Clips of alpha ``[T, 1, H, W]``, float32 on the CPU, in order, without gaps.
    """
    return windowed(pairs, lambda frames, alpha: refine(alpha, frames, settings), settings.margin, device, first)


def foregrounds(
    pairs: Iterable[Pair], settings: ForegroundSettings, device: torch.device, first: int = 0
) -> Iterator[Clip]:
    """The subject's own colours, without the old background and the spill of a screen, for clips of any length.

    Args:
        pairs: Frames, in any light but linear, and their mattes; see also `paired`. Values above 1 survive.
        settings: How colours are estimated. The screen must not be ``"auto"``; see `post.despill.screen_of`.
        device: Where to compute.
        first: Index of the first frame.

    Yields:
        Clips ``[T, 4, H, W]`` of straight colour, in the light of the frames, and of the same alpha; float32 on the CPU,
        in order, without gaps.
    """

    def work(frames: Tensor, alpha: Tensor) -> Tensor:
        colour = despill(estimate_foreground(frames, alpha, settings), settings, alpha=alpha)
        return torch.cat([colour, alpha], dim=1)

    return windowed(pairs, work, settings.margin, device, first)


def windowed(pairs: Iterable[Pair], work: Work, margin: int, device: torch.device, first: int = 0) -> Iterator[Clip]:
    """Apply ``work`` to frames and their mattes, with up to ``margin`` frames before and after each.

    Raises:
        InputError: If there are no frames, or a frame is not as in `Pair`. The message gives its index.
    """
    clips = together(pairs, first)
    if (opening := next(clips, None)) is None:
        raise InputError("there are no frames: the clip or batch is empty")
    at_once = max(1, min(AT_ONCE, PIXELS_AT_ONCE // opening.data[0, 0].numel()))
    for window, new in around(gather(chain([opening], clips), at_once), margin):
        data = window.data.to(device)
        yield window.replace(work(data[:, :3], data[:, 3:]).float().cpu())[new]


def together(pairs: Iterable[Pair], first: int) -> Iterator[Clip]:
    """Each frame with its matte as a clip ``[1, 4, H, W]``, float32 on the CPU."""
    for index, (frame, alpha) in enumerate(pairs, first):
        check_frame(frame, index)
        if frame.shape[-2:] != alpha.shape[-2:]:
            (height, width), (rows, columns) = frame.shape[-2:], alpha.shape[-2:]
            raise InputError(
                f"frame {index} is {width}x{height}, but its matte is {columns}x{rows}; both must have the same size"
            )
        yield Clip(torch.cat([frame.detach().float().cpu(), alpha.detach().float().cpu()])[None], index)


def paired(frames: Iterable[Tensor], alphas: Iterable[Tensor], first: int = 0) -> Iterator[Pair]:
    """Each frame with its matte.

    Raises:
        InputError: If there are more of one than of the other.
    """
    for index, (frame, alpha) in enumerate(zip_longest(frames, alphas), first):
        if frame is None or alpha is None:
            missing, there = ("frame", "matte") if frame is None else ("matte", "frame")
            raise InputError(
                f"there are more {there}s than {missing}s: {there} {index} has no {missing}; give as many of both"
            )
        yield frame, alpha
