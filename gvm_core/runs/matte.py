"""Mattes a shot from file to files. It reads, mattes and writes at the same time, and a stopped run can be resumed.

Frames are finished in parts, which are kept beside the output. When all parts are finished, they are joined. A stopped
run leaves its parts, and the next run with the same input, settings, weights and versions makes only the missing parts.
Several processes can share a run (`cluster`), because every process makes the same part.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Protocol

from ..errors import NoSuchFrameError
from ..frames import Clip
from ..media.threads import in_background, prefetch
from ..pipeline import MattingPipeline
from ..windows import trim
from .parts import Parts
from .resume import begin, run_key
from .shot import Shot
from .write import PartWriter, finish


class Advance(Protocol):
    """A function that is called when frames are finished."""

    def __call__(self, frames: int, alpha: Clip | None = None, *, resumed: bool = False) -> None:
        """Take note of finished frames.

        Args:
            frames: Number of frames finished since the last call.
            alpha: Their mattes, if this process made them.
            resumed: Whether an earlier run finished them.
        """


def do_nothing(frames: int, alpha: Clip | None = None, *, resumed: bool = False) -> None:
    """An `Advance` that does nothing."""


def matte_shot(shot: Shot, pipeline: MattingPipeline, advance: Advance = do_nothing, *, overwrite: bool = False) -> int:
    """Matte ``shot``, or resume it. Return the number of its frames.

    Args:
        shot: What to matte and what to write.
        pipeline: The pipeline to matte it with.
        advance: Called with the number of newly finished frames.
        overwrite: Replace outputs that exist.

    Raises:
        MediaError: If a file cannot be read or written, an output exists, or another process is matting the shot.
    """
    with begin(shot, run_key(shot, pipeline), overwrite=overwrite) as parts:
        if done := parts.count():
            advance(done, resumed=True)
        for first, last in parts.missing():
            fill(shot, pipeline, parts, first, last, advance)
        return finish(shot, parts)


def fill(shot: Shot, pipeline: MattingPipeline, parts: Parts, first: int, last: int | None, advance: Advance) -> None:
    """Matte frames ``first`` to ``last`` of ``shot`` into ``parts``. The range must begin and end where parts do."""
    start, end = pipeline.settings.context(first, last)
    with ExitStack() as stack:
        reader = stack.enter_context(shot.open(start, end))
        frames = stack.enter_context(closing(prefetch(map(reader.shown, reader))))
        originals = shot.preview is not None
        clips = stack.enter_context(
            closing(pipeline.stream(frames, start, originals=originals, pixel_aspect=reader.labels.pixel_aspect))
        )
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
