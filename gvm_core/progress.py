"""`Progress`: the progress of a run, as a bar in the terminal or as a line of text."""

from __future__ import annotations

import math

from tqdm import tqdm

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt}{unit} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
"""tqdm's own format, but with the unit after the counts, and never with seconds per item."""


class Progress(tqdm):
    """The progress of a run. Work of earlier runs counts as done, but not for the speed.

    Args:
        total: Number of items, if it is known.
        what: What the items are. "bytes" are shown as sizes, such as 3M.
        shown: Draw a bar in the terminal. If False, only `text` is used.

    Example:
        >>> progress = Progress(40, shown=False)
        >>> progress.count(10, before=True)
        >>> progress.text
        '10/40 frames'
    """

    monitor_interval = 0  # no tqdm thread: it would draw between counts

    def __init__(self, total: int | None, what: str = "frames", *, shown: bool = True) -> None:
        sizes = what == "bytes"
        super().__init__(
            total=total,
            unit="B" if sizes else f" {what}",
            unit_scale=sizes,
            bar_format=BAR if total else None,
            smoothing=0,
            miniters=1,  # else a large first count, of earlier runs, is the least that is drawn later
            dynamic_ncols=True,
            delay=0 if shown else math.inf,
        )

    def count(self, number: int, *, before: bool = False) -> None:
        """Add finished items; with ``before``, items that an earlier run finished."""
        self.initial += number if before else 0
        self.update(number)

    def reach(self, done: int, total: int) -> None:
        """Set the number of finished items and of all items."""
        self.total = total
        self.count(done - int(self.n))

    @property
    def text(self) -> str:
        """Counts, speed and time left, in one line."""
        text = "{n_fmt}/{total_fmt}{unit}" if self.total else "{n_fmt}{unit}"
        if self.n > self.initial:
            text += "  {rate_noinv_fmt}" + ("  {remaining} left" if self.total else "")
        known = {**self.format_dict, "bar_format": text, "ncols": None}
        return tqdm.format_meter(**known).replace("   ", "  ")  # tqdm pads the rate
