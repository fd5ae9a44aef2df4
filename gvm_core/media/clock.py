"""Files whose clock begins again: titles of a DVD, and recordings that were joined byte by byte.

All tracks of such a file must go on by the same time, or sound would leave its pictures.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from .decoder import Decoder

BACK = Fraction(1, 2)
"""Seconds. If a track's times fall by more, its clock has begun again. Less is disorder."""


class Clock:
    """One clock for all tracks of a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.latest: dict[int, Fraction] = {}
        self.begun: Counter[int] = Counter()

    def shift(self, track: int, time: Fraction) -> Fraction:
        """What to add to the times of the next packet or frame of ``track``, in seconds.

        Args:
            track: Index of the stream.
            time: The decoding time of the packet, or the time of the frame, in seconds of the file.
        """
        if time < self.latest.get(track, time) - BACK:
            self.begun[track] += 1
        self.latest[track] = time
        if not self.begun[track]:
            return Fraction(0)
        facts = self.path.stat()
        shifts = shifts_of(self.path.absolute(), facts.st_size, facts.st_mtime_ns)
        return shifts[min(self.begun[track], len(shifts) - 1)]


@lru_cache(maxsize=8)
def shifts_of(path: Path, size: int, changed: int) -> tuple[Fraction, ...]:  # noqa: ARG001  a changed file is read again
    """What to add to the file's times after each begin of its clock, so that its pictures go on frame by frame.

    Args:
        path: The file.
        size: Its size.
        changed: When it was changed.

    Returns:
        Seconds, for each stretch between two begins; 0 for the first one.

    Raises:
        MediaError: If the file cannot be read.
    """
    stretches: list[tuple[int, int]] = []
    decoder, latest = Decoder(path), None
    unit = Fraction(decoder.stream.time_base or 1)
    try:
        for packet in decoder.packets():
            time = packet.dts if packet.pts is None else packet.pts
            if not packet.size or time is None or packet.is_discard:
                continue
            decoded = time if packet.dts is None else packet.dts
            if latest is None or (decoded - latest) * unit < -BACK:
                stretches.append((time, time))
            first, last = stretches[-1]
            stretches[-1], latest = (min(first, time), max(last, time)), decoded
    finally:
        decoder.close()
    step, shifts = max(round(decoder.step), 1), [0]
    for (_, last), (first, _) in pairwise(stretches):
        shifts.append(shifts[-1] + last + step - first)
    return tuple(shift * unit for shift in shifts)
