"""A shot from file to files: matted while it is read, written while it is matted, gone on with where it was stopped.

Frames are finished in parts, kept beside the output until all are there; then the parts are put together. A stopped run
leaves its parts, and the next run with the same input, settings, weights and versions does only what is missing. Several
processes use the same (`cluster`): whoever does a part, it is the same part.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Protocol

from ..errors import NoSuchFrameError
from ..frames import Clip
from ..media import open_frames
from ..media.threads import in_background, prefetch
from ..pipeline import MattingPipeline
from ..windows import trim
from .parts import Parts
from .resume import begin, run_key
from .shot import Shot
from .write import PartWriter, finish


class Advance(Protocol):
    """Told of frames as they are finished."""

    def __call__(self, frames: int, alpha: Clip | None = None, *, resumed: bool = False) -> None:
        """So many more are finished.

        Args:
            frames: How many.
            alpha: Their mattes, where this process made them.
            resumed: They were finished by an earlier run.
        """


def unheard(frames: int, alpha: Clip | None = None, *, resumed: bool = False) -> None:
    """An `Advance` for when nobody wants to know."""


def matte_shot(shot: Shot, pipeline: MattingPipeline, advance: Advance = unheard, *, overwrite: bool = False) -> int:
    """Matte ``shot``, or go on with it; the number of its frames.

    Args:
        shot: From what to what.
        pipeline: How.
        advance: Told of every frame that is finished.
        overwrite: Replace what lies under the outputs' names.

    Raises:
        MediaError: If something cannot be read or written, or is in the way.
    """
    with begin(shot, run_key(shot, pipeline), overwrite=overwrite) as parts:
        if done := parts.count():
            advance(done, resumed=True)
        for first, last in parts.missing():
            fill(shot, pipeline, parts, first, last, advance)
        return finish(shot, parts)


def fill(shot: Shot, pipeline: MattingPipeline, parts: Parts, first: int, last: int | None, advance: Advance) -> None:
    """Matte frames ``first`` to ``last`` of ``shot``, both where parts begin and end, into ``parts``."""
    start, end = pipeline.settings.context(first, last)
    with ExitStack() as stack:
        reader = stack.enter_context(open_frames(shot.source, start, end))
        frames = stack.enter_context(closing(prefetch(reader)))
        originals = shot.preview is not None
        clips = stack.enter_context(closing(pipeline.stream(frames, start, originals=originals)))
        writer = stack.enter_context(PartWriter(shot, parts, reader, first))
        try:
            with in_background(writer.write) as write:
                for clip in trim(clips, first, last):
                    write(clip)
                    advance(len(clip), clip)
        except NoSuchFrameError as error:
            count = error.count
        else:
            count = len(reader.times)
        ended = last is None or writer.index <= last
        if writer.index > first:
            writer.keep(last=ended)
        elif not parts.end_at(count):
            raise NoSuchFrameError(f"{shot.source} has {count} frames; there is no frame {first}", count)
