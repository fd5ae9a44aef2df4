"""Where the network looks in the frames of a shot: near the shot's masks, or where a first pass finds the subject."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice, repeat

from torch import Tensor

from ..errors import MediaError, NoSuchFrameError
from ..follow import context, follow
from ..media import FrameReader, open_frames
from ..media.threads import prefetch
from ..pipeline import MattingPipeline
from ..region import THRESHOLD, Region, RegionSettings, from_masks
from .shot import Shot, ends_before


@contextmanager
def looking(shot: Shot, pipeline: MattingPipeline, first: int, last: int | None) -> Iterator[Iterable[Region] | None]:
    """The regions of frames ``first`` to ``last``, for `MattingPipeline.stream`; None if the network looks everywhere.

    They are read and found as they are needed: the file is open twice, and no frame is kept.
    """
    if shot.region is not None:
        with closing(masked(shot, pipeline.settings.region, first, last)) as regions:
            yield regions
    elif shot.follow:
        begin, end = context(pipeline.settings, first, last)
        with shot.open(begin, end) as reader, closing(prefetch(map(reader.shown, reader))) as frames:
            yield follow(pipeline, frames, first, pixel_aspect=reader.labels.pixel_aspect)
    else:
        yield None


def masked(shot: Shot, settings: RegionSettings, first: int, last: int | None) -> Generator[Region, None, None]:
    """The regions around the masks of frames ``first`` to ``last``. A single mask is for all frames.

    Windows also hold frames from before and after the shot. Where these have no mask, they get the nearest one's region.
    """
    if is_still(shot):
        yield from repeat(next(from_masks(read_masks(shot, 0, 0), settings)))
    at = first - shot.region_start  # the mask of the next frame
    begin = max(at, 0)
    start, stop = settings.context(begin, None if last is None else max(last - shot.region_start, begin))
    region = None
    for index, region in enumerate(from_masks(read_masks(shot, start, stop), settings, begin), begin):
        yield from repeat(region, index + 1 - at)
        at = index + 1
    if region is not None and shot.last is not None and at + shot.region_start > shot.last:
        yield from repeat(region)


def read_masks(shot: Shot, first: int = 0, last: int | None = None) -> Iterator[Tensor]:
    """Masks ``first`` to ``last`` of the shot's region, ``[H, W]`` each, counted from the region's first one.

    Raises:
        MediaError: If there is no mask ``first``, or a mask cannot be read.
    """
    try:
        with open_region(shot, first, last) as reader:
            for frame in reader:
                yield frame.mean(dim=0)
    except NoSuchFrameError as error:  # of the region, not of the source
        raise MediaError(too_few(shot, error.count)) from error


def open_region(shot: Shot, first: int = 0, last: int | None = None) -> FrameReader:
    """A reader for the frames of the shot's region."""
    assert shot.region is not None
    return open_frames(shot.region, first, last, gaps=shot.gaps, strict=shot.strict)


def is_still(shot: Shot) -> bool:
    """Whether the shot's region is a single mask."""
    return len([*islice(read_masks(shot, 0, 1), 2)]) == 1


def refuse_region(shot: Shot) -> None:
    """Raise `MediaError` if the shot's region cannot be read, has too few masks, or no mask has anything inside."""
    if shot.region is None:
        return
    if not any(bool((mask >= THRESHOLD).any()) for mask in read_masks(shot)):
        raise MediaError(
            f"the region {shot.region} is empty in every frame, so nothing would be matted; "
            "a mask is white (1) where the subject is. Invert it, or leave the region out"
        )
    if is_still(shot):
        return
    with open_region(shot) as masks:
        if ends_before(masks, shot.region_start, shot):
            raise MediaError(too_few(shot, masks.counted()))


def too_few(shot: Shot, count: int) -> str:
    """A sentence for a region of ``count`` masks."""
    return (
        f"the region {shot.region} has {count} frames, fewer than {shot.source}: give a mask for every frame, or a single "
        "picture for all of them"
    )
