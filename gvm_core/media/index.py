"""Where each frame of a video is in its file: what lets a reader begin at any frame without decoding all before it.

Packets are read, not decoded. How far a file has been looked through is remembered for the process.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..errors import MediaError

MARGIN = 64
"""Packets looked at beyond the frame asked for: more than any encoder reorders."""


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The frames of a video in the order they are shown, as far as the file was looked through.

    Attributes:
        times: When each is shown, in the stream's time base, in order.
        keys: Key frames, as when they are shown and the decoding time by which a container seeks to them. None where
            frames cannot be told apart by their times, or the first of them does not come.
        whole: Whether these are all frames there are.
    """

    times: array[int]
    keys: tuple[tuple[int, int], ...]
    whole: bool

    def positions_before(self, frame: int) -> list[int]:
        """Where to seek to, to decode ``frame``: to the key frames shown no later than it, nearest first."""
        last = bisect_right(self.keys, self.times[frame], key=lambda key: key[0])
        return [position for _, position in reversed(self.keys[:last])]


REMEMBERED = 8
"""Files whose index is kept."""
known: dict[tuple[Path, int, int], FrameIndex] = {}


def frame_index(path: Path, frame: int) -> FrameIndex:
    """The index of ``path``, at least up to ``frame`` if it has so many.

    Raises:
        MediaError: If the file cannot be read.
    """
    facts = path.stat()
    name = (path.absolute(), facts.st_size, facts.st_mtime_ns)
    found = known.get(name)
    if found is None or (not found.whole and len(found.times) <= frame):
        # Twice as far each time, so that a film in many ranges is looked through a few times at most.
        found = scan(path, max(frame, 2 * len(found.times) if found else 0))
        known[name] = found
        while len(known) > REMEMBERED:
            del known[next(iter(known))]
    return found


def scan(path: Path, frame: int) -> FrameIndex:
    """Look through ``path`` until ``frame`` and all that is shown before it have come."""
    import av
    from av.error import FFmpegError

    times: list[int] = []
    keys: list[tuple[int, int]] = []
    sure = True
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                if not packet.size or packet.is_discard:
                    continue
                time = packet.dts if packet.pts is None else packet.pts
                if time is None:
                    sure = False
                    continue
                times.append(time)
                if packet.is_keyframe:
                    keys.append((time, time if packet.dts is None else packet.dts))
                if len(times) > frame + MARGIN:
                    break
        whole = len(times) <= frame + MARGIN
        times.sort()
        if not whole:  # others may still be shown before the last of these
            times = times[: frame + 1]
        sure = sure and bool(times) and first_time(path) == times[0] and all(a < b for a, b in pairwise(times))
    except (FFmpegError, OSError, IndexError) as error:
        raise MediaError(f"{path} cannot be read as a video: {error}") from error
    return FrameIndex(array("q", times), tuple(sorted(keys)) if sure else (), whole)


def first_time(path: Path) -> int | None:
    """When the first frame that can be decoded is shown; not that of the first packet where a stream begins broken."""
    import av
    from av.error import FFmpegError

    with av.open(str(path)) as container, suppress(FFmpegError):
        return next((frame.pts for frame in container.decode(video=0)), None)
    return None
