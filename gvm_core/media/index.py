"""The position of each frame in a video file. A reader uses it to begin at any frame without decoding from the start.

Packets are read, not decoded. The index of a file stays in memory, for later readers in the same process.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MediaError
from .decoder import Decoder

if TYPE_CHECKING:
    import av

MARGIN = 64
"""Packets read after the requested frame: more than any encoder reorders."""


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The frames of a video in display order, as far as the file was scanned.

    Attributes:
        times: Display time of each frame, in the stream's time base, in order.
        keys: Display time of each key frame, and the decoding time that a container needs to seek to it. Empty if
            two frames have the same time, a frame has no time, the first frame cannot be decoded, or the file's clock
            begins again.
        whole: Whether these are all frames of the video.
        interlaced: Whether its first frame is interlaced. Such a frame needs the one before it to be deinterlaced.
    """

    times: array[int]
    keys: tuple[tuple[int, int], ...]
    whole: bool
    interlaced: bool = False

    def positions_before(self, frame: int) -> list[int]:
        """Seek positions for decoding ``frame``: the key frames displayed at or before it, nearest first."""
        earliest = self.times[max(frame - int(self.interlaced), 0)]
        last = bisect_right(self.keys, earliest, key=lambda key: key[0])
        return [position for _, position in reversed(self.keys[:last])]


REMEMBERED = 8
"""Number of files whose index is kept."""
known: dict[tuple[Path, int, int], FrameIndex] = {}


def frame_index(path: Path, frame: int) -> FrameIndex:
    """The index of ``path``, at least up to ``frame`` if the file has so many frames.

    Raises:
        MediaError: If the file cannot be read.
    """
    facts = path.stat()
    name = (path.absolute(), facts.st_size, facts.st_mtime_ns)
    found = known.get(name)
    if found is None or (not found.whole and len(found.times) <= frame):
        # Twice as far each time: a film that is read in many ranges is scanned only a few times.
        found = scan(path, max(frame, 2 * len(found.times) if found else 0))
        known[name] = found
        while len(known) > REMEMBERED:
            del known[next(iter(known))]
    return found


def scan(path: Path, frame: int) -> FrameIndex:
    """Read packets of ``path`` until ``frame`` and all frames displayed before it are found."""
    from av.error import FFmpegError

    times: list[int] = []
    keys: list[tuple[int, int]] = []
    sure, latest = True, None
    decoder = Decoder(path)
    try:
        for packet in decoder.container.demux(decoder.stream):
            if not packet.size or packet.is_discard:
                continue
            time = packet.dts if packet.pts is None else packet.pts
            if time is None:
                sure = False
                continue
            times.append(time)
            sure = sure and (packet.dts is None or latest is None or packet.dts >= latest)
            latest = latest if packet.dts is None else packet.dts
            if packet.is_keyframe:
                keys.append((time, time if packet.dts is None else packet.dts))
            if len(times) > frame + MARGIN:
                break
    except (FFmpegError, OSError) as error:
        raise MediaError(f"{path} cannot be read as a video: {error}") from error
    finally:
        decoder.close()
    whole = len(times) <= frame + MARGIN
    times.sort()
    if not whole:  # later packets may be displayed before the last of these
        times = times[: frame + 1]
    opening = first_frame(path)
    begins = opening is not None and bool(times) and opening.pts == times[0]
    sure = sure and begins and all(a < b for a, b in pairwise(times))
    interlaced = opening is not None and bool(opening.interlaced_frame)
    return FrameIndex(array("q", times), tuple(sorted(keys)) if sure else (), whole, interlaced)


def first_frame(path: Path) -> av.VideoFrame | None:
    """The first frame that can be decoded. In a damaged stream this is not that of the first packet."""
    decoder = Decoder(path)
    try:
        return next(decoder.stored(), None)
    finally:
        decoder.close()
