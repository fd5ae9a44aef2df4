"""Long videos: cut them into overlapping windows, and cross-fade the results.

This module knows frame indices only. It does not know pixels, networks or where frames come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from .errors import InputError
from .frames import Clip


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Length and overlap of the windows that cover a video.

    Windows start every ``length - overlap`` frames. The last one is moved back so that it is as long as the others;
    a video shorter than one window is one short window.

    Attributes:
        length: Frames the network sees at once.
        overlap: Frames that neighbouring windows share. They are cross-faded.

    Raises:
        InputError: If not ``0 <= overlap < length``.

    Example:
        >>> WindowPlan(length=4, overlap=1).spans(9)
        [(0, 4), (3, 7), (5, 9)]
        >>> WindowPlan(length=4, overlap=1).spans(2)
        [(0, 2)]
    """

    length: int = 8
    overlap: int = 2

    def __post_init__(self) -> None:
        if self.length < 1:
            raise InputError(f"a window needs at least one frame, got length={self.length}")
        if not 0 <= self.overlap < self.length:
            raise InputError(
                f"overlap must be at least 0 and smaller than the window's length ({self.length}), got {self.overlap}"
            )

    @property
    def stride(self) -> int:
        """Frames from one window's start to the next."""
        return self.length - self.overlap

    def context(self, first: int, last: int) -> tuple[int, int]:
        """The first and last frame of the windows that contain ``first`` to ``last``, for any length of the video.

        Example:
            >>> WindowPlan(length=8, overlap=2).context(14, 16)
            (6, 24)
        """
        earliest = max(first - self.length + 1, 0)  # the last window, moved back, may start between two regular ones
        # One frame more than a window: a last window moved back from there still begins after ``last``.
        return earliest - earliest % self.stride, last + self.length

    def spans(self, frames: int) -> list[tuple[int, int]]:
        """First and one-past-last frame of every window over a video of ``frames`` frames."""
        last = max(frames - self.length, 0)
        starts = [*range(0, last, self.stride), last] if frames else []
        return [(start, min(start + self.length, frames)) for start in starts]

    def joins(self, frames: int) -> torch.Tensor:
        """Which steps from one frame to the next cross a window's edge, ``[frames - 1]`` bool.

        Example:
            >>> WindowPlan(length=4, overlap=1).joins(7).int().tolist()
            [0, 0, 1, 1, 0, 0]
        """
        marked = torch.zeros(max(frames - 1, 0), dtype=torch.bool)
        for start, stop in self.spans(frames):
            marked[max(start - 1, 0) : start] = True
            marked[stop - 1 : stop] = True
        return marked


def cut(clips: Iterable[Clip], plan: WindowPlan) -> Iterator[Clip]:
    """Regroup gapless clips of any length into the windows of ``plan``. The length of the video need not be known.

    Keeps one window and one incoming clip in memory. The windows are those of `WindowPlan.spans`.

    Example:
        >>> frames = (Clip(torch.zeros(1, 1, 1, 1), i) for i in range(9))
        >>> [(w.start, w.stop) for w in cut(frames, WindowPlan(length=4, overlap=1))]
        [(0, 4), (3, 7), (5, 9)]
    """
    held: Clip | None = None  # the frames that the next window may need
    following = None  # where the next regular window starts
    emitted = None  # where the last yielded window ended
    for clip in clips:
        following = clip.start if following is None else following
        held = clip if held is None else join(held, clip)
        while held.stop - following >= plan.length:
            emitted = following + plan.length
            yield held[following:emitted]
            following += plan.stride
        # A last window that is moved back starts at most one window before the end of the frames so far.
        held = held[max(held.stop - plan.length, held.start) :]
    if held is not None and emitted != held.stop:
        yield held


def around(clips: Iterable[Clip], margin: int) -> Iterator[tuple[Clip, slice]]:
    """Add up to ``margin`` frames before and after gapless clips. Yield each clip and the span of its new frames.

    Example:
        >>> clips = (Clip(torch.zeros(2, 1, 1, 1), i) for i in (0, 2, 4))
        >>> [(clip.start, clip.stop, new.start, new.stop) for clip, new in around(clips, 1)]
        [(0, 2, 0, 1), (0, 4, 1, 3), (2, 6, 3, 5), (4, 6, 5, 6)]
    """
    held: Clip | None = None
    done = 0
    for clip in clips:
        done = clip.start if held is None else done
        held = clip if held is None else join(held, clip)
        del clip  # else its first frames stay in memory longer than needed
        ready = max(held.stop - margin, done)
        if ready > done:
            yield held, slice(done, ready)
            done = ready
        held = held[max(done - margin, held.start) :] if margin else None
    if held is not None:
        yield held, slice(done, held.stop)


def crossfade(windows: Iterable[Clip]) -> Iterator[Clip]:
    """Join overlapping windows into gapless clips, each frame once and in order.

    Where two windows share ``n`` frames, the later one's weight rises as ``(i + 1) / (n + 1)``. So every shared frame
    is a mix of both windows, and a single shared frame is an even mix.

    Example:
        >>> a, b = Clip(torch.zeros(3, 1, 1, 1), 0), Clip(torch.ones(3, 1, 1, 1), 2)
        >>> [clip.data.flatten().tolist() for clip in crossfade([a, b])]
        [[0.0, 0.0], [0.5, 1.0, 1.0]]
    """
    held: Clip | None = None
    for window in windows:
        if held is None:
            held = window
            continue
        if window.start > held.start:
            done = held[: min(window.start, held.stop)]
            held = held[window.start :] if window.start < held.stop else None
            yield done
            del done  # else it stays in memory until the next window is there
        held = window if held is None else fade(held, window)
    if held is not None:
        yield held


def fade(earlier: Clip, later: Clip) -> Clip:
    """Fade from the earlier to the later of two clips with the same start. Other frames do not change."""
    shared = min(len(earlier), len(later))
    weight = torch.arange(1, shared + 1, dtype=later.data.dtype, device=later.data.device) / (shared + 1)
    weight = weight[:, None, None, None]  # [n, 1, 1, 1]
    mixed = torch.lerp(earlier.data[:shared], later.data[:shared], weight)
    longer = later if len(later) >= len(earlier) else earlier
    return longer.replace(torch.cat([mixed, longer.data[shared:]]))


def trim(clips: Iterable[Clip], first: int, last: int | None) -> Iterator[Clip]:
    """Yield only the frames ``first`` to ``last`` of ``clips``. No clip is taken after ``last`` was yielded."""
    for clip in clips:
        begin, end = max(clip.start, first), clip.stop if last is None else min(clip.stop, last + 1)
        if begin < end:
            yield clip[begin:end]
        if last is not None and clip.stop > last:
            return


def gather(clips: Iterable[Clip], frames: int) -> Iterator[Clip]:
    """Regroup gapless clips into clips of ``frames`` frames, each as soon as it is full; the last may be shorter."""
    held: Clip | None = None
    for clip in clips:
        held = clip if held is None else join(held, clip)
        while held is not None and len(held) >= frames:
            full, rest = held.start + frames, held.stop
            yield held[:full]
            held = held[full:] if full < rest else None
    if held is not None:
        yield held


def join(earlier: Clip, later: Clip) -> Clip:
    """Join two clips that follow each other."""
    if earlier.stop != later.start:
        raise InputError(f"frame {later.start} does not follow frame {earlier.stop - 1}")
    return Clip(torch.cat([earlier.data, later.data]), earlier.start, earlier.originals + later.originals)
