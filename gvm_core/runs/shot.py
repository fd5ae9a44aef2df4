"""What to matte and what to write: a shot, its frames, and whether anything is in the way of its outputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, MediaError
from ..media import MEDIA_SUFFIXES, FrameReader, open_frames
from ..media.sequence import PICTURES
from ..media.video import CODECS, Codec

Frames = tuple[int, int | None]
"""The first and the last frame, itself included; None for all there are."""


@dataclass(frozen=True)
class Shot:
    """What to matte, and what to write.

    Attributes:
        source: A video, a picture, or a folder of numbered pictures.
        matte: ``.mp4``, ``.mov``, ``.mkv`` or, for 16-bit PNGs, a folder; of a single frame also a ``.png``.
        preview: ``.mp4`` or ``.mov``, of a single frame also ``.png``, for the subject over a checkerboard; None for none.
        first: Index of the first frame.
        last: Index of the last frame, itself included; None for all there are.

    Raises:
        MediaError: For a suffix that means nothing here, a range that is none.
    """

    source: Path
    matte: Path
    preview: Path | None = None
    first: int = 0
    last: int | None = None

    def __post_init__(self) -> None:
        if self.first < 0 or (self.last is not None and self.last < self.first):
            raise MediaError(f"frames {self.first} to {self.last} are no range: it needs 0 <= first <= last")
        suffix = self.matte.suffix.lower()
        if is_picture(self.matte):
            self.check_single(self.matte)
        elif suffix in MEDIA_SUFFIXES and suffix not in CODECS and not self.matte.is_dir():
            raise MediaError(
                f"no matte format goes with {suffix!r}; use {', '.join(CODECS)}, a folder name for 16-bit PNGs, "
                "or .png for a single picture"
            )
        if self.preview is not None and is_picture(self.preview):
            self.check_single(self.preview)
        elif self.preview is not None and self.preview.suffix.lower() not in (".mp4", ".mov"):
            raise MediaError(f"a preview is .mp4 or .mov, or .png of a single picture, not {self.preview.name!r}")

    def check_single(self, path: Path) -> None:
        """Raise `MediaError` if ``path`` holds one picture and there are several frames."""
        picture = self.source.suffix.lower() in PICTURES and not self.source.is_dir()
        if not picture and self.first != self.last:
            raise MediaError(f"{path.name} holds a single picture; for more frames use a folder name or a video")

    @property
    def outputs(self) -> dict[str, Path]:
        """What is written, by the name it has in each part: that of a file, or of a folder of pictures."""
        paths = {"matte": self.matte} if self.preview is None else {"matte": self.matte, "preview": self.preview}
        return {f"{name}{codec.part if (codec := codec_of(path)) else ''}": path for name, path in paths.items()}

    @property
    def whole(self) -> bool:
        """Whether all frames are wanted."""
        return self.first == 0 and self.last is None


def with_handles(wanted: Frames, handles: int, there: Frames = (0, None)) -> Frames:
    """``wanted`` with ``handles`` frames more on either side, counted from and kept within the frames ``there``.

    Raises:
        InputError: If that is no range, or nothing of it is there.

    Example:
        >>> with_handles((10, 20), 8), with_handles((0, None), 8), with_handles((5, 90), 8, there=(100, 150))
        ((2, 28), (0, None), (100, 150))
    """
    first, last = wanted
    if handles < 0:
        raise InputError(f"handles must be at least 0, got {handles}")
    if first < 0 or (last is not None and last < first):
        raise InputError(f"frames {first} to {last} are no range: the first must be 0 or more, the last not before it")
    begin = there[0] + max(first - handles, 0)
    ends = [there[1], None if last is None else there[0] + last + handles]
    end = min((each for each in ends if each is not None), default=None)
    if end is not None and end < begin:
        count = end + 1 - there[0]
        raise InputError(f"frames {first} to {'the end' if last is None else last} are not there: there are {count}")
    return begin, end


def codec_of(path: Path) -> Codec | None:
    """How ``path`` is written; None for pictures."""
    return CODECS.get(path.suffix.lower())


def is_picture(path: Path) -> bool:
    """Whether ``path`` is to be a single picture, and not a folder of them."""
    return path.suffix.lower() == ".png" and not path.is_dir()


def refuse_taken(shot: Shot) -> None:
    """Raise `MediaError` if anything that would be written is there already."""
    with open_frames(shot.source, shot.first, shot.last) as reader:
        for path in shot.outputs.values():
            refuse_to_overwrite(path, shot, reader)


def refuse_to_overwrite(path: Path, shot: Shot, reader: FrameReader) -> None:
    """Raise `MediaError` if what is to be written to ``path`` is there already.

    A folder of pictures may hold others where only a range of frames is asked for, as on a farm.
    """
    way_out = "choose another name, or allow overwriting (--overwrite)"
    if codec_of(path) is not None or is_picture(path):
        if path.exists():
            raise MediaError(f"{path} exists already; {way_out}")
    elif path.exists() and not path.is_dir():
        raise MediaError(f"{path} is a file; a sequence needs a folder")
    elif path.is_dir() and shot.whole and any(path.iterdir()):
        raise MediaError(f"{path} is not empty; {way_out}")
    elif path.is_dir():
        for index in taken_indices(path, shot, reader):
            if (taken := path / f"{reader.names(index)}.png").exists():
                raise MediaError(f"{taken} exists already; {way_out}")


def taken_indices(folder: Path, shot: Shot, reader: FrameReader) -> Iterable[int]:
    """The frames of ``shot`` whose pictures might be in ``folder``; what a video's header says is no limit."""
    if shot.source.is_dir():
        return range(shot.first, shot.first + (reader.count or 0))
    numbers = (file.stem.rpartition(".")[2] for file in folder.glob("*.png"))
    highest = max((int(number) for number in numbers if number.isdecimal()), default=-1)
    return range(shot.first, (highest if shot.last is None else min(highest, shot.last)) + 1)
