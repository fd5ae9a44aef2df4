"""Frames in and mattes out, one at a time.

``open_frames`` reads videos and image sequences alike.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import MediaError
from .sequence import LINEAR, PICTURES, SequenceReader
from .video import VideoReader

MEDIA_SUFFIXES = {".avi", ".webm", ".gif", ".m4v", ".mxf", ".wmv", ".ts", *PICTURES}
"""What looks like a file and not like a folder: other dots may be part of a folder's name."""

FrameReader = VideoReader | SequenceReader


def open_frames(path: str | Path, first: int = 0, last: int | None = None, *, alpha: bool = False) -> FrameReader:
    """A reader for a video file, an image, or a folder of numbered images.

    Args:
        path: The file or folder.
        first: Index of the first frame wanted, from 0.
        last: Index of the last frame wanted, itself included; ``None`` for all there are.
        alpha: Frames come as ``[4, H, W]``, straight colour and the file's own alpha.

    Raises:
        MediaError: If nothing readable is there; while reading, if alpha is wanted and there is none.
    """
    path = Path(path)
    if path.is_dir():
        return SequenceReader(path, first, last, alpha=alpha)
    if not path.is_file():
        raise MediaError(f"there is no file or folder {path}")
    if path.suffix.lower() in LINEAR:
        return SequenceReader(path, first, last, alpha=alpha)
    return VideoReader(path, first, last, alpha=alpha)
