"""A shot: what to matte, what to write, its range of frames, and whether its outputs exist already."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from ..atomic import LONGEST_NAME
from ..errors import InputError, MediaError
from ..media import FrameReader, light_called, open_frames
from ..media.exr import library
from ..media.formats import PICTURES, REVIEW, SUBJECT, format_for
from ..media.sequence import Gaps, SequenceReader, is_pattern, sequence_of
from .outputs import Delivery, Output, Role

Frames = tuple[int, int | None]
"""The first and the last frame, both included; None as the last frame takes all frames."""
PREVIEWS = (".mp4", ".mov", ".png")
NUMBER = re.compile(r"\d+(?=\D*$)")
"""The last number in a name."""


@dataclass(frozen=True)
class Shot:
    """What to matte, and what to write.

    Attributes:
        source: A video, a picture, a folder that holds one sequence of pictures, or a pattern for one.
        matte: Where the mattes go. The suffix chooses the format (see `format_for`): ``.mov``, ``.mkv``, ``.mp4``,
            ``.webm``; a folder or a pattern such as ``shot.####.exr`` for pictures; ``.png`` or ``.exr`` for one frame.
        preview: The subject over a checkerboard: ``.mp4`` or ``.mov``, for a single frame also ``.png``; None for none.
        subject: Where the subject's colours go, with its alpha: as ``matte``, in a format that holds alpha; None for none.
        delivery: How these are written.
        first: Index of the first frame.
        last: Index of the last frame, included; None for all frames.
        fps: Frames per second of a sequence; None for 24.
        gaps: What missing numbers of a sequence become; see `open_frames`.
        layer: Name of the layer of EXR pictures.
        strict: Stop at damage in the source; see `open_frames`.
        light: Name of the light of the source, if it does not say it; see `open_frames`.
        region: Masks that say where the network looks, 1 (white) at the subject: a video, a picture, or a sequence, of
            any size. A single mask is for all frames. None lets the network look everywhere.
        region_start: Index of the source's frame that the first mask is for.
        follow: Find the subject in a first pass at low size, and look there.
        review: Frames above their mattes, for a player: ``.mp4``; None for none.

    Raises:
        InputError: If there is no light of this name.
        MediaError: If a suffix is not supported, the range is not valid, a name is too long for its disk, a file has
            two roles, mattes would replace their own pictures or masks, or there are both a region and `follow`.
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
    subject: Path | None = None
    delivery: Delivery = field(default_factory=Delivery)
    region: Path | None = None
    region_start: int = 0
    follow: bool = False
    review: Path | None = None

    def __post_init__(self) -> None:
        light_called(self.light)
        if self.first < 0 or (self.last is not None and self.last < self.first):
            raise MediaError(f"frames {self.first} to {self.last} are not a range: it needs 0 <= first <= last")
        if self.region is not None and self.follow:
            raise MediaError("a region says where the subject is, and --follow finds it: choose one of them")
        if self.preview is not None and self.preview.suffix.lower() not in PREVIEWS:
            raise MediaError(f"a preview must be .mp4 or .mov, or .png for a single picture, not {self.preview.name!r}")
        refuse_names(self)
        for output in self.outputs:
            if output.role == "subject":
                output.form.pixels(SUBJECT, 2, 2)  # or it raises
            if output.is_picture:
                self.check_single(output.path)
            same = output.is_sequence and self.in_place(output)
            if same and sequence_of(self.source).files[0].suffix.lower() == output.form.suffix:
                raise MediaError(
                    f"the {output.role} would replace the pictures in {output.folder}; choose another folder"
                )
        if (
            self.region is not None
            and self.matte.is_dir()
            and self.region.is_dir()
            and self.matte.samefile(self.region)
        ):
            raise MediaError(f"the mattes would be put among the masks in {self.matte}; choose another folder")

    def check_single(self, path: Path) -> None:
        """Raise `MediaError` if there are several frames for the single picture ``path``."""
        picture = self.source.suffix.lower() in PICTURES and not self.source.is_dir() and not is_pattern(self.source)
        if not picture and self.first != self.last:
            raise MediaError(
                f"{path.name} holds a single picture; for more frames use a folder name, a video, or a pattern such as "
                f"{path.stem}.####{path.suffix}"
            )

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """What is written: the matte, then the others that are wanted."""
        return tuple(outputs_of(self.delivery, self.matte, self.preview, self.subject, self.review))

    @property
    def whole(self) -> bool:
        """Whether the shot takes all frames of its source."""
        return self.first == 0 and self.last is None

    @property
    def sound(self) -> Path | None:
        """The file that may have sound; None for pictures."""
        return self.source if self.source.is_file() and self.source.suffix.lower() not in PICTURES else None

    def in_place(self, output: Output) -> bool:
        """Whether the pictures of ``output`` go into the folder of the source's pictures."""
        folder = self.source.parent if is_pattern(self.source) else self.source
        return output.folder.is_dir() and folder.is_dir() and output.folder.samefile(folder)

    def open(self, first: int, last: int | None) -> FrameReader:
        """A reader for frames ``first`` to ``last`` of the source; see `open_frames`."""
        read = {"fps": self.fps, "gaps": self.gaps, "layer": self.layer, "strict": self.strict}
        return open_frames(self.source, first, last, **read, light=self.light)


def input_facts(source: Path) -> list[tuple[str, int, int]]:
    """Name, size and date of the input's files; for a single file also a digest of its first and last mebibyte.

    EXR is read by OpenEXR or by FFmpeg, so it has one more entry: the version of OpenEXR.

    Raises:
        MediaError: If there is no such input.
    """
    if not source.exists() and not is_pattern(source):
        raise MediaError(f"there is no file or folder {source}")
    files = [source] if source.is_file() else sequence_of(source).files
    facts = [(file.name, (known := file.stat()).st_size, known.st_mtime_ns) for file in files]
    if files[0].suffix.lower() == ".exr":
        facts.append((getattr(library(), "__version__", ""), 0, 0))
    if source.is_file():
        digest = hashlib.sha256()
        with source.open("rb") as content:
            digest.update(content.read(2**20))
            content.seek(max(source.stat().st_size - 2**20, 0))
            digest.update(content.read())
        facts.append((digest.hexdigest(), 0, 0))
    return facts


def outputs_of(
    how: Delivery,
    matte: Path | None = None,
    preview: Path | None = None,
    subject: Path | None = None,
    review: Path | None = None,
) -> list[Output]:
    """The outputs at these paths, in their formats.

    Raises:
        MediaError: If a format is not known, or does not go into its path; see `format_for`.
    """
    made = []
    wanted: list[tuple[Role, Path | None, str | None]] = [
        ("matte", matte, how.format), ("preview", preview, None), ("subject", subject, how.subject_format)
    ]  # fmt: skip
    for role, path, name in wanted:
        if path is None:
            continue
        form = format_for(path, name)
        if exr := form.encoder == "exr":
            form = format_for(path, name, compression=how.compression)
        alpha = (how.alpha or form.usual_alpha) if role == "subject" else ""
        linear = role == "subject" and (exr if how.linear is None else how.linear)
        made.append(Output(role, path, form, alpha, linear, how.start))
    if review is not None:
        made.append(Output("review", review, REVIEW))
    return made


def ends_before(reader: FrameReader, start: int, shot: Shot) -> bool:
    """Whether masks or mattes end before the frames of ``shot``. The first one is for frame ``start`` of the source."""
    there = reader.counted() + start - shot.first
    with shot.open(shot.first, shot.last) as source:
        return (source.count or 0) > there and source.counted() > there  # a damaged header may say too many


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


def refuse_names(shot: Shot) -> None:
    """Raise `MediaError` if the name of an output is too long for its disk, or one file has two roles."""
    every = {
        "input": shot.source,
        "region": shot.region,
        "matte": shot.matte,
        "preview": shot.preview,
        "review": shot.review,
        "subject": shot.subject,
    }
    roles = {role: path for role, path in every.items() if path is not None}
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
        for output in shot.outputs:
            refuse_to_overwrite(output, shot, reader)


def refuse_to_overwrite(output: Output, shot: Shot, reader: FrameReader) -> None:
    """Raise `MediaError` if ``output`` exists already.

    If ``shot`` is only a range of frames, a folder may hold pictures of other frames, as on a render farm. The folder
    of the source's pictures, and one named by a pattern, may hold anything else, too.
    """
    advice = "choose another name, or allow overwriting (--overwrite)"
    path, folder = output.path, output.folder
    if not output.is_sequence:
        if path.exists():
            raise MediaError(f"{path} exists already; {advice}")
    elif folder.exists() and not folder.is_dir():
        raise MediaError(f"{folder} is a file; a sequence needs a folder")
    elif folder.is_dir() and folder == path and shot.whole and not shot.in_place(output) and any(folder.iterdir()):
        raise MediaError(f"{folder} is not empty; {advice}")
    elif folder.is_dir():
        for index in taken_indices(output, shot, reader):
            if (taken := folder / f"{output.names(reader)(index)}{output.form.suffix}").exists():
                raise MediaError(f"{taken} exists already; {advice}")


def taken_indices(output: Output, shot: Shot, reader: FrameReader) -> Iterable[int]:
    """The frames of ``shot`` whose pictures may be there. A video may have more frames than its header says."""
    if isinstance(reader, SequenceReader):
        return range(reader.first, reader.first + reader.count)
    offset = 0 if output.folder == output.path else output.start
    numbers = (NUMBER.search(file.stem) for file in output.folder.glob(f"*{output.form.suffix}"))
    highest = max((int(found[0]) - offset for found in numbers if found), default=-1)
    return range(shot.first, (highest if shot.last is None else min(highest, shot.last)) + 1)
