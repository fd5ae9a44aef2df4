"""Opens files with FFmpeg."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from ..errors import MediaError

LARGE, DENSEST = 2**26, 4096
"""Pixels of a picture that any file may have: twice 8K. A larger one needs a byte for so many of its pixels, at least."""


def open_container(file: Path | BytesIO, mode: Literal["r", "w"] = "r", options: dict[str, str] | None = None) -> Any:
    """Open ``file`` as `av.open` does, whatever its name and its tags contain. ``options`` are for writing.

    A relative path such as ``take:1.mp4`` would be a protocol to FFmpeg, so it gets the absolute one. A percent sign in
    the name of a picture stands for itself. Tags that are not UTF-8, as old cameras write them, are read with replacement
    characters.
    """
    import av

    named = str(file.absolute()) if isinstance(file, Path) else file
    if mode == "w":
        return av.open(named, mode, options=options or {}, metadata_errors="replace")
    # not as ``options``: with these, PyAV writes past its memory where more tracks are found while a file is read
    return av.open(named, container_options={"pattern_type": "none"}, metadata_errors="replace")


def most_pixels(path: Path) -> int:
    """The pixels of the largest picture that the file ``path`` can hold, by its size. A damaged header may say more."""
    return max(LARGE, DENSEST * path.stat().st_size)


def refuse_size(path: Path, width: int, height: int) -> None:
    """Raise `MediaError` if a picture of this size cannot be in the file ``path``."""
    if width * height > most_pixels(path):
        raise MediaError(
            f"{path} is damaged: its header says {width}x{height} pixels, which its {path.stat().st_size} bytes cannot hold"
        )
