"""One shot, file to files: matted while it is read, written while it is matted, gone on with where it was stopped.

Frames are finished in parts, kept beside the output until all are there; then the parts are put together. A stopped run
leaves its parts, and the next run with the same input, settings, weights and versions does only what is missing. Farms
and several workers use the same: whoever does a part, it is the same part.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from glob import escape
from pathlib import Path
from types import TracebackType

import torch

from .errors import MediaError, NoSuchFrameError
from .frames import Clip
from .lock import lock_file, locked
from .media import MEDIA_SUFFIXES, FrameReader, open_frames
from .media.ahead import ahead, behind
from .media.join import join_videos
from .media.parts import Parts, make_room
from .media.sequence import PICTURES, SequenceWriter, pictures_in
from .media.video import CODECS, Codec, VideoWriter
from .pipeline import MattingPipeline
from .post.composite import checker, over
from .version import __version__
from .windows import trim

log = logging.getLogger(__name__)

PARTS_FOLDER = ".gvm-parts"
JOINING = "joining"
PATIENCE = 2.0
"""Seconds that a run waits for whoever looks after what is left of it."""

Advance = Callable[[int, Clip | None], None]
"""Called with a number of finished frames, and with their alpha unless an earlier run finished them."""


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


def codec_of(path: Path) -> Codec | None:
    """How ``path`` is written; None for pictures."""
    return CODECS.get(path.suffix.lower())


def is_picture(path: Path) -> bool:
    """Whether ``path`` is to be a single picture, and not a folder of them."""
    return path.suffix.lower() == ".png" and not path.is_dir()


def matte_shot(
    shot: Shot, pipeline: MattingPipeline, advance: Advance = lambda *_: None, *, overwrite: bool = False
) -> int:
    """Matte ``shot``, or go on with it; the number of its frames.

    Args:
        shot: From what to what.
        pipeline: How.
        advance: Told of every frame that is finished.
        overwrite: Replace what lies under the outputs' names.

    Raises:
        MediaError: If something cannot be read or written, or is in the way.
    """
    with begun(shot, run_key(shot, pipeline), advance, overwrite=overwrite) as parts:
        for first, last in parts.missing():
            fill(shot, pipeline, parts, first, last, advance)
        return finish(shot, parts)


@contextmanager
def begun(shot: Shot, key: str, advance: Advance, *, overwrite: bool = False) -> Iterator[Parts]:
    """The parts that earlier runs of the same `run_key` left, none if there was none, locked for this process.

    What the block finishes stays if it fails or is stopped; if it finished nothing, nothing stays.

    Raises:
        MediaError: If another process is at it, and as `refuse_taken` does.
    """
    parts = Parts(parts_folder(shot, key), shot.first, shot.last)
    with tidied(parts.folder.parent), locked(parts.folder, PATIENCE) as mine:
        if not mine:
            raise MediaError(
                f"another process is at {shot.matte} already, with the same input and settings; if that has died on "
                f"another machine, and the disk knows no locks, delete {lock_file(parts.folder)}"
            )
        if not overwrite and not (parts.folder / JOINING).exists():
            refuse_taken(shot)
        make_room(parts.folder.parent)
        if done := parts.count():
            log.info("%d frames were matted before and are taken over from %s", done, parts.folder)
            advance(done, None)
        elif begun_otherwise(shot, parts.folder):
            log.info(
                "another run of %s, unfinished, has another input, range, settings or weights; this begins anew",
                shot.matte,
            )
        try:
            yield parts
        except BaseException:
            if parts.finished():
                log.info("what is finished is kept in %s; the same run goes on from there", parts.folder)
            else:
                parts.clear()
            raise


@contextmanager
def tidied(folder: Path) -> Iterator[None]:
    """Delete ``folder`` after the ``with`` block if nothing is left in it."""
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def begun_otherwise(shot: Shot, mine: Path) -> bool:
    """Whether a run of the same matte but not the same facts lies there, whoever may be at it."""
    others = mine.parent.glob(f"{escape(shot.matte.name)}-*")
    return any(other.is_dir() and other != mine and len(other.name) == len(mine.name) for other in others)


def adopt(shot: Shot, pipeline: MattingPipeline) -> Path:
    """The matte to write in place of ``shot``'s, so that it goes on with what a stopped run of the same left.

    A run that had not begun to put parts together is renamed; one that had must end under the name it began with.
    """
    key = run_key(shot, pipeline)
    mine = parts_folder(shot, key)
    for other in mine.parent.glob(f"*-{key}"):
        with tidied(mine.parent), locked(other) as free:
            if not free or not other.is_dir():
                continue
            if (other / JOINING).exists():
                return shot.matte.with_name(other.name.removesuffix(f"-{key}"))
            if not mine.exists():
                other.rename(mine)
    return shot.matte


def parts_folder(shot: Shot, key: str) -> Path:
    """Where the finished parts of ``shot`` are kept until all are there, in a run that ``key`` names."""
    return shot.matte.absolute().parent / PARTS_FOLDER / f"{shot.matte.name}-{key}"


def interrupted(shot: Shot) -> bool:
    """Whether a run was stopped while it put parts together, so that outputs may be there that are not whole."""
    return any(parts_folder(shot, "*").parent.glob(f"{escape(shot.matte.name)}-*/{JOINING}"))


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


def fill(shot: Shot, pipeline: MattingPipeline, parts: Parts, first: int, last: int | None, advance: Advance) -> None:
    """Matte frames ``first`` to ``last`` of ``shot``, both where parts begin and end, into ``parts``."""
    start, end = pipeline.settings.context(first, last)
    with ExitStack() as stack:
        reader = stack.enter_context(open_frames(shot.source, start, end))
        frames = stack.enter_context(closing(ahead(reader)))
        originals = shot.preview is not None
        clips = stack.enter_context(closing(pipeline.stream(frames, start, originals=originals)))
        writer = stack.enter_context(PartWriter(shot, parts, reader, first))
        try:
            with behind(writer.write) as write:
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


class PartWriter:
    """Writes every output of consecutive frames, part by part.

    A full part is kept once it is known whether another frame follows, so that the last one can say that it is.

    Args:
        shot: What to write.
        parts: Where to.
        reader: Of the source, for frames' times and names.
        first: The first frame that will be written.
    """

    def __init__(self, shot: Shot, parts: Parts, reader: FrameReader, first: int) -> None:
        self.shot, self.parts, self.reader = shot, parts, reader
        self.start = self.index = first
        self.staged: Path | None = None
        self.writers: dict[str, VideoWriter | SequenceWriter] = {}
        self.opened = ExitStack()  # the writers of the part in hand

    def write(self, clip: Clip) -> None:
        """Write alpha ``[T, 1, H, W]`` of the next frames; for a preview with its originals."""
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
        """Begin a part at the present frame."""
        self.start, self.staged = self.index, self.parts.stage()
        for name, path in self.shot.outputs.items():
            codec, place = codec_of(path), self.staged / name
            writer = (
                SequenceWriter(place, self.reader.names, self.start)
                if codec is None
                else VideoWriter(place, codec, self.reader.rate, self.reader.tags)
            )
            self.writers[place.stem] = self.opened.enter_context(writer)

    def keep(self, *, last: bool) -> None:
        """Finish the part in hand."""
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
    """Put finished parts together under the outputs' names, and delete them; the number of frames.

    Raises:
        MediaError: If frames are missing, something cannot be written, or a picture was to hold several frames.
    """
    if gaps := parts.missing():
        raise MediaError(f"frame {gaps[0][0]} of {shot.matte} is missing; start the same run again")
    finished, count = parts.finished(), parts.count()
    if count > 1 and (single := next(filter(is_picture, shot.outputs.values()), None)):
        parts.clear()
        raise MediaError(f"{single.name} holds a single picture, and {shot.source} has {count}; use a folder name")
    (parts.folder / JOINING).touch()
    for name, path in shot.outputs.items():
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        folders = [part.folder / name for part in finished]
        if is_picture(path):
            for picture in (file for folder in folders for file in folder.iterdir()):
                picture.replace(path)
        elif codec_of(path) is None:
            place_pictures(folders, path)
        else:
            joined = path.with_name(f"{path.stem}.part{path.suffix}")  # under the run's lock
            source = shot.source if shot.source.is_file() else None
            try:
                join_videos(finished, name, joined, source, whole=shot.whole)
                joined.replace(path)
            finally:
                with suppress(OSError):
                    joined.unlink()
    parts.clear()
    return count


def place_pictures(folders: Iterable[Path], target: Path) -> None:
    """Move every picture in ``folders`` to ``target``; those that an interrupted call moved are there already."""
    target.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        for picture in folder.iterdir():
            picture.replace(target / picture.name)


def run_key(shot: Shot, pipeline: MattingPipeline) -> str:
    """Names a run by all that its bytes depend on: input, range, formats, settings, weights, versions, kind of device.

    On processors the last bits depend on the number of threads as well.
    """
    import av

    device = pipeline.host.device.type
    dtypes = [str(network.dtype) for network in (pipeline.model.unet, pipeline.model.vae)]
    versions = [__version__, torch.__version__, av.__version__]
    facts = [
        input_facts(shot.source),
        (shot.first, shot.last),
        [(name, path.suffix) for name, path in shot.outputs.items()],
        (pipeline.settings, pipeline.model.config.refine),
        (pipeline.model.fingerprint, dtypes, pipeline.model.compiled),
        (versions, device, torch.get_num_threads() if device == "cpu" else card_name(pipeline.host.device)),
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def card_name(device: torch.device) -> str | None:
    """What kind of card computes: others round otherwise."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def input_facts(source: Path) -> list[tuple[str, int, int]]:
    """Name, size and date of the input's files, and for a single one a digest of its first and last mebibyte."""
    files = pictures_in(source) if source.is_dir() else [source]
    facts = [(file.name, (known := file.stat()).st_size, known.st_mtime_ns) for file in files]
    if source.is_file():
        digest = hashlib.sha256()
        with source.open("rb") as content:
            digest.update(content.read(2**20))
            content.seek(max(source.stat().st_size - 2**20, 0))
            digest.update(content.read())
        facts.append((digest.hexdigest(), 0, 0))
    return facts
