"""Mattes a shot from file to files. It reads, mattes and writes at the same time, and a stopped run can be resumed.

Frames are finished in parts, which are kept beside the output. When all parts are finished, they are joined. A stopped
run leaves its parts, and the next run with the same input, settings, weights and versions makes only the missing parts.
Several processes can share a run (`cluster`), because every process makes the same part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Protocol

import torch
from torch import Tensor

from ..errors import NoSuchFrameError
from ..finishing import foregrounds
from ..frames import Clip
from ..media.threads import in_background, prefetch
from ..pipeline import MattingPipeline
from ..post.foreground import ForegroundSettings
from ..post.light import Light
from ..windows import trim
from .makers import Maker, Matting
from .outputs import decoded, encoded
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
    return run_shot(shot, Matting(pipeline), advance, overwrite=overwrite)


def run_shot(shot: Shot, maker: Maker, advance: Advance = do_nothing, *, overwrite: bool = False) -> int:
    """`matte_shot` with mattes from any maker."""
    maker.refuse(shot)
    with begin(shot, run_key(shot, maker), overwrite=overwrite) as parts:
        if done := parts.count():
            advance(done, resumed=True)
        for first, last in parts.missing():
            fill(shot, maker, parts, first, last, advance)
        return finish(shot, parts)


def fill(shot: Shot, maker: Maker, parts: Parts, first: int, last: int | None, advance: Advance) -> None:
    """Matte frames ``first`` to ``last`` of ``shot`` into ``parts``. The range must begin and end where parts do."""
    margin = shot.delivery.margin if shot.subject else 0
    start, end = maker.context(max(first - margin, 0), None if last is None else last + margin)
    with ExitStack() as stack:
        reader = stack.enter_context(shot.open(start, end))
        plates = Plates(stack.enter_context(closing(prefetch((each, reader.shown(each)) for each in reader))), start)
        mattes = maker.mattes(shot, plates, (start, end), reader.labels.pixel_aspect)
        clips: Iterator[Clip] = stack.enter_context(mattes)
        if shot.subject and shot.delivery.colours == "foreground":
            clips = subjects(clips, plates, start, reader.light, shot.delivery.foreground, maker.device)
        writer = stack.enter_context(PartWriter(shot.outputs, parts, reader, first))
        try:
            with in_background(writer.write) as write:
                for clip in trim(clips, first, last):
                    write((clip, plates.take(clip)))
                    advance(len(clip), Clip(clip.data[:, -1:], clip.start))
        except NoSuchFrameError as error:
            count = error.count
        else:
            count = len(reader.times)
        ended = last is None or writer.index <= last
        if writer.index > first:
            writer.keep(last=ended)
        elif not parts.end_at(count):
            raise NoSuchFrameError(f"{shot.source} has {count} frames; there is no frame {first}", count)


class Plates:
    """Frames as a screen shows them, for the network. It keeps each frame in its own light until its matte is finished.

    Args:
        frames: ``[3, H, W]`` in the light of the source, and the same as a screen shows it.
        first: Index of the first one.
    """

    def __init__(self, frames: Iterable[tuple[Tensor, Tensor]], first: int) -> None:
        self.frames, self.next, self.held = frames, first, dict[int, Tensor]()

    def __iter__(self) -> Iterator[Tensor]:
        for plate, shown in self.frames:
            self.held[self.next] = plate
            self.next += 1
            yield shown

    def of(self, clip: Clip) -> list[Tensor]:
        """The frames of ``clip``, in the light of the source."""
        return [self.held[index] for index in range(clip.start, clip.stop)]

    def take(self, clip: Clip) -> list[Tensor]:
        """The frames of ``clip``. These and the ones before are not kept any longer."""
        taken = self.of(clip)
        for index in [index for index in self.held if index < clip.stop]:
            del self.held[index]
        return taken


def subjects(
    mattes: Iterable[Clip], plates: Plates, first: int, light: Light, settings: ForegroundSettings, device: torch.device
) -> Iterator[Clip]:
    """Alpha ``[T, 1, H, W]`` to clips ``[T, 4, H, W]``: the subject's own colours in ``light``, straight, and alpha.

    Colours are estimated in a light that the eye finds even. Where alpha is 1 and there is no spill of a screen, they are
    the plate's, to the bit.
    """
    pairs = (
        (encoded(plate, light), alpha)
        for clip in mattes
        for plate, alpha in zip(plates.of(clip), clip.data, strict=True)
    )
    for clip in foregrounds(pairs, settings, device, first):
        colour = decoded(clip.data[:, :3], plates.of(clip), light)
        yield clip.replace(torch.cat([colour, clip.data[:, 3:]], dim=1))
