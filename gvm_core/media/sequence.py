"""Image sequences: reads numbered pictures, writes 16-bit PNGs and EXRs.

A picture's number is the last number in its name, and its suffix does not count. Pictures belong to one sequence if they
have the same name without this number, and the same suffix: ``shot.beauty.0001.exr`` and ``shot.beauty.0002.exr``. So
``a1b2.png`` is picture 2 of ``a1b#.png``. For another number write a pattern, as in ``a%db2.png``.

Pictures without a number, and those that are alone in their sequence, are single pictures. A folder with nothing else is
one sequence of them, in natural order.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..atomic import atomic
from ..errors import GVMError, MediaError, NoSuchFrameError, cause
from ..post.color import linear_to_srgb
from ..post.composite import straightened
from ..post.light import LIGHTS, Light
from .container import open_container, refuse_size
from .exr import ExrFacts, choose, facts_of, layers_of, listed, read_exr
from .exr_writer import refuse_compression, write_exr
from .formats import PICTURES, PNG16, Format, refuse_missing
from .pixels import has_alpha, rgb, rgba
from .png import PLAIN, labels_of_png, png16
from .timecode import UNLABELLED, Labels

if TYPE_CHECKING:
    import av

log = logging.getLogger(__name__)
Made = TypeVar("Made")

LINEAR = {".exr", ".hdr"}
Gaps = Literal["hold", "skip", "refuse"]
"""What missing numbers become: the picture before them again, nothing (the pictures move up), or an error."""

WILD = re.compile(r"(%\d*d|#+|\*)")
"""What stands for a number in a pattern (``%04d``, ``####``), or for any text (``*``)."""
SPARSE = 10
"""Numbers for each picture. With more, they are no frame numbers, but a date or a time of day."""
GREY_16 = b"\x89PNG\r\n\x1a\n", b"\x10\x00"
"""How a PNG begins, and its depth and kind of colour if it is a matte of ours."""


class Named(NamedTuple):
    """A picture and the parts of its name: all before its number, the number, and all between number and suffix."""

    file: Path
    head: str
    digits: str
    tail: str

    @property
    def number(self) -> int:
        """Its number, 0 if it has none."""
        return int(self.digits or 0)


@dataclass(frozen=True)
class Sequence:
    """Pictures that are frames of one clip.

    Attributes:
        pictures: In order.
        numbered: Whether their numbers are those of frames.
    """

    pictures: tuple[Named, ...]
    numbered: bool

    @property
    def files(self) -> list[Path]:
        """Their files."""
        return [picture.file for picture in self.pictures]

    @property
    def name(self) -> str:
        """A pattern that only they match."""
        file, head, digits, tail = self.pictures[0]
        return f"{head}{'#' * len(digits)}{tail}{file.suffix}" if self.numbered else file.name

    def __str__(self) -> str:
        first, last = self.pictures[0].digits, self.pictures[-1].digits
        return f"{self.name} ({first}-{last})" if self.numbered else self.name

    def frames(self, gaps: Gaps) -> list[tuple[Path, str]]:
        """The picture of each frame, and the frame's name: that of its picture, or what a missing picture would have.

        Raises:
            MediaError: If two pictures have the same number, too many are missing, or any is and ``gaps`` refuses it.
        """
        numbers = [picture.number for picture in self.pictures]
        if not self.numbered or gaps == "skip":
            return [(file, file.stem) for file in self.files]
        total, steps = numbers[-1] + 1 - numbers[0], list(pairwise([*numbers, numbers[-1] + 1]))
        if missing := [str(a + 1) if b == a + 2 else f"{a + 1}-{b - 1}" for a, b in steps if b > a + 1]:
            where = self.files[0].with_name(self.name)
            advice = "--gaps skip takes the pictures one after another"
            if gaps == "refuse":
                raise MediaError(f"{where} lacks {listed(missing)}; --gaps hold repeats the picture before, {advice}")
            if total > SPARSE * len(numbers):
                raise MediaError(f"{where} has {len(numbers)} pictures, too few for {total} numbers; {advice}")
            say_once(f"{where} lacks {listed(missing)}; there, the picture before is held")
        return [
            (file, f"{head}{number:0{len(digits)}d}{tail}")
            for (file, head, digits, tail), (start, stop) in zip(self.pictures, steps, strict=True)
            for number in range(start, stop)
        ]


class SequenceReader:
    """The frames of a sequence as ``[3, H, W]`` float32, in the light of its files, unclamped.

    EXR and Radiance HDR are linear light by convention, other pictures sRGB. `shown` makes sRGB of them, as a screen
    shows it. An alpha channel is dropped.

    Args:
        source: A folder that holds one sequence, a pattern (see `sequence_of`), or a single picture.
        first: Index of the first frame wanted. The first picture is frame 0, whatever its number.
        last: Index of the last frame wanted, included; ``None`` for all.
        alpha: Read ``[4, H, W]``, with the pictures' own alpha as the last channel; see `read_picture`.
        fps: Frames per second. If it is not given, it is what EXR pictures say, else 24.
        gaps: What missing numbers become; see `Gaps`.
        layer: Name of the layer of EXR pictures; see `read_exr`.
        strict: Refuse pictures with values that are no finite numbers; see `read_picture`.
        light: The light of the files, if it is not the usual one of their format.

    Attributes:
        light: The light of the files.
        rate: Frames per second, exact.
        time_base: The unit of `times`, in seconds.
        times: Time of each frame, from the sequence's first to the last one wanted.
        labels: What EXR pictures say about their pixel aspect, timecode and reel, and the colours of the frames.
        files: The picture of each frame.
    """

    rate = Fraction(24)
    time_base = 1 / rate
    labels = Labels(colour=PLAIN)

    def __init__(
        self,
        source: Path,
        first: int = 0,
        last: int | None = None,
        *,
        alpha: bool = False,
        fps: Fraction | float | None = None,
        gaps: Gaps = "hold",
        layer: str | None = None,
        strict: bool = False,
        light: Light | None = None,
    ) -> None:
        frames = sequence_of(source).frames(gaps)
        wanted = frames[first : None if last is None else last + 1]
        if not wanted:
            raise NoSuchFrameError(f"{source} has {len(frames)} pictures; there is no frame {first}", len(frames))
        self.first, self.alpha, self.layer, self.strict = first, alpha, layer, strict
        self.files, self.stems = [file for file, _ in wanted], [stem for _, stem in wanted]
        if layer is not None and self.files[0].suffix.lower() != ".exr":
            raise MediaError(f"{self.files[0]} has no layers to choose from (--layer): only EXR pictures have layers")
        exr = self.files[0].suffix.lower() == ".exr"
        opening = facts_of(self.files[0]) if exr else ExrFacts()
        self.light = light or light_of_picture(self.files[0])
        self.rate = Fraction(opening.rate or 24 if fps is None else fps).limit_denominator(10**6)
        if self.rate <= 0:
            raise MediaError(f"a sequence needs more than 0 frames per second, not {fps}")
        self.time_base, self.times = 1 / self.rate, range(first + len(self.files))
        held = first - next(index for index, (file, _) in enumerate(frames) if file == self.files[0])
        self.labels = opening.labels(self.rate, held) if exr else labels_of(self.files[0])

    @property
    def has_alpha(self) -> bool:
        """Whether the first picture has an alpha channel, in EXR the layer. It can be asked of a reader that drops alpha."""
        file = self.files[0]
        if file.suffix.lower() == ".exr":
            return "A" in choose(layers_of(file), file, self.layer).channels
        return picture_of(file, has_alpha)

    @property
    def names(self) -> Callable[[int], str]:
        """The name of frame ``i``: the file name of its picture, without the suffix."""
        return lambda index: self.stems[index - self.first]

    @property
    def count(self) -> int:
        """Number of frames to read."""
        return len(self.stems)

    def counted(self) -> int:
        """Number of frames to read."""
        return len(self.stems)

    def __iter__(self) -> Iterator[Tensor]:
        size = None
        for file, held in groupby(self.files):
            picture = read_pixels(file, alpha=self.alpha, layer=self.layer, strict=self.strict)
            height, width = picture.shape[-2:]
            if (size := size or (height, width)) != (height, width):
                raise MediaError(
                    f"{file} is {width}x{height} pixels, but {self.files[0].name} is {size[1]}x{size[0]}; all pictures of "
                    "a sequence must have the same size: take the other one away, or scale it"
                )
            yield from (picture for _ in held)

    def shown(self, frame: Tensor) -> Tensor:
        """A frame as a screen shows it, sRGB 0..1: light beyond white is tone-mapped, wide colours are converted."""
        return self.light.to_srgb(frame)

    def __enter__(self) -> SequenceReader:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: no file stays open between pictures."""


class SequenceWriter:
    """Writes each matte, picture or subject as a file of its own. A file is complete, or it does not exist.

    Args:
        folder: Folder to write to; created if missing.
        names: Gives the file name of frame ``i``, without the suffix; see also `numbered`.
        first: Index of the first frame that will be written.
        overwrite: Allow a folder that is not empty, and replace files with the same names.
        form: From `FORMATS`, of the kind "pictures".
        labels: What every file says about its frame; the timecode is that of frame ``first``. A PNG holds colour tags and
            notes, an EXR all of it.
        rate: Frames per second, which only an EXR holds.

    Raises:
        MediaError: If the folder cannot be used. While writing, if a file cannot be written; see also `write_exr`.
        MissingPackageError: If the compression of EXR needs a package that is not installed.
    """

    def __init__(
        self,
        folder: Path,
        names: Callable[[int], str],
        first: int = 0,
        *,
        overwrite: bool = False,
        form: Format = PNG16,
        labels: Labels = UNLABELLED,
        rate: Fraction | None = None,
    ) -> None:
        refuse_missing(form)
        if form.encoder == "exr":
            refuse_compression(form.options["compression"])
        if folder.exists() and not folder.is_dir():
            raise MediaError(f"{folder} is a file; a sequence needs a folder")
        if folder.is_dir() and any(folder.iterdir()) and not overwrite:
            raise MediaError(f"{folder} is not empty; choose another folder, or allow overwriting (--overwrite)")
        self.folder, self.names, self.form, self.labels, self.rate = folder, names, form, labels, rate
        self.first = self.index = first

    def write(self, picture: Tensor, layers: Mapping[str, Tensor] | None = None) -> None:
        """Write the next matte ``[1, H, W]``, picture ``[3, H, W]``, or subject ``[4, H, W]`` with alpha.

        Args:
            picture: Its colours are final: in the light of the labels, straight or premultiplied. 0..1; EXR takes any.
            layers: More mattes ``[1, H, W]`` of this frame by the name of their layer, for EXR.
        """
        path = self.folder / f"{self.names(self.index)}{self.form.suffix}"
        if layers and self.form.encoder != "exr":
            raise MediaError(f"{self.form.title} has no layers for {', '.join(layers)}; EXR has them")
        try:
            with atomic(path) as part:
                if self.form.encoder == "exr":
                    kind, compression = self.form.pixels(*picture.shape), self.form.options["compression"]
                    labels = self.labels.after(self.index - self.first)
                    write_exr(part, picture, kind, compression, labels, rate=self.rate, layers=layers)
                else:
                    part.write_bytes(png16(picture, self.labels))
        except GVMError:
            raise
        except (OSError, RuntimeError) as error:  # the last one is what the OpenEXR package raises
            raise MediaError(
                f"{path} cannot be written: {cause(error)}; make room, or choose another folder"
            ) from error
        self.index += 1

    def __enter__(self) -> SequenceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: every file is closed already."""


def numbered(pattern: str, start: int = 1001) -> Callable[[int], str]:
    """Names for a sequence: those of ``pattern``, as in ``shot.####.exr`` or ``shot.%04d.exr``, without the suffix.

    Args:
        pattern: A file name. ``#`` or ``%0d`` stand for the number and its digits. Without them it has four at the end.
        start: The number of frame 0.

    Raises:
        MediaError: If there are several numbers in the pattern, or it says ``*``.

    Example:
        >>> numbered("shot.####.exr")(0), numbered("a_%06d_matte.exr", 1)(41), numbered("shot.exr", 100)(5)
        ('shot.1001', 'a_000042_matte', 'shot.0105')
    """
    name = Path(pattern).stem if Path(pattern).suffix.lower() in PICTURES else pattern
    words = WILD.split(name if WILD.search(name) else f"{name}.####")
    if len(words) != 3 or words[1] == "*":
        raise MediaError(f"{pattern!r} must have one place for the number, such as #### or %04d")
    digits = len(words[1]) if words[1].startswith("#") else int(words[1][1:-1] or 1)
    return lambda index: f"{words[0]}{start + index:0{digits}d}{words[2]}"


def light_of_picture(path: Path) -> Light:
    """The light of a picture: what it says, else linear light for EXR and Radiance HDR, and sRGB for others."""
    if path.suffix.lower() == ".exr":
        return facts_of(path).light
    colour = labels_of(path).colour
    return LIGHTS["linear"] if path.suffix.lower() in LINEAR else Light.tagged(colour.transfer, colour.primaries)


def read_picture(path: Path, **options: Any) -> Tensor:
    """`read_pixels` of one picture, in sRGB, unclamped: linear light beyond white is beyond 1."""
    picture = read_pixels(path, **options)
    if path.suffix.lower() not in LINEAR or light_of_picture(path).transfer != "linear":
        return picture
    return torch.cat([linear_to_srgb(picture[:3]), picture[3:]])


def read_pixels(path: Path, *, alpha: bool = False, layer: str | None = None, strict: bool = False) -> Tensor:
    """One picture as ``[3, H, W]`` float32, in the light of the file, unclamped.

    With ``alpha`` it is ``[4, H, W]``, straight. EXR is premultiplied and linear light by convention, other formats are
    straight and sRGB, unless the file says otherwise. Premultiplied colour is divided by its alpha, and stays as it is where
    alpha is 0. ``layer`` is for EXR; see `read_exr`.

    Not a number becomes 0, infinity 1 and minus infinity 0, and the log names the file.

    Raises:
        MediaError: If the picture cannot be read; with ``strict``, also if it has values that are no finite numbers.
    """
    picture = read_exr(path, layer, alpha=alpha) if path.suffix.lower() == ".exr" else decoded(path, alpha)
    if not torch.isfinite(picture).all():
        count = int((~torch.isfinite(picture)).sum())
        if strict:
            raise MediaError(f"{path} has {count} values that are no finite numbers (NaN or infinity)")
        log.warning("%s has %d values that are no finite numbers; NaN is read as 0, infinity as 1", path, count)
        picture = picture.nan_to_num(0.0, posinf=1.0, neginf=0.0)
    said = labels_of(path) if alpha else UNLABELLED
    if alpha and (said.alpha == "premultiplied" or (path.suffix.lower() in LINEAR and not said.alpha)):
        picture = straightened(picture)
    return picture


def labels_of(path: Path) -> Labels:
    """What a single picture says about itself; see `labels_of_png` and `facts_of`."""
    if path.suffix.lower() == ".exr":
        return facts_of(path).labels(Fraction(24), 0)
    return labels_of_png(path) if path.suffix.lower() == ".png" else Labels(colour=PLAIN)


def decoded(path: Path, alpha: bool) -> Tensor:
    """One picture as FFmpeg reads it: ``[3, H, W]``, or ``[4, H, W]`` with its alpha."""
    return picture_of(path, lambda frame: rgba(frame, path) if alpha else rgb(frame, path))


def picture_of(path: Path, use: Callable[[av.VideoFrame], Made]) -> Made:
    """What ``use`` makes of a picture that FFmpeg decodes. The file is closed afterwards.

    Raises:
        MediaError: If the picture cannot be read.
    """
    from av.error import FFmpegError

    try:
        with open_container(path) as container:
            stream = container.streams.video[0]
            refuse_size(path, stream.width, stream.height)
            return use(next(container.decode(stream)))
    except (FFmpegError, OSError, StopIteration, IndexError) as error:
        raise MediaError(f"{path} cannot be read as a picture: {cause(error)}") from error


def is_pattern(path: Path) -> bool:
    """Whether ``path`` is a pattern for pictures (see `sequence_of`) and no file or folder."""
    return WILD.search(path.name) is not None and not path.exists()


def sequence_of(source: Path) -> Sequence:
    """The sequence that a folder holds, or a pattern names, or the sequence of a single picture.

    A pattern is ``folder/beauty.%04d.exr`` or ``folder/beauty.####.exr``, which is any number, or ``folder/beauty.*``,
    which is any text.

    Raises:
        MediaError: If there is no picture, or more than one sequence.
    """
    if source.is_file():
        return Sequence((named(source),), False)
    folder, wanted = (source.parent, source.name) if is_pattern(source) else (source, "*")
    every = pictures_in(folder) if folder.is_dir() else []
    if not every:
        raise MediaError(f"there are no pictures in {folder} (looked for {', '.join(sorted(PICTURES))})")
    found = sequences(filter(None, (matched(wanted, file) for file in every)))
    if len(found) == 1:
        return found[0]
    if not found:
        there = listed(sequences(map(named, every)))
        raise MediaError(f"no picture in {folder} is called {wanted}; there are {there}")
    raise MediaError(f"{source} holds several sequences: {listed(found)}. Choose one, as in {folder / found[0].name}")


def sequences(pictures: Iterable[Named]) -> list[Sequence]:
    """The sequences that ``pictures`` form, and each single picture as one; only single pictures are one together.

    Mattes of ours are left out: 16-bit grey PNGs that differ only in their suffix from the pictures of a sequence. So a
    folder can take the mattes of its own pictures, job by job.

    Raises:
        MediaError: If there are only single pictures, and two differ only in their suffix.
    """
    groups: dict[tuple[str, str, bool, str], list[Named]] = {}
    for picture in pictures:
        file, head, digits, tail = picture
        groups.setdefault((head, tail, digits == "", file.suffix.lower()), []).append(picture)
    for key, group in list(groups.items()):
        others = [each for name, each in groups.items() if name[:3] == key[:3] and name[3] != key[3]]
        if key[3] == ".png" and any(covers(each, group) for each in others) and all(is_matte(p.file) for p in group):
            where = group[0].file.with_name(Sequence(tuple(group), not key[2]).name)
            say_once(f"{where} is 16-bit grey, so it is taken for mattes and not read")
            del groups[key]
    single = sorted((each[0] for each in groups.values() if len(each) == 1), key=lambda picture: natural(picture.file))
    several = [sorted(each, key=lambda picture: picture.number) for each in groups.values() if len(each) > 1]
    same = [pair for group in several for pair in pairwise(group) if pair[0].number == pair[1].number]
    if not several:
        same = [pair for pair in pairwise(sorted(single, key=lambda p: p.file.stem)) if pair[0][1:] == pair[1][1:]]
    if same:
        one, other = (picture.file for picture in same[0])
        raise MediaError(f"{one} and {other.name} differ only in their suffix, or in zeros; keep one of them")
    if single and not several:
        return [Sequence(tuple(single), False)]
    return [Sequence(tuple(each), True) for each in several] + [Sequence((each,), False) for each in single]


def covers(pictures: list[Named], others: list[Named]) -> bool:
    """Whether every number of ``others`` lies between the first and the last number of ``pictures``."""
    there, asked = ([each.number for each in group] for group in (pictures, others))
    return min(there) <= min(asked) and max(asked) <= max(there)


def is_matte(path: Path) -> bool:
    """Whether a PNG is grey and has 16 bits, like our mattes."""
    with path.open("rb") as file:
        opening = file.read(26)
    return (opening[:8], opening[24:26]) == GREY_16


def named(file: Path) -> Named:
    """The parts of a picture's name, around the last number in it."""
    found = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", file.stem, re.DOTALL)
    return Named(file, *found.groups()) if found else Named(file, file.stem, "", "")


def matched(pattern: str, file: Path) -> Named | None:
    """The parts of a picture's name, around the number that ``pattern`` gives; None if it does not match."""
    words = WILD.split(pattern)
    number = max((place for place, word in enumerate(words) if word[:1] in ("%", "#") and place % 2), default=None)
    wild = ["(.*)" if word == "*" else r"([0-9]+)" for word in words]
    spelt = "".join(wild[place] if place % 2 else re.escape(word) for place, word in enumerate(words))
    found = re.fullmatch(spelt, file.name, re.DOTALL)
    if found is None or number is None:
        return found and named(file)
    start, end = found.span(number // 2 + 1)
    return Named(file, file.stem[:start], file.name[start:end], file.stem[end:])


@cache
def say_once(text: str) -> None:
    """Log ``text``, once in this process: one run opens its source several times."""
    log.info(text)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in ``folder`` in natural order, without hidden files."""
    return sorted((f for f in folder.iterdir() if f.suffix.lower() in PICTURES and f.name[0] != "."), key=natural)


def natural(path: Path) -> list[tuple[bool, int, str]]:
    """A sort key under which ``shot.2.png`` comes before ``shot.10.png``."""
    parts = re.split(r"(\d+)", path.name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
