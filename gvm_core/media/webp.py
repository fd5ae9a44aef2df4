"""Reads animated WebP pictures with Pillow, because FFmpeg reads only still ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import MediaError, NoSuchFrameError, cause, optional
from ..post.light import Light
from .sequence import SequenceReader

log = logging.getLogger(__name__)

UNSAID = 100
"""Milliseconds of a frame whose duration is 0, as in browsers."""


class WebPReader(SequenceReader):
    """The frames of an animated WebP as ``[3, H, W]`` float32, 0..1 in the light of the file: a sequence in one file, with its own times.

    Args:
        path: The file.
        durations: From `durations_of`.
        first: Index of the first frame wanted.
        last: Index of the last frame wanted, included; ``None`` for all.
        alpha: Read ``[4, H, W]``: straight colour and the file's own alpha.
        strict: Raise an error where the file is damaged. Otherwise the last good frame is held to the end.
        light: The light of the file, if it is not sRGB.

    Raises:
        MissingPackageError: If Pillow is not installed.
    """

    def __init__(
        self,
        path: Path,
        durations: list[int],
        first: int,
        last: int | None,
        *,
        alpha: bool,
        strict: bool,
        light: Light | None = None,
    ) -> None:
        self.image = optional("PIL.Image", "pillow")
        if first >= len(durations):
            raise NoSuchFrameError(f"{path} has {len(durations)} frames; there is no frame {first}", len(durations))
        self.path, self.first, self.alpha, self.strict = path, first, alpha, strict
        self.light = light or Light()
        self.rate, self.time_base = Fraction(1000 * len(durations), sum(durations)), Fraction(1, 1000)
        self.times = [0, *accumulate(durations[:-1])][: None if last is None else last + 1]
        self.stems = [f"{path.stem}_matte.{index:06d}" for index in range(first, len(self.times))]

    @property
    def has_alpha(self) -> bool:
        """Whether the file has an alpha channel."""
        try:
            with self.image.open(self.path) as film:
                return bool(film.mode == "RGBA")
        except Exception as error:
            raise MediaError(f"{self.path} cannot be read as a picture: {cause(error)}") from error

    def __iter__(self) -> Iterator[Tensor]:
        index, good = self.first, None
        try:
            with self.image.open(self.path) as film:
                if self.alpha and film.mode != "RGBA":
                    raise MediaError(f"{self.path} has no alpha channel (its pixels are {film.mode})")
                for index in range(self.first, len(self.times)):
                    film.seek(index)
                    levels = np.array(film.convert("RGBA" if self.alpha else "RGB"), np.float32)  # [H, W, C]
                    yield (good := torch.from_numpy(levels).movedim(-1, 0).contiguous() / 255)
        except MediaError:
            raise
        except Exception as error:
            if self.strict or good is None:
                raise MediaError(f"{self.path} is damaged at frame {index}: {cause(error)}") from error
            log.warning("%s is damaged from frame %d on; the frame before it is held", self.path, index)
            yield from [good] * (len(self.times) - index)


def durations_of(path: Path) -> list[int]:
    """The milliseconds of every frame of an animated WebP; empty for other files. Only their headers are read."""
    durations = []
    with path.open("rb") as file:
        if (start := file.read(12))[:4] + start[8:] != b"RIFFWEBP":
            return []
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            body = file.read(min(size, 16))
            if chunk[:4] == b"ANMF":
                durations.append(int.from_bytes(body[12:15], "little") or UNSAID)
            file.seek(size + size % 2 - len(body), 1)
    return durations
