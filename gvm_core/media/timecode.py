"""Timecode, and what else a source says about its frames that an output repeats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ..post.light import Chromaticities
from ..post.resize import SQUARE
from .colours import ColourTags

if TYPE_CHECKING:
    import av

COUNTED = (24, 25, 30, 48, 50, 60, 100, 120)
"""Frames per second that timecode counts. Footage of 23.976 is counted as 24, and so on."""
NEAR = Fraction(1, 500)
"""How far a rate may be from a counted one, as a part of it: 1000/1001 is a half of it away."""
WIDEST = 8
"""Pixels wider than this, or as high, are a mistake in the file: they count as square."""
WRITTEN = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d{2,3})")
DROP = 1 << 24
ALPHAS = ("straight", "premultiplied")


@dataclass(frozen=True, slots=True)
class Timecode:
    """The number of a frame in a day, as SMPTE ST 12-1 writes it: hours, minutes, seconds and frames.

    Args:
        frame: Frames since 00:00:00:00.
        rate: Frames per second, one of those that timecode counts; see `counted`.
        drop: Whether numbers are left out so that the timecode of 29.97 frames per second shows the time of the clock:
            in every minute but each tenth, the first two (at 59.94 the first four).

    Example:
        >>> start = Timecode.read("00:00:59;28", Fraction(30000, 1001))
        >>> [str(start.after(frames)) for frames in (0, 1, 2)]
        ['00:00:59;28', '00:00:59;29', '00:01:00;02']
    """

    frame: int
    rate: Fraction
    drop: bool = False

    @property
    def base(self) -> int:
        """Frames that a second of timecode counts: 30 at 29.97 frames per second."""
        return round(self.rate)

    @classmethod
    def read(cls, text: str, rate: Fraction) -> Timecode | None:
        """The timecode ``text`` in footage of ``rate`` frames per second; None if they do not go together."""
        if (found := WRITTEN.fullmatch(text.strip())) is None:
            return None
        hours, minutes, seconds, frames = (int(found[part]) for part in (1, 2, 3, 5))
        return cls.of(hours, minutes, seconds, frames, rate, drop=found[4] != ":")

    @classmethod
    def of(cls, hours: int, minutes: int, seconds: int, frames: int, rate: Fraction, *, drop: bool) -> Timecode | None:
        """The timecode with these numbers; None if there is none. Only rates near 30, 60 and 120 can ``drop``."""
        base = counted(rate)
        if base is None or hours > 23 or minutes > 59 or seconds > 59 or frames >= base:
            return None
        drop = drop and base % 30 == 0
        skipped, minute = base // 15 if drop else 0, 60 * hours + minutes
        return cls((60 * minute + seconds) * base + frames - skipped * (minute - minute // 10), rate, drop)

    def after(self, frames: int) -> Timecode:
        """The timecode so many frames later. After 24 hours it begins again."""
        skipped = self.base // 15 if self.drop else 0
        return replace(self, frame=(self.frame + frames) % (86400 * self.base - skipped * 1296))

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """Hours, minutes, seconds and frames."""
        number, base = self.frame, self.base
        if self.drop:
            skipped, ten = base // 15, 600 * base - 9 * (base // 15)
            tens, rest = divmod(number, ten)
            number += skipped * (9 * tens + max(rest - skipped, 0) // (60 * base - skipped))
        seconds, frames = divmod(number, base)
        minutes, second = divmod(seconds, 60)
        return minutes // 60, minutes % 60, second, frames

    @property
    def counted(self) -> tuple[int, int, int, int, int]:
        """Its numbers as SMPTE ST 12-1 counts them: above 30 frames per second pairs of frames, and which of the pair."""
        hours, minutes, seconds, frames = self.numbers
        return (
            (hours, minutes, seconds, frames // 2, frames % 2)
            if self.base > 30
            else (hours, minutes, seconds, frames, 0)
        )

    @property
    def clock(self) -> int | None:
        """The first word of SMPTE ST 12-1, as `from_clock` reads it; None above 60 frames per second: it has no digits.

        Example:
            >>> start = Timecode.read("10:20:30:29", Fraction(30))
            >>> hex(start.clock), str(from_clock(start.clock, start.rate))
            ('0x29302010', '10:20:30:29')
        """
        if self.base > 60:
            return None
        *numbers, second = self.counted
        digits = (value // 10 << 4 | value % 10 for value in numbers)
        word = sum(byte << 8 * place for place, byte in enumerate(digits))
        return word | second << (7 if self.base == 50 else 23) | int(self.drop) << 30

    def __str__(self) -> str:
        hours, minutes, seconds, frames = self.numbers
        return f"{hours:02}:{minutes:02}:{seconds:02}{';' if self.drop else ':'}{frames:02}"


@dataclass(frozen=True, slots=True)
class Labels:
    """What a source says about its frames, apart from their pixels and times.

    Attributes:
        pixel_aspect: The width of a pixel over its height.
        timecode: The timecode of the first frame wanted; None if there is none.
        reel: Name of the reel; empty if there is none.
        colour: The colour tags of the frames as a reader gives them, or as a writer gets them.
        alpha: "straight" or "premultiplied", where a file says it; else empty.
        light: The light of the colours in words, as in "linear", where a file says it; else empty.
        chromaticities: The primaries themselves, for files that hold them; None for those of the colour tags.
    """

    pixel_aspect: Fraction = SQUARE
    timecode: Timecode | None = None
    reel: str = ""
    colour: ColourTags = ColourTags()
    alpha: str = ""
    light: str = ""
    chromaticities: Chromaticities | None = None

    @property
    def words(self) -> dict[str, str]:
        """All of it by its name."""
        return {
            "pixel aspect": str(self.pixel_aspect),
            "timecode": str(self.timecode or "none"),
            "reel name": self.reel,
            "colour tags": str(self.colour),
            "kind of alpha": self.alpha,
            "light": self.light,
        }

    @property
    def notes(self) -> dict[str, str]:
        """What a file can only say in its metadata: "alpha" and "light", if they are known."""
        return {name: value for name, value in (("alpha", self.alpha), ("light", self.light)) if value}

    @property
    def of_mattes(self) -> Labels:
        """These labels for mattes of the same frames. A matte is neither HDR nor wide, so its colours are BT.709."""
        return replace(self, colour=ColourTags(), alpha="", light="", chromaticities=None)

    def after(self, frames: int) -> Labels:
        """These labels for a clip that begins so many frames later."""
        return replace(self, timecode=self.timecode and self.timecode.after(frames))


UNLABELLED = Labels()


def counted(rate: Fraction) -> int | None:
    """The frames that a second of timecode counts at ``rate``; None if timecode does not know the rate."""
    return next((base for base in COUNTED if abs(rate - base) <= NEAR * base), None)


def first_value(tags: Iterable[Mapping[str, str]], name: str) -> str:
    """The first of ``tags`` that has ``name``, in any case; empty if none has it."""
    found = (value for each in tags for key, value in each.items() if key.lower() == name)
    return next(found, "")


def note_in(tags: Iterable[Mapping[str, str]], name: str, known: Iterable[str] = ()) -> str:
    """The note ``name`` of a file (see `Labels.notes`), in lower case; empty if it is not among the ``known`` ones."""
    value = first_value(tags, name).strip().lower()
    return value if not known or value in known else ""


def timecode_in(frame: av.VideoFrame, rate: Fraction) -> Timecode | None:
    """The timecode in the video stream itself (MPEG-2, H.264, HEVC), at this frame; None if there is none."""
    try:
        group, clock = (frame.side_data.get(name) for name in ("GOP_TIMECODE", "S12M_TIMECODE"))
    except ValueError:  # a kind of side data that this PyAV does not know
        return None
    if group is not None:
        word = int(np.frombuffer(bytes(group), "<i8")[0])
        numbers = (word >> 19 & 31, word >> 13 & 63, word >> 6 & 63, word & 63)
        return Timecode.of(*numbers, rate, drop=bool(word & DROP))
    if clock is None:
        return None
    count, word, *_ = (int(value) for value in np.frombuffer(bytes(clock), "<u4"))
    return from_clock(word, rate) if count else None


def from_clock(word: int, rate: Fraction) -> Timecode | None:
    """The timecode in the first word of SMPTE ST 12-1, as FFmpeg and OpenEXR keep it: two decimal digits a byte.

    Above 30 frames per second it counts pairs of frames, and a bit tells the second frame of a pair.
    """
    hours, minutes, seconds, frames = (
        10 * (value >> 4) + (value & 15)
        for value in (word & 0x3F, word >> 8 & 0x7F, word >> 16 & 0x7F, word >> 24 & 0x3F)
    )
    if counted(rate) not in (24, 25, 30):
        frames = 2 * frames + (word >> (7 if counted(rate) == 50 else 23) & 1)
    return Timecode.of(hours, minutes, seconds, frames, rate, drop=bool(word >> 30 & 1))
