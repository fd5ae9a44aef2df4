"""Find the subject in a first, quick pass of the pipeline, so that a second pass sees it large."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice, repeat

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError
from .pipeline import MattingPipeline
from .post.resize import SQUARE
from .region import THRESHOLD, Box, Region, box_of, from_masks, glide
from .settings import MatteSettings

log = logging.getLogger(__name__)

QUICK = 2
"""The first pass works at the network's size divided by this, ..."""
SMALLEST = 192
"""... but with this many pixels or more on the shorter side, or networks miss people."""
CELLS = 64
"""Pieces of a matte are told apart with this many cells on the longer side, or fewer."""
LEAST = 0.1
"""A piece is a speck if it has less than this share of the largest piece's alpha."""


def follow(
    pipeline: MattingPipeline, frames: Iterable[Tensor], first: int = 0, *, pixel_aspect: Fraction = SQUARE
) -> Iterator[Region]:
    """The region of every frame: where ``pipeline`` finds subjects in a first pass at low size, without refining.

    Args:
        pipeline: The pipeline that the regions are for.
        frames: As for `MattingPipeline.stream`. They begin with frame ``context(settings, first, None)[0]``.
        first: The first frame to give a region for.
        pixel_aspect: The width of a pixel over its height.

    Example:
        >>> from gvm_core import MattingPipeline, TorchHost, load_model
        >>> pipeline = MattingPipeline(load_model("small"), host=TorchHost("cpu"))
        >>> frames = torch.rand(3, 3, 40, 56)
        >>> pipeline.matte(frames, regions=follow(pipeline, frames)).shape
        torch.Size([3, 1, 40, 56])
    """
    settings = pipeline.settings
    scout = MattingPipeline(pipeline.model, quick(settings), pipeline.host)
    begin, (start, _) = context(settings, first, None)[0], settings.region.context(first, None)
    boxes = islice(found(scout, frames, begin, pixel_aspect), start - begin, None)
    return (Region(box) for box in islice(glide(boxes, settings.region), first - start, None))


def regions_in(
    pipeline: MattingPipeline, frames: Tensor, masks: Tensor | None = None, *, find: bool = False
) -> Iterator[Region] | None:
    """The regions of a clip in memory: around ``masks``, or where `follow` finds subjects, or none.

    Args:
        pipeline: The pipeline that the regions are for.
        frames: ``[T, 3, H, W]``, sRGB 0..1.
        masks: ``[B, h, w]`` of any size, 0..1: one for all frames, or one for each frame.
        find: Whether to find the subjects.

    Raises:
        InputError: If there are masks but the subjects should be found, or the masks are of another number than the
            frames, or empty.
    """
    if masks is None:
        return follow(pipeline, frames) if find else None
    if find:
        raise InputError("a region says where the subject is, and 'follow' finds it: use one of them")
    if len(masks) not in (1, len(frames)):
        raise InputError(
            f"there are {len(frames)} frames but {len(masks)} masks in the region; give one for each frame, or a single "
            "one for all"
        )
    if not (masks >= THRESHOLD).any():
        raise InputError(
            "the region is empty in every frame, so nothing would be matted; a mask is 1 at the subject. "
            "Invert it, or leave the region out"
        )
    around = from_masks(masks, pipeline.settings.region)
    return repeat(next(around), len(frames)) if len(masks) == 1 else around


def context(settings: MatteSettings, first: int, last: int | None) -> tuple[int, int | None]:
    """The first and last of the frames that the regions of ``first`` to ``last`` depend on; see `follow`."""
    return quick(settings).context(*settings.region.context(first, last))


def quick(settings: MatteSettings) -> MatteSettings:
    """The settings of the first pass.

    Example:
        >>> chosen = quick(MatteSettings().suited(720, 1024))
        >>> chosen.edges, chosen.refine
        ((360, 512), 0)
    """
    short, long = settings.edges
    return replace(
        settings,
        short_edge="own" if short is None else min(short, max(short // QUICK, SMALLEST)),
        max_edge=2 * SMALLEST if long is None else min(long, max(long // QUICK, 2 * SMALLEST)),
        refine=0,
    )


def found(scout: MattingPipeline, frames: Iterable[Tensor], first: int, pixel_aspect: Fraction) -> Iterator[Box | None]:
    """The box around the subjects in every frame, as ``scout`` mattes them; None where there is nobody."""
    fit, clips = scout.fit(frames, first, pixel_aspect=pixel_aspect)
    stop, anyone = first, False
    try:
        for clip in scout.decode(scout.denoise(scout.encode(clips))):
            for alpha in fit.unpadded(clip.data)[:, 0]:
                box = box_of(subjects(alpha))
                stop, anyone = stop + 1, anyone or box is not None
                yield box
    finally:
        if stop > first and not anyone:
            log.warning(
                "nobody was found in frames %d to %d: there, the network sees the whole frames", first, stop - 1
            )


def subjects(alpha: Tensor) -> Tensor:
    """``alpha`` ``[H, W]`` without specks: pieces that are much smaller than the largest one become 0.

    Example:
        >>> alpha = torch.zeros(64, 64)
        >>> alpha[10:40, 10:30] = alpha[60, 60] = 1
        >>> int(subjects(alpha).sum())
        600
    """
    height, width = alpha.shape
    cell = math.ceil(max(height, width) / CELLS)
    inside = (alpha >= THRESHOLD).float()
    there = F.max_pool2d(inside[None], cell, ceil_mode=True)
    piece = there * torch.arange(1, there.numel() + 1).view_as(there)  # each cell is a piece of its own, ...
    while not torch.equal(piece, wider := F.max_pool2d(piece, 3, 1, 1) * there):  # ... then its neighbour's
        piece = wider
    piece = piece[0].long().repeat_interleave(cell, 0).repeat_interleave(cell, 1)[:height, :width]
    sizes = torch.bincount(piece.flatten(), (alpha * inside).flatten().double())
    sizes[0] = 0  # what is in no piece
    return alpha.masked_fill((sizes < LEAST * sizes.max())[piece] & (piece > 0), 0)
