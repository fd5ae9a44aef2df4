"""Writes a run's outputs: part by part while it is matted, then joined when all parts are finished."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from torch import Tensor

from ..atomic import atomic
from ..errors import MediaError
from ..frames import Clip
from ..media import FrameReader
from ..media.sequence import SequenceWriter
from ..media.timecode import Labels
from ..media.video_writer import VideoWriter
from .join import join_videos
from .outputs import Given, Output, Role
from .parts import Parts
from .shot import Shot

JOINING = "joining"
"""File in a run's folder while its parts are joined. It holds the name of the matte."""


class PartWriter:
    """Writes every output of consecutive frames, part by part.

    A full part is finished only when it is known whether another frame follows, because the last part is marked.

    Args:
        outputs: What to write.
        parts: Where to write it.
        reader: Reader of the source, for the light, times, names and labels of the frames.
        first: The first frame that will be written.
        layers: More mattes ``[T, 1, H, W]`` of all frames, by the name of their layer, for EXR.
    """

    def __init__(
        self,
        outputs: Sequence[Output],
        parts: Parts,
        reader: FrameReader | Given,
        first: int,
        layers: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.outputs, self.parts, self.reader, self.layers = outputs, parts, reader, layers or {}
        self.start = self.index = self.first = first
        self.staged: Path | None = None
        self.writers: dict[Role, VideoWriter | SequenceWriter] = {}
        self.opened = ExitStack()  # the writers of the current part

    def write(self, finished: tuple[Clip, Sequence[Tensor]]) -> None:
        """Write the next frames.

        Args:
            finished: Alpha ``[T, 1, H, W]``, or the subject's colours in the source's light and alpha ``[T, 4, H, W]``;
                and for each the source's frame ``[3, H, W]``, in its light.
        """
        clip, plates = finished
        for subject, plate in zip(clip.data, plates, strict=True):
            if self.staged is not None and self.index == self.parts.stop_of(self.start):
                self.keep(last=False)
            if self.staged is None:
                self.open()
            layers = {name: matte[self.index] for name, matte in self.layers.items()}
            for output in self.outputs:
                picture, writer = output.frame(plate, subject, self.reader.light), self.writers[output.role]
                if isinstance(writer, SequenceWriter):
                    writer.write(picture, layers)
                else:
                    writer.write(picture)
            self.index += 1

    def open(self) -> None:
        """Begin a part at the current frame."""
        self.start, self.staged = self.index, self.parts.stage()
        for output in self.outputs:
            place = self.staged / output.part
            labels = output.labels(self.reader.labels, self.reader.light).after(self.start - self.reader.first)
            writer = (
                VideoWriter(place, output.form, self.reader.rate, labels)
                if output.is_video
                else SequenceWriter(
                    place, output.names(self.reader), self.start, form=output.form, labels=labels, rate=self.reader.rate
                )
            )
            self.writers[output.role] = self.opened.enter_context(writer)

    def keep(self, *, last: bool) -> None:
        """Finish the current part."""
        self.opened.close()
        if self.staged is not None:
            times = self.reader.times[self.start : self.index]
            self.parts.keep(self.staged, self.start, times, Fraction(self.reader.time_base), last=last)
        self.staged = None

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.opened.__exit__(kind, value, trace)
        if self.staged is not None:
            shutil.rmtree(self.staged, ignore_errors=True)


def finish(shot: Shot, parts: Parts) -> int:
    """Join the finished parts into the outputs, and delete the parts. Return the number of frames.

    Raises:
        MediaError: If frames are missing, an output cannot be written, or several frames should go into one picture.
    """
    if gaps := parts.missing():
        raise MediaError(f"frame {gaps[0][0]} of {shot.matte} is missing; start the same run again")
    count = parts.count()
    if count > 1 and (single := next((each for each in shot.outputs if each.is_picture), None)):
        parts.clear()
        raise MediaError(
            f"{single.path.name} holds one picture, but {shot.source} has {count} frames; use a folder name"
        )
    (parts.folder / JOINING).write_text(shot.matte.name, encoding="utf-8", errors="surrogateescape")
    for output in shot.outputs:
        place(output, parts, shot.sound, labels_of(shot, output), whole=shot.whole)
    parts.clear()
    return count


def place(output: Output, parts: Parts, sound: Path | None, labels: Labels, *, whole: bool = True) -> None:
    """Put the finished parts of ``output`` together where it belongs.

    Args:
        output: What to put together.
        parts: Finished, without gaps.
        sound: The file whose audio a video gets; None for no audio.
        labels: What a video says about its frames.
        whole: Keep all audio after the first frame; see `join_videos`.
    """
    finished, path = parts.finished(), output.path
    folders = [part.folder / output.part for part in finished]
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    if output.is_picture:
        for picture in (file for folder in folders for file in folder.iterdir()):
            picture.replace(path)
    elif output.is_video:
        with atomic(path) as joined:
            join_videos(finished, output.part, joined, sound, labels, whole=whole)
    else:
        place_pictures(folders, output.folder)


def labels_of(shot: Shot, output: Output) -> Labels:
    """What ``output`` says about its first frame; nothing of the source if that can no longer be read."""
    try:
        with shot.open(shot.first, shot.first) as reader:
            return output.labels(reader.labels, reader.light)
    except MediaError:
        return Labels(alpha=output.alpha)


def place_pictures(folders: Iterable[Path], target: Path) -> None:
    """Move every picture in ``folders`` to ``target``. An interrupted call may have moved some already."""
    target.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        for picture in folder.iterdir():
            picture.replace(target / picture.name)
