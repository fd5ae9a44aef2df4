"""Finished parts of a long output, kept on disk until the whole is there: what lets a stopped run go on.

Knows frame indices and folders; nothing of mattes or formats.
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

from ..errors import MediaError
from ..lock import locked

log = logging.getLogger(__name__)

FRAMES = 32
"""Frames of a part. Parts begin at multiples of it, whoever writes them."""

TIMES = "times.json"
STAGED = "staged-"
LAST = ".last"
GONE = "gone-"
ATTEMPTS, PAUSE = 5, 0.2
RUNS = f"*-{'[0-9a-f]' * 16}"
"""What folders of runs are called: the output and a key."""
SPARE_SHARE, SPARE = 0.05, 16 * 2**30
"""A disk is short of room when less than this share of it and less than so many bytes are free."""


@dataclass(frozen=True, slots=True)
class Part:
    """Frames ``start`` to ``stop - 1`` of every output, finished.

    Attributes:
        folder: Holds their files and their times.
        start: First frame.
        stop: One past the last.
        last: No frame follows.
    """

    folder: Path
    start: int
    stop: int
    last: bool

    @property
    def times(self) -> tuple[list[int], Fraction]:
        """When each frame is shown, and the unit of that in seconds."""
        kept = json.loads((self.folder / TIMES).read_text())
        return kept["times"], Fraction(*kept["time_base"])


class Parts:
    """The parts of one run in a folder of their own. Several processes may add to them at once.

    Args:
        folder: Of the run; made when the first part is.
        first: First frame of the run.
        last: Its last, or None for all there are.
    """

    def __init__(self, folder: Path, first: int = 0, last: int | None = None) -> None:
        self.folder, self.first, self.last = folder, first, last

    def finished(self) -> list[Part]:
        """What is there, in order."""
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
        """First and last frame of every stretch that is not there; None for a last one that is not known.

        Of the frames ``first`` to ``last`` alone, if they are given.
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
        """One past the last frame of the part that frame ``start`` begins."""
        stop = start - start % FRAMES + FRAMES
        return stop if self.last is None else min(stop, self.last + 1)

    def stage(self) -> Path:
        """A new folder to write a part into, for `keep`."""
        folder = self.folder / f"{STAGED}{os.getpid()}-{uuid4().hex[:8]}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise MediaError(f"{self.folder} cannot be written to: {error.strerror or error}") from error
        return folder

    def keep(self, staged: Path, start: int, times: Sequence[int], time_base: Fraction, *, last: bool) -> None:
        """Make a staged folder a finished part: at once, or, where another process was quicker, not at all.

        Raises:
            MediaError: If the disk refuses.
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
                    raise MediaError(f"{name} cannot be written: {error.strerror or error}") from error
                time.sleep(PAUSE)  # a scanner may be looking at a file in it

    def end_at(self, count: int) -> bool:
        """Note that the video ends after ``count`` frames; whether a part ends there."""
        for part in self.finished():
            if part.stop == count:
                if not part.last:
                    with suppress(FileNotFoundError):  # another process has noted it
                        part.folder.rename(part.folder.with_suffix(LAST))
                return True
        return False

    def clear(self) -> None:
        """Delete the run's folder: it is gone at once, though what is in it takes a moment."""
        gone = self.folder.with_name(f"{GONE}{uuid4().hex}")
        with suppress(OSError):
            self.folder.rename(gone)
        for each in (gone, self.folder):
            shutil.rmtree(each, ignore_errors=True)


def make_room(folder: Path) -> None:
    """Delete what finished runs left in ``folder``, and, while the disk is short of room, the oldest abandoned runs.

    A run that a process is at, or may be at, is left alone, and so is all that is not a run.
    """
    for gone in folder.glob(f"{GONE}*"):
        shutil.rmtree(gone, ignore_errors=True)
    if not is_short(folder):
        return
    for (changed, taken), run in sorted((measured(run), run) for run in folder.glob(RUNS) if run.is_dir()):
        if not is_short(folder):
            return
        gone = folder / f"{GONE}{uuid4().hex}"
        with locked(run) as mine, suppress(OSError):
            if mine:
                run.rename(gone)  # or the lock would be held for as long as deleting takes
        if gone.exists():
            log.warning(
                "the disk is short of room: %s, an unfinished run of %.1f GB last written on %s, was deleted",
                *(run, taken / 1e9, datetime.fromtimestamp(changed).isoformat(" ", "minutes")),
            )
            shutil.rmtree(gone, ignore_errors=True)


def is_short(folder: Path) -> bool:
    """Whether the disk under ``folder`` is short of room."""
    usage = shutil.disk_usage(folder)
    return usage.free < min(SPARE_SHARE * usage.total, SPARE)


def measured(folder: Path) -> tuple[float, int]:
    """When anything in ``folder`` last changed, and how many bytes are in it, as far as others leave it alone."""
    changed, taken = 0.0, 0
    with suppress(OSError):
        for each in folder.rglob("*"):
            known = each.stat()
            changed, taken = max(changed, known.st_mtime), taken + known.st_size
    return changed, taken
