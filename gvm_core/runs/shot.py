"""A shot: what to matte, what to write, its range of frames, and whether its outputs exist already."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ..atomic import LONGEST_NAME, short_name
from ..errors import InputError, MediaError
from ..media import MEDIA_SUFFIXES, FrameReader, light_called, open_frames
from ..media.sequence import PICTURES, Gaps, SequenceReader, is_pattern, sequence_of
from ..media.video import CODECS, Codec

Frames = tuple[int, int | None]
"""The first and the last frame, both included; None as the last frame takes all frames."""


@dataclass(frozen=True)
class Shot:
    """What to matte, and what to write.

    Attributes:
        source: A video, a picture, a folder that holds one sequence of pictures, or a pattern for one.
        matte: ``.mp4``, ``.mov``, ``.mkv`` or, for 16-bit PNGs, a folder; for a single frame also ``.png``.
        preview: The subject over a checkerboard: ``.mp4`` or ``.mov``, for a single frame also ``.png``; None for none.
        first: Index of the first frame.
        last: Index of the last frame, included; None for all frames.
        fps: Frames per second of a sequence; None for 24.
        gaps: What missing numbers of a sequence become; see `open_frames`.
        layer: Name of the layer of EXR pictures.
        strict: Stop at damage in the source; see `open_frames`.
        light: Name of the light of the source, if it does not say it; see `open_frames`.

    Raises:
        InputError: If there is no light of this name.
        MediaError: If a suffix is not supported, the range is not valid, a name is too long for its disk, a file has
            two roles, or mattes would replace their own pictures.
    """

    source: Path
    matte: Path
    preview: Path | None = None
    first: int = 0
    last: int | None = None
    fps: Fraction | None = None
    gaps: Gaps = "hold"
    layer: str | None = None
    strict: bool = False
    light: str | None = None

    def __post_init__(self) -> None:
        light_called(self.light)
        if self.first < 0 or (self.last is not None and self.last < self.first):
            raise MediaError(f"frames {self.first} to {self.last} are not a range: it needs 0 <= first <= last")
        refuse_names(self)
        suffix = self.matte.suffix.lower()
        if is_picture(self.matte):
            self.check_single(self.matte)
        elif suffix in MEDIA_SUFFIXES and suffix not in CODECS and not self.matte.is_dir():
            raise MediaError(
                f"{suffix!r} is not a matte format; use {', '.join(CODECS)}, a folder name for 16-bit PNGs, "
                "or .png for a single picture"
            )
        if self.preview is not None and is_picture(self.preview):
            self.check_single(self.preview)
        elif self.preview is not None and self.preview.suffix.lower() not in (".mp4", ".mov"):
            raise MediaError(f"a preview must be .mp4 or .mov, or .png for a single picture, not {self.preview.name!r}")
        if self.in_place and sequence_of(self.source).files[0].suffix.lower() == ".png":
            raise MediaError(f"the mattes would replace the pictures in {self.matte}; choose another folder")

    def check_single(self, path: Path) -> None:
        """Raise `MediaError` if there are several frames for the single picture ``path``."""
        picture = self.source.suffix.lower() in PICTURES and not self.source.is_dir() and not is_pattern(self.source)
        if not picture and self.first != self.last:
            raise MediaError(f"{path.name} holds a single picture; for more frames use a folder name or a video")

    @property
    def outputs(self) -> dict[str, Path]:
        """The outputs, by their name in each part: the name of a file, or of a folder of pictures."""
        paths = {"matte": self.matte} if self.preview is None else {"matte": self.matte, "preview": self.preview}
        return {f"{name}{codec.part_suffix if (codec := codec_of(path)) else ''}": path for name, path in paths.items()}

    @property
    def whole(self) -> bool:
        """Whether the shot takes all frames of its source."""
        return self.first == 0 and self.last is None

    @property
    def sound(self) -> Path | None:
        """The file that may have sound; None for pictures."""
        return self.source if self.source.is_file() and self.source.suffix.lower() not in PICTURES else None

    @property
    def in_place(self) -> bool:
        """Whether the matte's pictures go into the folder of the source's pictures."""
        folder = self.source.parent if is_pattern(self.source) else self.source
        return self.matte.is_dir() and folder.is_dir() and self.matte.samefile(folder)

    def open(self, first: int, last: int | None) -> FrameReader:
        """A reader for frames ``first`` to ``last`` of the source; see `open_frames`."""
        read = {"fps": self.fps, "gaps": self.gaps, "layer": self.layer, "strict": self.strict}
        return open_frames(self.source, first, last, **read, light=self.light)


def with_handles(wanted: Frames, handles: int, there: Frames = (0, None)) -> Frames:
    """Add ``handles`` frames before and after ``wanted``, counted from and limited to the frames ``there``.

    Raises:
        InputError: If ``wanted`` is not a range, or none of its frames exist.

    Example:
        >>> with_handles((10, 20), 8), with_handles((0, None), 8), with_handles((5, 90), 8, there=(100, 150))
        ((2, 28), (0, None), (100, 150))
    """
    first, last = wanted
    if handles < 0:
        raise InputError(f"handles must be at least 0, got {handles}")
    if first < 0 or (last is not None and last < first):
        raise InputError(f"frames {first} to {last} are not a range: it needs 0 <= first <= last")
    begin = there[0] + max(first - handles, 0)
    ends = [there[1], None if last is None else there[0] + last + handles]
    end = min((each for each in ends if each is not None), default=None)
    if end is not None and end < begin:
        count = end + 1 - there[0]
        raise InputError(f"frames {first} to {'the end' if last is None else last} do not exist: there are {count}")
    return begin, end


def codec_of(path: Path) -> Codec | None:
    """The codec for ``path``; None for pictures."""
    return CODECS.get(path.suffix.lower())


def is_picture(path: Path) -> bool:
    """Whether ``path`` is a single picture, not a folder of pictures."""
    return path.suffix.lower() == ".png" and not path.is_dir()


def picture_names(reader: FrameReader) -> Callable[[int], str]:
    """The name of the picture of frame ``i``, without ``.png``: the reader's, shorter where no disk would take it."""

    def name(index: int) -> str:
        base, dot, number = reader.names(index).rpartition(".")
        return short_name(base, LONGEST_NAME - len(os.fsencode(f"{dot}{number}.png"))) + dot + number

    return name


def refuse_names(shot: Shot) -> None:
    """Raise `MediaError` if the name of an output is too long for its disk, or one file has two roles."""
    roles = {"input": shot.source, "matte": shot.matte} | ({} if shot.preview is None else {"preview": shot.preview})
    taken: dict[str, str] = {}
    for role, path in roles.items():
        try:
            path.stat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise MediaError(
                    f"the name of the {role} is too long for its disk, which usually takes {LONGEST_NAME} bytes and in "
                    f"Chinese or Japanese a third as many characters; use a shorter one: {path.name}"
                ) from error
        place = os.path.normcase(os.path.realpath(path))
        if (other := taken.get(place)) and not path.is_dir():  # a folder may hold both; see `Shot.in_place`
            raise MediaError(f"{path} cannot be both the {other} and the {role}; choose another name for the {role}")
        taken[place] = role


def refuse_taken(shot: Shot) -> None:
    """Raise `MediaError` if an output exists already."""
    with shot.open(shot.first, shot.last) as reader:
        for path in shot.outputs.values():
            refuse_to_overwrite(path, shot, reader)


def refuse_to_overwrite(path: Path, shot: Shot, reader: FrameReader) -> None:
    """Raise `MediaError` if the output ``path`` exists already.

    If ``shot`` is only a range of frames, a folder may hold pictures of other frames, as on a render farm. The folder
    of the source's pictures may hold anything else, too.
    """
    advice = "choose another name, or allow overwriting (--overwrite)"
    if codec_of(path) is not None or is_picture(path):
        if path.exists():
            raise MediaError(f"{path} exists already; {advice}")
    elif path.exists() and not path.is_dir():
        raise MediaError(f"{path} is a file; a sequence needs a folder")
    elif path.is_dir() and shot.whole and not shot.in_place and any(path.iterdir()):
        raise MediaError(f"{path} is not empty; {advice}")
    elif path.is_dir():
        for index in taken_indices(path, shot, reader):
            if (taken := path / f"{picture_names(reader)(index)}.png").exists():
                raise MediaError(f"{taken} exists already; {advice}")


def taken_indices(folder: Path, shot: Shot, reader: FrameReader) -> Iterable[int]:
    """The frames of ``shot`` whose pictures may be in ``folder``. A video may have more frames than its header says."""
    if isinstance(reader, SequenceReader):
        return range(reader.first, reader.first + reader.count)
    numbers = (file.stem.rpartition(".")[2] for file in folder.glob("*.png"))
    highest = max((int(number) for number in numbers if number.isdecimal()), default=-1)
    return range(shot.first, (highest if shot.last is None else min(highest, shot.last)) + 1)
