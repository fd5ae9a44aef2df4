"""A lock on a folder. One process at a time holds it. A process that dies loses it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from .errors import MediaError, cause

if TYPE_CHECKING:
    from filelock import BaseFileLock

SUFFIX = ".lock"
ATTEMPTS = 200
"""How often a lock is tried that another process deletes in the same moment, or whose folder it deletes."""
PATIENCE, PAUSE = 0.3, 0.02
"""Seconds to keep trying, and between two tries. Some processes lock a folder only for a moment."""


@contextmanager
def locked(folder: Path, patience: float = PATIENCE) -> Iterator[bool]:
    """Lock ``folder`` (it need not exist) for the ``with`` block. Yield False if this fails for ``patience`` seconds.

    The operating system frees the lock of a process that dies. On a disk that does not support locks, `lock_file` names
    the process instead. If that process dies, its own machine notices it; on other machines, delete the file.

    Raises:
        MediaError: If nothing can be written beside ``folder``.

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
    """The file that exists while ``folder`` is locked."""
    return folder.with_name(folder.name + SUFFIX)


def take(path: Path) -> tuple[BaseFileLock, bool] | None:
    """Take the lock ``path``. Return it and whether we must delete its file; None if another process has the lock.

    Raises:
        MediaError: If the lock's folder cannot be created or written to.
    """
    failed: OSError | None = None
    for _ in range(ATTEMPTS):
        try:
            if (taken := attempt(path)) is not None:
                return taken
            failed = None
        except TimeoutError:  # noqa: PERF203  the next try may go better
            return None
        except OSError as error:
            failed = error
            if not isinstance(error, FileNotFoundError):
                break
    if failed is None:
        return None
    raise MediaError(
        f"nothing can be written to the folder {path.parent}: {cause(failed)}; choose another folder"
    ) from failed


def attempt(path: Path) -> tuple[BaseFileLock, bool] | None:
    """`take`, once; None if another process has deleted the lock's file in this moment.

    Raises:
        TimeoutError: If another process has the lock.
        FileNotFoundError: If another process deletes the lock's folder in this moment.
        OSError: If the folder cannot be created or written to.
    """
    from filelock import FileLock, SoftFileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    known, stays = locks_of(path.parent)
    if not known:
        lock = SoftFileLock(path, thread_local=False)
        lock.acquire(timeout=0)
        return lock, False
    lock = FileLock(path, thread_local=False)
    with path.open("ab") as seen:
        lock.acquire(timeout=0)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(seen.fileno()), path.stat()):
                return lock, stays
    lock.release()
    return None


def locks_of(folder: Path) -> tuple[bool, bool]:
    """Whether the disk of ``folder`` supports locks, and whether filelock leaves lock files there (versions differ).

    This is tested on a new file.
    """
    from filelock import FileLock

    path = folder / f".{uuid4().hex}{SUFFIX}"
    try:
        with FileLock(path, thread_local=False).acquire(timeout=0):
            known = path.stat().st_size == 0  # else filelock has written the owner into the file
        return known, path.exists()
    except FileNotFoundError:
        raise
    except (OSError, NotImplementedError):  # the error depends on the version
        return False, False
    finally:
        with suppress(OSError):
            path.unlink()


def give_up(path: Path, lock: BaseFileLock, ours: bool) -> None:
    """Release a lock. Delete its file before that: after the release it could be another process's lock."""
    if ours:
        with suppress(OSError):
            path.unlink()
    lock.release()
