"""A claim on a folder: one process at a time may have it, and its death gives it up."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".lock"

if sys.platform == "win32":
    import msvcrt

    def lock(descriptor: int) -> None:
        """Lock an open file, or raise `PermissionError` at once."""
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def lock(descriptor: int) -> None:
        """Lock an open file, or raise `BlockingIOError` at once."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Claim ``folder``, which need not exist, inside the ``with`` block; False if another process has it.

    By a lock on a file beside it, which the system takes back from a process that dies. On a disk that knows no locks
    the claim is always granted.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "run"
        >>> with claimed(folder) as mine, claimed(folder) as also_mine:
        ...     mine, also_mine
        (True, False)
    """
    path = folder.with_name(folder.name + SUFFIX)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, mine = take(path)
    try:
        yield mine
    finally:
        if mine and sys.platform != "win32":
            path.unlink(missing_ok=True)  # while it is locked, or it might be another's
        os.close(descriptor)
        if mine:
            with suppress(OSError):  # others work there too
                if sys.platform == "win32":
                    path.unlink(missing_ok=True)  # refused while another has it open
                path.parent.rmdir()


def take(path: Path) -> tuple[int, bool]:
    """Open and lock the file ``path``: a descriptor, and whether the lock was to be had."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            lock(descriptor)
        except (BlockingIOError, PermissionError):
            return descriptor, False
        except OSError:
            return descriptor, True
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor, True
        os.close(descriptor)  # who had it has deleted the file meanwhile
