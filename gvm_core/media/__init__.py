"""Reads frames and writes mattes, one at a time.

``open_frames`` reads both videos and image sequences.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import MediaError
from .sequence import LINEAR, PICTURES, SequenceReader
from .video import VideoReader

MEDIA_SUFFIXES = {".avi", ".webm", ".gif", ".m4v", ".mxf", ".wmv", ".ts", *PICTURES}
"""Suffixes of files. A name with another suffix may be a folder, because folder names may contain dots."""

FrameReader = VideoReader | SequenceReader


def open_frames(
    path: str | Path, first: int = 0, last: int | None = None, *, alpha: bool = False, strict: bool = False
) -> FrameReader:
    """A reader for a video file, an image, or a folder of numbered images.

    Args:
        path: The file or folder.
        first: Index of the first frame wanted, from 0.
        last: Index of the last frame wanted, included; ``None`` for all frames.
        alpha: Read frames as ``[4, H, W]``: straight colour and the file's own alpha.
        strict: Raise an error where a video is damaged, instead of holding the last good frame.

    Raises:
        MediaError: If the path cannot be read. While reading: if ``alpha`` is True and the file has no alpha.
    """
    path = Path(path)
    if path.is_dir():
        return SequenceReader(path, first, last, alpha=alpha)
    if not path.is_file():
        raise MediaError(f"there is no file or folder {path}")
    if path.suffix.lower() in LINEAR:
        return SequenceReader(path, first, last, alpha=alpha)
    return VideoReader(path, first, last, alpha=alpha, strict=strict)
