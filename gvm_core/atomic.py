"""Write files atomically: a file is complete, or it does not exist."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST_NAME = 255
"""Bytes that the name of a file may have on the usual disks."""


def short_name(name: str, room: int = LONGEST_NAME) -> str:
    """``name``, or if it has more than ``room`` bytes, its begin and a digest of all of it.

    Example:
        >>> short_name("shot.mov"), short_name("素材" * 50, 30)
        ('shot.mov', '素材素材素材素~06c247f7')
    """
    content = os.fsencode(name)
    if len(content) <= room:
        return name
    digest = hashlib.sha256(content).hexdigest()[:8]
    return f"{content[: room - 9].decode(errors='ignore')}~{digest}"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path. The file is renamed to ``path`` when the block succeeds, and deleted when it fails.

    It has the suffix of ``path``. Missing parent folders are created.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "notes" / "one.txt"
        >>> with atomic(path) as part:
        ...     _ = part.write_text("whole")
        ...     path.exists()
        False
        >>> path.read_text(), [each.name for each in path.parent.iterdir()]
        ('whole', ['one.txt'])
    """
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    ending = f".part{path.suffix}"
    part = path.with_name(short_name(f".{path.stem}", LONGEST_NAME - len(os.fsencode(ending))) + ending)
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()
