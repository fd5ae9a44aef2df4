"""Files that are whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write under; the file becomes ``path`` when the block ends well, else it is deleted.

    Its suffix is that of ``path``. Folders on the way are made.

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
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()
