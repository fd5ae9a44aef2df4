"""Image sequences: folders of numbered pictures in, 16-bit PNGs out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import MediaError
from ..post.color import linear_to_srgb
from .video import convert, rgb

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".webp", ".bmp", ".dpx"}
LINEAR = {".exr"}


class SequenceReader:
    """The pictures in a folder, in natural order (2 before 10), as ``[3, H, W]`` float32, sRGB.

    EXR is linear light by convention and is encoded as sRGB on reading, unclamped. An alpha channel is dropped.

    Args:
        folder: Holds the pictures; other files in it are left alone.
        first: Index of the first picture wanted, in that order.
        last: Index of the last one wanted, itself included; ``None`` for all.

    Attributes:
        rate: 24 frames per second, since pictures do not say.
    """

    rate = Fraction(24)

    def __init__(self, folder: Path, first: int = 0, last: int | None = None) -> None:
        pictures = (file for file in folder.iterdir() if file.suffix.lower() in PICTURES and file.name[0] != ".")
        every = sorted(pictures, key=natural)
        if not every:
            raise MediaError(f"there are no pictures in {folder} (looked for {', '.join(sorted(PICTURES))})")
        twins = [a.name for a, b in pairwise(sorted(every, key=lambda file: file.stem)) if a.stem == b.stem]
        if twins:
            raise MediaError(f"{folder} holds two pictures that differ only in their suffix, like {twins[0]}; keep one")
        self.first = first
        self.files = every[first : None if last is None else last + 1]
        if not self.files:
            raise MediaError(f"{folder} has {len(every)} pictures; there is no frame {first}")

    @property
    def names(self) -> Callable[[int], str]:
        """The name of frame ``i``: that of its picture, dots and all."""
        return lambda index: self.files[index - self.first].stem

    @property
    def count(self) -> int:
        """How many pictures will come."""
        return len(self.files)

    def __iter__(self) -> Iterator[Tensor]:
        return map(read_picture, self.files)

    def __enter__(self) -> SequenceReader:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open between pictures."""


class SequenceWriter:
    """Writes each matte as a 16-bit grey PNG, whole or not at all.

    Args:
        folder: Where to; made if need be.
        names: The stem of frame ``i``'s file.
        first: Index of the first frame that will be written.
        overwrite: Replace files of those names.
    """

    def __init__(self, folder: Path, names: Callable[[int], str], first: int = 0, *, overwrite: bool = False) -> None:
        if folder.exists() and not folder.is_dir():
            raise MediaError(f"{folder} is a file; a sequence needs a folder")
        if folder.is_dir() and any(folder.iterdir()) and not overwrite:
            raise MediaError(f"{folder} is not empty; choose another, or allow overwriting (--overwrite)")
        self.folder, self.names = folder, names
        self.index = first

    def write(self, alpha: Tensor) -> None:
        """Write the next matte ``[1, H, W]`` in 0..1."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.names(self.index)}.png"
        part = path.with_name(f"{path.name}.part")
        try:
            part.write_bytes(png16(alpha))
            part.replace(path)
        finally:
            with suppress(OSError):
                part.unlink()
        self.index += 1

    def __enter__(self) -> SequenceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Every file is closed already."""


def png16(alpha: Tensor) -> bytes:
    """A matte ``[1, H, W]`` in 0..1 as the bytes of a 16-bit grey PNG."""
    import av

    levels = (alpha[0].clamp(0, 1) * 65535).round().numpy().astype(np.uint16)
    frame = convert(av.VideoFrame.from_ndarray(levels, format="gray16le"), format="gray16be")
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = (
        frame.width,
        frame.height,
        "gray16be",
        Fraction(1),
    )
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def read_picture(path: Path) -> Tensor:
    """One picture as ``[3, H, W]`` float32, sRGB."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            picture = rgb(next(container.decode(video=0)))
    except (FFmpegError, OSError, StopIteration, IndexError) as error:
        raise MediaError(f"{path} cannot be read as a picture: {error}") from error
    return linear_to_srgb(picture) if path.suffix.lower() in LINEAR else picture


def natural(path: Path) -> list[tuple[bool, int, str]]:
    """A sort key under which ``shot.2.png`` comes before ``shot.10.png``."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", path.name)]
