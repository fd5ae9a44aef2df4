"""`Progress`: how far a run is and how long it will take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """How far a run is; as text, what a user wants to know of it.

    Attributes:
        total: Frames in all, if known.
        done: Frames finished.
        before: How many of them earlier runs did.
        what: Is counted, if not frames.
    """

    total: int | None
    done: int = 0
    before: int = 0
    what: str = "frames"
    started: float = field(default_factory=time.monotonic)

    def count(self, frames: int, *, before: bool = False) -> None:
        """Count frames: finished now, or by an earlier run."""
        self.done += frames
        self.before += frames if before else 0

    @property
    def rate(self) -> float:
        """Frames a second, of this run."""
        return (self.done - self.before) / max(time.monotonic() - self.started, 1e-6)

    @property
    def left(self) -> float | None:
        """Seconds this will still take, as far as can be told yet."""
        return max(self.total - self.done, 0) / self.rate if self.total and self.rate else None

    def __str__(self) -> str:
        of = f"/{self.total}" if self.total else f" {self.what}"
        left = "" if self.left is None else f"  {duration(self.left)} left"
        return f"{self.done}{of}  {self.rate:.2f} {self.what}/s{left}"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> [duration(each) for each in (7.4, 200, 9_000)]
        ['7 s', '3 min', '2 h 30 min']
    """
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
