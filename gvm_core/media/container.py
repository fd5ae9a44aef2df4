"""Opens files with FFmpeg."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, Literal


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
