"""Finished parts of a long output, kept on disk until the whole is there: what lets a stopped run go on.

Knows frame indices and folders; nothing of mattes or formats.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from uuid import uuid4

from ..errors import MediaError

FRAMES = 32
"""Frames of a part. Parts begin at multiples of it, whoever writes them."""

TIMES = "times.json"
STAGED = "staged-"


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
        """Make a staged folder a finished part: at once, or, where another process was quicker, not at all."""
        kept = {"times": list(times), "time_base": time_base.as_integer_ratio()}
        (staged / TIMES).write_text(json.dumps(kept))
        name = self.folder / f"{start:08d}-{start + len(times):08d}"
        try:
            staged.rename(name.with_suffix(".last") if last else name)
        except OSError:  # the same part is there already
            shutil.rmtree(staged, ignore_errors=True)

    def end_at(self, count: int) -> bool:
        """Note that the video ends after ``count`` frames; whether a part ends there."""
        for part in self.finished():
            if part.stop == count:
                if not part.last:
                    part.folder.rename(part.folder.with_suffix(".last"))
                return True
        return False

    def clear(self) -> None:
        """Delete the run's folder, and the one around it if nothing else is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()


def make_room(folder: Path, size: int, keep: Path) -> None:
    """Delete the oldest runs in ``folder``, `keep` excepted, until what is left takes at most ``size`` bytes."""
    runs = sorted((each for each in folder.glob("*") if each.is_dir() and each != keep), key=newest)
    total = {run: sum(file.stat().st_size for file in run.rglob("*") if file.is_file()) for run in runs}
    for run in runs:
        if sum(total.values()) <= size:
            return
        shutil.rmtree(run, ignore_errors=True)
        del total[run]


def newest(folder: Path) -> float:
    """When anything in ``folder`` last changed."""
    return max((each.stat().st_mtime for each in [folder, *folder.rglob("*")]), default=0.0)
