"""Where each frame of a video is in its file: what lets a reader begin at any frame without decoding all before it.

Packets are read, not decoded. How far a file has been looked through is remembered for the process.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
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
        times: When each is shown, in the stream's time base; rising. Empty where the file does not say so.
        keys: Key frames, as when they are shown and the decoding time by which a container seeks to them.
        whole: Whether these are all frames there are.
    """

    times: array[int]
    keys: tuple[tuple[int, int], ...]
    whole: bool

    def keys_before(self, frame: int) -> list[tuple[int, int]]:
        """The key frames from which ``frame`` can be decoded, nearest first: shown no later than it."""
        shown = [time for time, _ in self.keys]
        return list(reversed(self.keys[: bisect_right(shown, self.times[frame])]))


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
    if found is None or (found.times and not found.whole and len(found.times) <= frame):
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

    nothing = FrameIndex(array("q"), (), whole=True)
    times: list[int] = []
    keys: list[tuple[int, int]] = []
    beyond = 0  # packets since more than enough have come
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                if not packet.size or packet.is_discard:
                    continue
                time = packet.dts if packet.pts is None else packet.pts
                if time is None:
                    return nothing
                times.append(time)
                if packet.is_keyframe:
                    keys.append((time, time if packet.dts is None else packet.dts))
                beyond += len(times) > frame
                if beyond > MARGIN:
                    break
            whole = beyond <= MARGIN
            first = None if not times else first_time(path)
    except (FFmpegError, OSError) as error:
        raise MediaError(f"{path} cannot be read as a video: {error}") from error
    times.sort()
    if not whole:  # the frames of these packets, too, are all there but for the last ones, which others may precede
        times = times[: len(times) - MARGIN]
    sound = times and first == times[0] and all(a < b for a, b in pairwise(times))
    return FrameIndex(array("q", times), tuple(sorted(keys)), whole) if sound else nothing


def first_time(path: Path) -> int | None:
    """When the first frame that can be decoded is shown; not that of the first packet where a stream begins broken."""
    import av

    with av.open(str(path)) as container:
        return next((frame.pts for frame in container.decode(video=0)), None)
