"""A lock on a folder. One process at a time holds it. A process that dies loses it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from .errors import MediaError

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
    from filelock import FileLock, SoftFileLock, Timeout

    problem: OSError | None = None
    for _ in range(ATTEMPTS):
        try:
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
            problem = None
            lock.release()  # the process that held the lock before has deleted this file
        except Timeout:
            return None
        except FileNotFoundError as error:  # another process may delete the folder meanwhile
            problem = error
        except OSError as error:
            problem = error
            break
    if problem is None:
        return None
    raise MediaError(
        f"nothing can be written to the folder {path.parent}: {problem.strerror or problem}; choose another folder"
    ) from problem


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
