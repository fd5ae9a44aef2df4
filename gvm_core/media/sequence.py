"""Image sequences: reads folders of numbered pictures, writes 16-bit PNGs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from ..atomic import atomic
from ..errors import MediaError, NoSuchFrameError
from ..post.color import linear_to_srgb
from ..post.composite import unpremultiply
from ..post.resize import SQUARE
from .pixels import frame_for, rgb, rgba

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".webp", ".bmp", ".dpx"}
LINEAR = {".exr"}


class SequenceReader:
    """The pictures in a folder, in natural order (2 before 10), as ``[3, H, W]`` float32, sRGB.

    EXR is linear light by convention. It is converted to sRGB, unclamped. An alpha channel is dropped.

    Args:
        folder: Folder of the pictures; other files in it are ignored. A single picture is a sequence of one.
        first: Index of the first picture wanted, in natural order.
        last: Index of the last picture wanted, included; ``None`` for all.
        alpha: Read ``[4, H, W]``, with the pictures' own alpha as the last channel; see `read_picture`.

    Attributes:
        rate: 24 frames per second, because pictures have no frame rate.
        time_base: The unit of `times`, in seconds.
        times: Time of each frame, from the first picture in the folder to the last one wanted.
        pixel_aspect: 1: pixels are square.
    """

    rate = Fraction(24)
    time_base = 1 / rate
    pixel_aspect = SQUARE

    def __init__(self, folder: Path, first: int = 0, last: int | None = None, *, alpha: bool = False) -> None:
        every = [folder] if folder.is_file() else pictures_in(folder)
        if not every:
            raise MediaError(f"there are no pictures in {folder} (looked for {', '.join(sorted(PICTURES))})")
        twins = [a.name for a, b in pairwise(sorted(every, key=lambda file: file.stem)) if a.stem == b.stem]
        if twins:
            raise MediaError(f"{folder} holds two pictures that differ only in their suffix, like {twins[0]}; keep one")
        self.first, self.alpha = first, alpha
        self.files = every[first : None if last is None else last + 1]
        if not self.files:
            raise NoSuchFrameError(f"{folder} has {len(every)} pictures; there is no frame {first}", len(every))
        self.times = range(first + len(self.files))

    @property
    def names(self) -> Callable[[int], str]:
        """The name of frame ``i``: the file name of its picture, without the suffix."""
        return lambda index: self.files[index - self.first].stem

    @property
    def count(self) -> int:
        """Number of pictures to read."""
        return len(self.files)

    def __iter__(self) -> Iterator[Tensor]:
        return (read_picture(file, alpha=self.alpha) for file in self.files)

    def shown(self, frame: Tensor) -> Tensor:
        """A frame as a screen shows it: pictures are sRGB already."""
        return frame

    def __enter__(self) -> SequenceReader:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: no file stays open between pictures."""


class SequenceWriter:
    """Writes each matte, or picture, as a 16-bit PNG. A file is complete, or it does not exist.

    Args:
        folder: Folder to write to; created if missing.
        names: Gives the file name of frame ``i``, without the suffix.
        first: Index of the first frame that will be written.
        overwrite: Allow a folder that is not empty, and replace files with the same names.
    """

    def __init__(self, folder: Path, names: Callable[[int], str], first: int = 0, *, overwrite: bool = False) -> None:
        if folder.exists() and not folder.is_dir():
            raise MediaError(f"{folder} is a file; a sequence needs a folder")
        if folder.is_dir() and any(folder.iterdir()) and not overwrite:
            raise MediaError(f"{folder} is not empty; choose another folder, or allow overwriting (--overwrite)")
        self.folder, self.names = folder, names
        self.index = first

    def write(self, alpha: Tensor) -> None:
        """Write the next matte ``[1, H, W]``, or picture ``[3, H, W]``, in 0..1."""
        with atomic(self.folder / f"{self.names(self.index)}.png") as part:
            part.write_bytes(png16(alpha))
        self.index += 1

    def __enter__(self) -> SequenceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: every file is closed already."""


def png16(picture: Tensor) -> bytes:
    """A matte ``[1, H, W]`` or a picture ``[3, H, W]``, sRGB, in 0..1, as the bytes of a 16-bit PNG."""
    import av

    big = "gray16be" if len(picture) == 1 else "rgb48be"
    frame = frame_for(picture, big)
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = frame.width, frame.height, big, Fraction(1)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def read_picture(path: Path, *, alpha: bool = False) -> Tensor:
    """One picture as ``[3, H, W]`` float32, sRGB.

    With ``alpha`` it is ``[4, H, W]``, straight. EXR is premultiplied by convention, so its colour is divided by its
    alpha; other formats are not changed.
    """
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            picture = rgba(frame, path) if alpha else rgb(frame, path)
    except (FFmpegError, OSError, StopIteration, IndexError) as error:
        raise MediaError(f"{path} cannot be read as a picture: {error}") from error
    if path.suffix.lower() not in LINEAR:
        return picture
    if not alpha:
        return linear_to_srgb(picture)
    return torch.cat([linear_to_srgb(unpremultiply(picture[:3], picture[3:])), picture[3:]])


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in ``folder`` in natural order, without hidden files."""
    return sorted((f for f in folder.iterdir() if f.suffix.lower() in PICTURES and f.name[0] != "."), key=natural)


def natural(path: Path) -> list[tuple[bool, int, str]]:
    """A sort key under which ``shot.2.png`` comes before ``shot.10.png``."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", path.name)]
