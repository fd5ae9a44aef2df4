"""Reads videos, frame by frame, with PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import logging
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path

from torch import Tensor

from ..errors import MediaError, NoSuchFrameError
from ..post.composite import straightened
from ..post.light import Light
from ..post.resize import SQUARE, resize
from .clock import BACK
from .colours import ATTRIBUTES, ColourTags
from .decoder import Decoder, Shown, along
from .index import FrameIndex, first_frame, frame_index
from .orientation import display_matrix, is_turned, upright_size
from .pixels import has_alpha, rgb, rgba
from .timecode import ALPHAS, WIDEST, Labels, Timecode, first_value, note_in, timecode_in

log = logging.getLogger(__name__)

TRIES = 2
"""Number of key frames to try before a range is decoded from the video's first frame."""
DAY, CENTURY = 86400, 100 * 366 * 86400
"""In seconds: how far apart two frames may be, and how late a video may begin."""


class VideoReader:
    """The frames of a video: an iterable of ``[3, H, W]`` float32 that can be read once, 0..1 in the light of the file.

    Conversion to RGB keeps 16 bits. `shown` makes sRGB of HDR and wide colours. Frames come upright and progressive, and
    all in the size of the first one. Only the current frame is in memory. A frame that is lost to damage is replaced
    by the one before it, so that count and times stay.

    Args:
        path: Any file that FFmpeg reads; a still picture is a video of one frame.
        first: Index of the first frame wanted.
        last: Index of the last frame wanted, included; ``None`` for all.
        alpha: Read ``[4, H, W]``, straight, with the file's own alpha as the last channel. Colour is divided by alpha if the
            file says that it is premultiplied, as ours do.
        strict: Raise an error where the file is damaged.
        light: The light of the file, if its tags do not say it; ``None`` believes the tags.

    Attributes:
        light: The light of the file.
        rate: Frames per second, exact; the mean if the rate varies.
        time_base: The unit of `times`, in seconds.
        times: Display times of the video's frames, from the first to the last one read; strictly rising.
    """

    def __init__(
        self,
        path: Path,
        first: int = 0,
        last: int | None = None,
        *,
        alpha: bool = False,
        strict: bool = False,
        light: Light | None = None,
    ) -> None:
        self.path, self.first, self.last, self.alpha, self.strict = path, first, last, alpha, strict
        self.decoder = Decoder(path, alpha=alpha, strict=strict)
        stream = self.decoder.stream
        self.rate = self.decoder.rate
        self.time_base = Fraction(stream.time_base or 1 / self.rate)
        self.times, self.moved = array("q"), 0  # what was added to the last time
        self.step, *self.limits = (max(round(each / self.time_base), 1) for each in (1 / self.rate, BACK, DAY, CENTURY))
        self.size: tuple[int, int] | None = None  # of the first frame
        self.changed = False
        # now, because decoders of ProRes forget what the container says
        tags = (int(getattr(stream.codec_context, name)) for name in ATTRIBUTES.values())
        self.primaries, self.transfer, self.matrix = tags
        self.light = light or Light.tagged(self.transfer, self.primaries)

    @property
    def decoded(self) -> int:
        """Number of frames decoded so far, including frames before the first one wanted."""
        return self.decoder.decoded

    @cached_property
    def tags(self) -> list[dict[str, str]]:
        """The metadata of the picture track, of data tracks, and of the file."""
        container, stream = self.decoder.container, self.decoder.stream
        return [stream.metadata, *(each.metadata for each in container.streams.data), container.metadata]

    @cached_property
    def labels(self) -> Labels:
        """Pixel aspect of the upright frames, timecode of the first frame wanted, name of the reel, colours, kind of alpha."""
        timecode = Timecode.read(first_value(self.tags, "timecode"), self.rate)
        aspect = Fraction(self.decoder.stream.sample_aspect_ratio or 1)
        aspect = aspect if 1 / WIDEST < aspect < WIDEST else SQUARE
        if (timecode is None or aspect != SQUARE) and (frame := first_frame(self.path)) is not None:
            timecode = timecode or timecode_in(frame, self.rate)
            aspect = 1 / aspect if is_turned(display_matrix(frame, self.path)) else aspect
        return Labels(
            aspect,
            timecode and timecode.after(self.first),
            first_value(self.tags, "reel_name"),
            ColourTags(self.primaries, self.transfer, self.matrix),
            note_in(self.tags, "alpha", ALPHAS),
            note_in(self.tags, "light"),
        )

    @cached_property
    def has_alpha(self) -> bool:
        """Whether the file has an alpha channel, by its first frame. It can be asked of a reader that drops alpha."""
        frame = first_frame(self.path, alpha=True)
        return frame is not None and has_alpha(frame)

    @property
    def names(self) -> Callable[[int], str]:
        """The name of frame ``i``: the video's name and the index."""
        return lambda index: f"{self.path.stem}_matte.{index:06d}"

    @property
    def count(self) -> int | None:
        """Estimated number of frames to read, if the file says it. It may be wrong."""
        total = self.decoder.count
        if self.last is not None and total is not None:
            total = min(total, self.last + 1)
        return None if total is None else max(total - self.first, 0)

    def counted(self) -> int:
        """Number of frames to read, by the packets in the file. This looks through the whole file."""
        total = len(frame_index(self.path, sys.maxsize).times)
        return max((total if self.last is None else min(total, self.last + 1)) - self.first, 0)

    def __iter__(self) -> Iterator[Tensor]:
        index = -1
        for index, (time, frame) in self.decoded_from(self.first):
            if self.last is not None and index > self.last:
                return
            self.times.append(self.rising(time))
            self.size = self.size or upright_size(frame, self.path)
            if index >= self.first:
                picture = (rgba if self.alpha else rgb)(frame, self.path, self.matrix)
                yield self.sized(self.straight(picture), index)
        if index < self.first:
            raise NoSuchFrameError(f"{self.path} has {index + 1} frames; there is no frame {self.first}", index + 1)

    def shown(self, frame: Tensor) -> Tensor:
        """A frame as a screen shows it, sRGB 0..1: HDR is tone-mapped, wide colours are converted."""
        return self.light.to_srgb(frame)

    def straight(self, picture: Tensor) -> Tensor:
        """``picture`` with straight colour, if it has alpha and the file says that its colour is premultiplied."""
        if not self.alpha or note_in(self.tags, "alpha", ALPHAS) != "premultiplied":
            return picture
        return straightened(picture)

    def sized(self, picture: Tensor, index: int) -> Tensor:
        """The picture of frame ``index``, scaled to the size of the video's first frame if it has another."""
        if self.size is None or tuple(picture.shape[-2:]) == self.size:
            return picture
        if not self.changed:
            words = (self.path, index, *reversed(picture.shape[-2:]), *reversed(self.size))
            log.warning("%s changes its size: frame %d is %dx%d, so it is scaled to the first size, %dx%d", *words)
            self.changed = True
        return resize(picture[None], self.size)[0]

    def decoded_from(self, first: int) -> Iterator[tuple[int, Shown]]:
        """Frames with their indices and times, from ``first`` on, or from an earlier frame.

        Decoding begins at the key frame before ``first`` if the file gives its position, else at the first frame.
        """
        index = None
        if first:
            with suppress(MediaError):  # damage after this range does not matter
                index = frame_index(self.path, first)
        if index is not None and index.keys:
            wanted = min(first, len(index.times) - 1)
            for start in index.starts_before(wanted)[:TRIES]:
                if (frames := self.decoded_along(index, wanted, *start)) is not None:
                    self.size = index.size
                    for time in index.times[:wanted]:
                        self.times.append(self.rising(time))
                    yield from enumerate(frames, wanted)
                    return
            decoded = self.decoder.decoded
            self.decoder.close()
            self.decoder = Decoder(self.path, alpha=self.alpha, strict=self.strict)
            self.decoder.decoded = decoded
        yield from enumerate(self.decoder.frames())

    def decoded_along(self, index: FrameIndex, wanted: int, key: int, position: int) -> Iterator[Shown] | None:
        """Frames from ``wanted`` on, decoded from the key frame ``key`` at ``position``.

        It is None where they may be others than when the whole video is decoded: if the frames before are not as
        ``index`` says, after damage, and in another size than the first frame's.
        """
        try:
            frames = along(self.decoder.frames(position), index.times[key : wanted + 1])
            begun = next(frames or iter(()), None)
        except MediaError:
            if self.strict:
                raise
            return None
        if frames is None or begun is None or self.decoder.hurt:
            return None
        return chain((begun,), frames) if upright_size(begun[1], self.path) == index.size else None

    def rising(self, time: int | None) -> int:
        """The next display time. If the file gives none, or one that cannot be, it is one frame after the last one.

        Where the clock jumps back, as in files that were put together, or on by more than a day, time goes on from there.
        """
        back, day, century = self.limits
        if not self.times:
            self.moved = -time if time is not None and abs(time) > century else 0
            return 0 if time is None else time + self.moved
        last = self.times[-1]
        if time is None:
            return last + self.step
        if not last - back <= time + self.moved <= last + day:
            self.moved = last + self.step - time
        return max(time + self.moved, last + 1)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.decoder.close()


def usual_layout(channels: int) -> str:
    """FFmpeg's name of the usual layout of ``channels`` audio channels, for files without a layout."""
    return {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}.get(
        channels, f"{channels} channels"
    )


def frames_between(path: Path, begin: float, end: float | None = None) -> tuple[int, int | None]:
    """The first and the last frame shown from ``begin`` until before ``end``, in seconds of the video's own clock.

    Raises:
        MediaError: If there are no such frames.
    """
    decoder = Decoder(path)
    unit = Fraction(decoder.stream.time_base or 1)
    decoder.close()
    times = frame_index(path, sys.maxsize).times
    first = bisect_left(times, int(begin / unit))
    last = None if end is None else bisect_left(times, int(end / unit)) - 1
    if first == len(times) or (last is not None and last < first):
        raise MediaError(f"{path} has no frame between {begin:g} and {'its end' if end is None else f'{end:g}'} s")
    return first, last
