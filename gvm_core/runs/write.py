"""Writes a run's outputs: part by part while it is matted, then joined when all parts are finished."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from ..atomic import atomic
from ..errors import MediaError
from ..frames import Clip
from ..media import FrameReader
from ..media.sequence import SequenceWriter
from ..media.timecode import Labels
from ..media.video import VideoWriter
from ..post.composite import checker, over
from .join import join_videos
from .parts import Parts
from .shot import Shot, codec_of, is_picture, picture_names

JOINING = "joining"
"""File in a run's folder while its parts are joined. It holds the name of the matte."""


class PartWriter:
    """Writes every output of consecutive frames, part by part.

    A full part is finished only when it is known whether another frame follows, because the last part is marked.

    Args:
        shot: What to write.
        parts: Where to write it.
        reader: Reader of the source, for the times and names of the frames.
        first: The first frame that will be written.
    """

    def __init__(self, shot: Shot, parts: Parts, reader: FrameReader, first: int) -> None:
        self.shot, self.parts, self.reader = shot, parts, reader
        self.start = self.index = first
        self.staged: Path | None = None
        self.writers: dict[str, VideoWriter | SequenceWriter] = {}
        self.opened = ExitStack()  # the writers of the current part

    def write(self, clip: Clip) -> None:
        """Write alpha ``[T, 1, H, W]`` of the next frames. A preview needs the clip's originals."""
        for index, alpha in enumerate(clip.data):
            if self.staged is not None and self.index == self.parts.stop_of(self.start):
                self.keep(last=False)
            if self.staged is None:
                self.open()
            self.writers["matte"].write(alpha)
            if self.shot.preview is not None:
                original = clip.originals[index].pixels
                self.writers["preview"].write(over(original, alpha, checker(*original.shape[-2:])))
            self.index += 1

    def open(self) -> None:
        """Begin a part at the current frame."""
        self.start, self.staged = self.index, self.parts.stage()
        for name, path in self.shot.outputs.items():
            codec, place = codec_of(path), self.staged / name
            writer = (
                SequenceWriter(place, picture_names(self.reader), self.start)
                if codec is None
                else VideoWriter(place, codec, self.reader.rate, self.reader.labels.pixel_aspect)
            )
            self.writers[place.stem] = self.opened.enter_context(writer)

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
    finished, count = parts.finished(), parts.count()
    if count > 1 and (single := next(filter(is_picture, shot.outputs.values()), None)):
        parts.clear()
        raise MediaError(f"{single.name} holds one picture, but {shot.source} has {count} frames; use a folder name")
    (parts.folder / JOINING).write_text(shot.matte.name, encoding="utf-8", errors="surrogateescape")
    for name, path in shot.outputs.items():
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        folders = [part.folder / name for part in finished]
        if is_picture(path):
            for picture in (file for folder in folders for file in folder.iterdir()):
                picture.replace(path)
        elif codec_of(path) is None:
            place_pictures(folders, path)
        else:
            with atomic(path) as joined:
                join_videos(finished, name, joined, shot.sound, labels_of(shot), whole=shot.whole)
    parts.clear()
    return count


def labels_of(shot: Shot) -> Labels:
    """What the source says about the first frame of ``shot``; nothing if the source can no longer be read."""
    try:
        with shot.open(shot.first, shot.first) as reader:
            return reader.labels
    except MediaError:
        return Labels()


def place_pictures(folders: Iterable[Path], target: Path) -> None:
    """Move every picture in ``folders`` to ``target``. An interrupted call may have moved some already."""
    target.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        for picture in folder.iterdir():
            picture.replace(target / picture.name)
