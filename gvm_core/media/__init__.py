"""Reads frames and writes mattes, one at a time.

``open_frames`` reads both videos and image sequences.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ..errors import InputError, MediaError
from ..post.light import LIGHTS, Light
from .formats import FILMS, PICTURES
from .sequence import LINEAR, Gaps, SequenceReader, is_pattern
from .video import VideoReader
from .webp import WebPReader, durations_of

MEDIA_SUFFIXES = FILMS | PICTURES
"""Suffixes of files. A name with another suffix may be a folder, because folder names may contain dots."""

FrameReader = VideoReader | SequenceReader


def open_frames(
    path: str | Path,
    first: int = 0,
    last: int | None = None,
    *,
    alpha: bool = False,
    fps: Fraction | float | None = None,
    gaps: Gaps = "hold",
    layer: str | None = None,
    strict: bool = False,
    light: str | None = None,
) -> FrameReader:
    """A reader for a video file, an image, or a sequence of numbered images.

    Args:
        path: The file, a folder that holds one sequence, or a pattern for one, as in ``folder/beauty.%04d.exr``.
        first: Index of the first frame wanted, from 0.
        last: Index of the last frame wanted, included; ``None`` for all frames.
        alpha: Read frames as ``[4, H, W]``: straight colour and the file's own alpha.
        fps: Frames per second of a sequence; ``None`` takes 24.
        gaps: What missing numbers of a sequence become: "hold" the picture before, "skip", or "refuse".
        layer: Name of the layer of EXR images.
        strict: Raise an error where a video is damaged, or an image has values that are no finite numbers. Otherwise the
            last good frame is held, or the values are replaced.
        light: Name of the light of the file, one of `LIGHTS`; ``None`` takes what the file says, else the usual one.

    Raises:
        InputError: If there is no ``light`` of this name.
        MediaError: If the path cannot be read, or ``fps`` or ``layer`` is given for a file that is no sequence. While
            reading: if ``alpha`` is True and the file has no alpha.
    """
    path, told = Path(path), light_called(light)
    if path.is_dir() or is_pattern(path) or (path.suffix.lower() in LINEAR and path.is_file()):
        return SequenceReader(
            path, first, last, alpha=alpha, fps=fps, gaps=gaps, layer=layer, strict=strict, light=told
        )
    if not path.is_file():
        raise MediaError(f"there is no file or folder {path}")
    if fps is not None or layer is not None:
        raise MediaError(f"{path} has its own times and no layers: --fps is for folders of pictures, --layer for EXR")
    if path.suffix.lower() == ".webp" and (durations := durations_of(path)):
        return WebPReader(path, durations, first, last, alpha=alpha, strict=strict, light=told)
    return VideoReader(path, first, last, alpha=alpha, strict=strict, light=told)


def light_called(name: str | None) -> Light | None:
    """The light of this name; None for None."""
    if name is not None and name not in LIGHTS:
        raise InputError(f"there is no light called {name!r}; there are {', '.join(LIGHTS)}")
    return None if name is None else LIGHTS[name]
