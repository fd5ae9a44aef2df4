"""What the commands draw in the terminal while they work."""

from __future__ import annotations

import sys

from ..progress import Progress


class ProgressLine(Progress):
    """The same as a line in the terminal, drawn anew with everything that is counted."""

    def count(self, frames: int, *, before: bool = False) -> None:
        """Count, and draw the line."""
        super().count(frames, before=before)
        filled = min(30 * self.done // self.total, 30) if self.total else 0
        bar = f"[{'#' * filled}{'.' * (30 - filled)}] " if self.total else ""
        print(f"\r{bar}{self}  ", end="", file=sys.stderr, flush=True)


def show_bytes(done: int, total: int) -> None:
    """Redraw the line of a download."""
    print(f"\r{done / 1e6:,.0f} of {total / 1e6:,.0f} MB  {100 * done / max(total, 1):.1f} % ", end="", flush=True)
