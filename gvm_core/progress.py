"""`Progress`: how far a run is, as a bar in the terminal or as a line of text."""

from __future__ import annotations

import math

from tqdm import tqdm

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt}{unit} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
"""tqdm's own, but with what is counted beside the counts, and never as seconds for each."""


class Progress(tqdm):
    """How far a run is; what earlier runs have done counts, but not as speed.

    Args:
        total: How many there are in all, if that is known.
        what: Is counted; of bytes, sizes are shown.
        shown: Draw a bar in the terminal; else this is only for its text.

    Example:
        >>> progress = Progress(40, shown=False)
        >>> progress.count(10, before=True)
        >>> progress.text
        '10/40 frames'
    """

    monitor_interval = 0  # tqdm's thread, which would draw between counts

    def __init__(self, total: int | None, what: str = "frames", *, shown: bool = True) -> None:
        sizes = what == "bytes"
        super().__init__(
            total=total,
            unit="B" if sizes else f" {what}",
            unit_scale=sizes,
            bar_format=BAR if total else None,
            smoothing=0,
            dynamic_ncols=True,
            delay=0 if shown else math.inf,
        )

    def count(self, number: int, *, before: bool = False) -> None:
        """Count: finished now, or by an earlier run."""
        self.initial += number if before else 0
        self.update(number)

    def reach(self, done: int, total: int) -> None:
        """Say how many are done, and how many there are in all."""
        self.total = total
        self.count(done - int(self.n))

    @property
    def text(self) -> str:
        """What a user wants to know, in a line."""
        text = "{n_fmt}/{total_fmt}{unit}" if self.total else "{n_fmt}{unit}"
        if self.n > self.initial:
            text += "  {rate_noinv_fmt}" + ("  {remaining} left" if self.total else "")
        known = {**self.format_dict, "bar_format": text, "ncols": None}
        return tqdm.format_meter(**known).replace("   ", "  ")  # tqdm pads the rate
