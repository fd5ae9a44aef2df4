"""Frames in and mattes out, one at a time.

``open_frames`` reads videos and image sequences alike; ``open_matte`` writes either, chosen by the name it is given.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import MediaError
from .sequence import LINEAR, PICTURES, SequenceReader, SequenceWriter
from .video import CODECS, VideoReader, VideoWriter

MEDIA_SUFFIXES = {".avi", ".webm", ".gif", ".m4v", ".mxf", ".wmv", ".ts", *PICTURES}
"""What looks like a file and not like a folder: other dots may be part of a folder's name."""

FrameReader = VideoReader | SequenceReader
MatteWriter = VideoWriter | SequenceWriter


def open_frames(path: Path, first: int = 0, last: int | None = None, *, alpha: bool = False) -> FrameReader:
    """A reader for a video file, an image, or a folder of numbered images.

    Args:
        path: The file or folder.
        first: Index of the first frame wanted, from 0.
        last: Index of the last frame wanted, itself included; ``None`` for all there are.
        alpha: Frames come as ``[4, H, W]``, straight colour and the file's own alpha.

    Raises:
        MediaError: If nothing readable is there; while reading, if alpha is wanted and there is none.
    """
    if path.is_dir():
        return SequenceReader(path, first, last, alpha=alpha)
    if not path.is_file():
        raise MediaError(f"there is no file or folder {path}")
    if path.suffix.lower() in LINEAR:
        return SequenceReader(path, first, last, alpha=alpha)
    return VideoReader(path, first, last, alpha=alpha)


def open_matte(path: Path, source: FrameReader, *, overwrite: bool = False) -> MatteWriter:
    """A writer for the matte of ``source``: a video by its suffix, else a folder of 16-bit PNGs.

    Raises:
        MediaError: If something is in the way and ``overwrite`` is not given, or the suffix means nothing.
    """
    suffix = path.suffix.lower()
    if suffix in CODECS:
        return VideoWriter(path, source.rate, overwrite=overwrite)
    if suffix in MEDIA_SUFFIXES and not path.is_dir():
        known = ", ".join(CODECS)
        raise MediaError(f"no matte format goes with {suffix!r}; use {known}, or a folder name for 16-bit PNGs")
    return SequenceWriter(path, source.names, source.first, overwrite=overwrite)
