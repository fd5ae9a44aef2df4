"""Finished parts of a long output. They stay on disk until all are finished, so that a stopped run can be resumed.

This module knows frame indices and folders. It does not know mattes or formats.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from uuid import uuid4

from ..errors import MediaError, cause
from ..lock import locked

log = logging.getLogger(__name__)

FRAMES = 32
"""Frames per part. In every process, parts begin at multiples of this."""

TIMES = "times.json"
STAGED = "staged-"
LAST = ".last"
GONE = "gone-"
ATTEMPTS, PAUSE = 5, 0.2
RUNS = f"*-{'[0-9a-f]' * 16}"
"""Pattern for the names of run folders: the output's name and a key."""
MIN_FREE_SHARE, MIN_FREE = 0.05, 16 * 2**30
"""A disk is almost full when less than this share of it, and also less than this many bytes, are free."""


@dataclass(frozen=True, slots=True)
class Part:
    """Frames ``start`` to ``stop - 1`` of every output, finished.

    Attributes:
        folder: Folder of their files and their times.
        start: First frame.
        stop: One past the last frame.
        last: Whether this is the last part of the run.
    """

    folder: Path
    start: int
    stop: int
    last: bool

    @property
    def times(self) -> tuple[list[int], Fraction]:
        """The time at which each frame is shown, and the unit of these times in seconds."""
        kept = json.loads((self.folder / TIMES).read_text())
        return kept["times"], Fraction(*kept["time_base"])


class Parts:
    """The parts of one run, in their own folder. Several processes may add parts at the same time.

    Args:
        folder: Folder of the run. It is created with the first part.
        first: First frame of the run.
        last: Last frame of the run; None for all frames.
    """

    def __init__(self, folder: Path, first: int = 0, last: int | None = None) -> None:
        self.folder, self.first, self.last = folder, first, last

    def finished(self) -> list[Part]:
        """All finished parts, in order."""
        found = []
        for folder in self.folder.glob("[0-9]*-[0-9]*"):
            span, _, mark = folder.name.partition(".")
            start, stop = map(int, span.split("-"))
            found.append(Part(folder, start, stop, bool(mark) or (self.last is not None and stop > self.last)))
        return sorted(found, key=lambda part: part.start)

    def count(self) -> int:
        """The number of finished frames."""
        return sum(part.stop - part.start for part in self.finished())

    def missing(self, first: int | None = None, last: int | None = None) -> list[tuple[int, int | None]]:
        """First and last frame of every missing range. The last frame is None if it is not known.

        Only frames ``first`` to ``last`` count, if they are given.
        """
        gaps: list[tuple[int, int | None]] = []
        at = self.first if first is None else first
        end = self.last if last is None else last
        for part in self.finished():
            if end is not None and part.start > end:
                break
            if part.start > at:
                gaps.append((at, part.start - 1))
            at = max(at, part.stop)
            if part.last:
                return gaps
        return gaps if end is not None and at > end else [*gaps, (at, end)]

    def stop_of(self, start: int) -> int:
        """One past the last frame of the part that begins at frame ``start``."""
        stop = start - start % FRAMES + FRAMES
        return stop if self.last is None else min(stop, self.last + 1)

    def stage(self) -> Path:
        """Create a folder to write a part into, for `keep`."""
        folder = self.folder / f"{STAGED}{os.getpid()}-{uuid4().hex[:8]}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise MediaError(f"{self.folder} cannot be written to: {cause(error)}") from error
        return folder

    def keep(self, staged: Path, start: int, times: Sequence[int], time_base: Fraction, *, last: bool) -> None:
        """Turn a staged folder into a finished part. If another process was faster, delete the staged folder.

        Raises:
            MediaError: If the folder cannot be renamed.
        """
        kept = {"times": list(times), "time_base": time_base.as_integer_ratio()}
        (staged / TIMES).write_text(json.dumps(kept))
        name = self.folder / f"{start:08d}-{start + len(times):08d}"
        marked = name.with_suffix(LAST)
        for left in reversed(range(ATTEMPTS)):
            if name.exists() or marked.exists():
                shutil.rmtree(staged, ignore_errors=True)
                return
            try:
                staged.rename(marked if last else name)
                return
            except OSError as error:
                if not left and not name.exists() and not marked.exists():
                    raise MediaError(f"{name} cannot be written: {cause(error)}") from error
                time.sleep(PAUSE)  # a virus scanner may have one of its files open

    def end_at(self, count: int) -> bool:
        """Mark the part that ends after ``count`` frames as the last one. Return whether there is such a part."""
        for part in self.finished():
            if part.stop == count:
                if not part.last:
                    with suppress(FileNotFoundError):  # another process has marked it
                        part.folder.rename(part.folder.with_suffix(LAST))
                return True
        return False

    def clear(self) -> None:
        """Delete the run's folder. It is renamed first, because deleting its files takes a moment."""
        gone = self.folder.with_name(f"{GONE}{uuid4().hex}")
        with suppress(OSError):
            self.folder.rename(gone)
        for each in (gone, self.folder):
            shutil.rmtree(each, ignore_errors=True)


def make_room(folder: Path) -> None:
    """Delete the remains of finished runs in ``folder`` and, while the disk is almost full, the oldest stopped runs.

    Runs that a process uses or may use are kept, and so is everything that is not a run.
    """
    for gone in folder.glob(f"{GONE}*"):
        shutil.rmtree(gone, ignore_errors=True)
    if not is_short(folder):
        return
    for (changed, taken), run in sorted((measured(run), run) for run in folder.glob(RUNS) if run.is_dir()):
        if not is_short(folder):
            return
        gone = folder / f"{GONE}{uuid4().hex}"
        with suppress(OSError), locked(run) as mine:
            if mine:
                run.rename(gone)  # else the lock would be held until all files are deleted
        if gone.exists():
            log.warning(
                "the disk is almost full: %s was deleted, an unfinished run of %.1f GB last written on %s",
                *(run, taken / 1e9, datetime.fromtimestamp(changed).isoformat(" ", "minutes")),
            )
            shutil.rmtree(gone, ignore_errors=True)


def is_short(folder: Path) -> bool:
    """Whether the disk of ``folder`` is almost full."""
    usage = shutil.disk_usage(folder)
    return usage.free < min(MIN_FREE_SHARE * usage.total, MIN_FREE)


def measured(folder: Path) -> tuple[float, int]:
    """Time of the last change in ``folder``, and its size in bytes. A file that disappears meanwhile ends the count."""
    changed, taken = 0.0, 0
    with suppress(OSError):
        for each in folder.rglob("*"):
            known = each.stat()
            changed, taken = max(changed, known.st_mtime), taken + known.st_size
    return changed, taken
