"""A lock on a folder: one process at a time has it, and a process that dies loses it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from filelock import BaseFileLock

SUFFIX = ".lock"
PATIENCE, PAUSE = 0.3, 0.02
"""Seconds. Whoever looks after a folder has its lock only for a moment, so that it is worth asking again."""


@contextmanager
def locked(folder: Path, patience: float = PATIENCE) -> Iterator[bool]:
    """Lock ``folder``, which need not exist, inside the ``with`` block; False if another still has it after ``patience``.

    The system takes the lock back from a process that dies. A disk that knows no locks has a note of its owner instead:
    one that died is noticed on the machine it ran on; on others the note stays until `lock_file` is deleted.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "run"
        >>> with locked(folder) as mine, locked(folder) as also_mine:
        ...     mine, also_mine
        (True, False)
    """
    path = lock_file(folder)
    until = time.monotonic() + patience
    while (lock := take(path)) is None and time.monotonic() < until:
        time.sleep(PAUSE)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            give_up(path, *lock)


def lock_file(folder: Path) -> Path:
    """Where the lock on ``folder`` is, while it is held."""
    return folder.with_name(folder.name + SUFFIX)


def take(path: Path) -> tuple[BaseFileLock, bool] | None:
    """The lock ``path``, and whether its file is ours to delete; None if another has it."""
    from filelock import FileLock, SoftFileLock, Timeout

    while True:
        with suppress(FileNotFoundError):  # whoever left the folder last has deleted it meanwhile
            path.parent.mkdir(parents=True, exist_ok=True)
            known, stays = locks_of(path.parent)
            if not known:
                lock = SoftFileLock(path, thread_local=False)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    return None
                return lock, False
            lock = FileLock(path, thread_local=False)
            with path.open("ab") as seen:
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    return None
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(seen.fileno()), path.stat()):
                        return lock, stays
            lock.release()  # of a file that whoever had it before has deleted


def locks_of(folder: Path) -> tuple[bool, bool]:
    """Whether the disk under ``folder`` knows locks, and whether filelock, as versions differ, leaves their files there.

    Tried on a file that nobody else has.
    """
    from filelock import FileLock

    path = folder / f".{uuid4().hex}{SUFFIX}"
    try:
        with FileLock(path, thread_local=False).acquire(timeout=0):
            known = path.stat().st_size == 0  # else filelock has written a note of the owner by itself
        return known, path.exists()
    except FileNotFoundError:
        raise
    except (OSError, NotImplementedError):  # versions differ here, too
        return False, False
    finally:
        with suppress(OSError):
            path.unlink()


def give_up(path: Path, lock: BaseFileLock, ours: bool) -> None:
    """Release a lock and delete its file: while it is locked, or it might be another's."""
    if ours:
        with suppress(OSError):
            path.unlink()
    lock.release()
