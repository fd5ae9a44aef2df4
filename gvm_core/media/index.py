"""The position of each frame in a video file. A reader uses it to begin at any frame without decoding from the start.

Packets are read, not decoded. The index of a file stays in memory, for later readers in the same process.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MediaError, cause
from .decoder import Decoder
from .orientation import upright_size

if TYPE_CHECKING:
    import av
    from av.packet import Packet

MARGIN = 64
"""Packets read after the requested frame: more than any encoder reorders."""


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The frames of a video in display order, as far as the file was scanned.

    Attributes:
        times: Display time of each frame, in the stream's time base, in order.
        keys: Display time of each key frame, and the decoding time that a container needs to seek to it. Empty if
            two frames have the same time, a frame has no time, times go back, or the first frame cannot be decoded.
        whole: Whether these are all frames of the video.
        interlaced: Whether its first frame is interlaced. Such a frame needs the one before it to be deinterlaced.
        size: Height and width of its first frame, upright; None if none can be decoded.
    """

    times: array[int]
    keys: tuple[tuple[int, int], ...]
    whole: bool
    interlaced: bool = False
    size: tuple[int, int] | None = None

    def starts_before(self, frame: int) -> list[tuple[int, int]]:
        """Index and seek position of each key frame from which ``frame`` can be decoded, nearest first."""
        earliest = self.times[max(frame - int(self.interlaced), 0)]
        last = bisect_right(self.keys, earliest, key=lambda key: key[0])
        return [(bisect_left(self.times, time), position) for time, position in reversed(self.keys[:last])]


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
    sure = True
    latest, highest = None, 0
    decoder = Decoder(path)
    try:
        for packet in decoder.container.demux(decoder.stream):
            if not packet.size or packet.is_discard:
                continue
            time = packet.dts if packet.pts is None else packet.pts
            if time is None:
                sure = False
                continue
            # Decoders give frames in the order of their times if no frame before a key frame is shown after it.
            sure = sure and in_order(packet, latest) and not (packet.is_keyframe and times and time <= highest)
            latest, highest = latest if packet.dts is None else packet.dts, max(time, highest) if times else time
            times.append(time)
            if packet.is_keyframe:
                keys.append((time, time if packet.dts is None else packet.dts))
            if len(times) > frame + MARGIN:
                break
    except (FFmpegError, OSError) as error:
        raise MediaError(f"{path} cannot be read as a video: {cause(error)}") from error
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
    size = None if opening is None else upright_size(opening, path)
    return FrameIndex(array("q", times), tuple(sorted(keys)) if sure else (), whole, interlaced, size)


def in_order(packet: Packet, latest: int | None) -> bool:
    """Whether ``packet`` is decoded after the packet before it, which is decoded at ``latest``, as far as they say."""
    return packet.dts is None or latest is None or packet.dts >= latest


def first_frame(path: Path, *, alpha: bool = False) -> av.VideoFrame | None:
    """The first frame that can be decoded. In a damaged stream this is not that of the first packet.

    ``alpha`` is that of `Decoder`.
    """
    decoder = Decoder(path, alpha=alpha)
    try:
        return next(decoder.stored(), None)
    finally:
        decoder.close()
