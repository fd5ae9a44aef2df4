"""Write files atomically: a file is complete, or it does not exist."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()
