"""Reads videos and writes matte videos, frame by frame, with PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import logging
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import MediaError, NoSuchFrameError
from .index import FrameIndex, frame_index
from .pixels import frame_for, rgb, rgba

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

BT709 = 1


@dataclass(frozen=True, slots=True)
class Codec:
    """The encoder for one file suffix. No encoder here reorders frames.

    Attributes:
        name: FFmpeg's name of the encoder.
        pixels: Pixel format of the encoder.
        odd_pixels: Pixel format for frames with an odd width or height, where chroma subsampling is not possible.
        options: The encoder's options.
        part_suffix: File suffix for parts; it chooses their container.
    """

    name: str
    pixels: str
    odd_pixels: str
    options: dict[str, str]
    part_suffix: str = ".nut"


CODECS = {
    ".mp4": Codec("libx264", "yuv420p", "yuv444p", {"crf": "12", "preset": "medium", "bf": "0", "mbtree": "0"}),
    ".mov": Codec("prores_ks", "yuv444p10le", "yuv444p10le", {"profile": "4444", "vendor": "apl0"}, ".mov"),
    ".mkv": Codec("ffv1", "gray16le", "gray16le", {"level": "3"}),
}
"""The codec of each suffix: small and playable anywhere (8 bits), for editors (10 bits), lossless (16 bits).

x264's ``mbtree`` is off. With it, the same small frames (48x32, 96x64) gave other bytes in one of twenty runs on a busy
machine, but a resumed run must give the same bytes.
"""

TRIES = 2
"""Number of key frames to try before a range is decoded from the video's first frame."""
COLOR_TAGS = ("color_primaries", "color_trc", "colorspace")


class VideoReader:
    """The frames of a video: an iterable of ``[3, H, W]`` float32, sRGB 0..1, that can be read once.

    Conversion to RGB keeps 16 bits, rotation tags are applied, and only the current frame is in memory.

    Args:
        path: Any file that FFmpeg reads; a still picture is a video of one frame.
        first: Index of the first frame wanted.
        last: Index of the last frame wanted, included; ``None`` for all.
        alpha: Read ``[4, H, W]``, with the file's own alpha as the last channel.

    Attributes:
        rate: Frames per second, exact; the mean if the rate varies.
        time_base: The unit of `times`, in seconds.
        times: Display times of the video's frames, from the first to the last one read; strictly rising.
        tags: The video's colour tags, as numbers of PyAV's codec contexts.
        decoded: Number of frames decoded so far, including frames before ``first``.
    """

    def __init__(self, path: Path, first: int = 0, last: int | None = None, *, alpha: bool = False) -> None:
        self.path, self.first, self.last, self.alpha = path, first, last, alpha
        self.decoded = 0
        self.container, self.stream = self.open()
        self.rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or 24)
        self.time_base = Fraction(self.stream.time_base or 1 / self.rate)
        self.times = array("q")
        self.tags = {name: int(getattr(self.stream.codec_context, name)) for name in COLOR_TAGS}

    def open(self) -> tuple[InputContainer, VideoStream]:
        """Open the file. Return it and its video stream."""
        import av
        from av.error import FFmpegError

        try:
            container = av.open(str(self.path))
        except (FFmpegError, OSError) as error:
            raise MediaError(f"{self.path} cannot be read as a video or picture: {error}") from error
        if not container.streams.video:
            kinds = ", ".join(stream.type for stream in container.streams)
            container.close()
            raise MediaError(f"{self.path} has no picture in it, only {kinds}")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        return container, stream

    @property
    def names(self) -> Callable[[int], str]:
        """The name of frame ``i``: the video's name and the index."""
        return lambda index: f"{self.path.stem}_matte.{index:06d}"

    @property
    def count(self) -> int | None:
        """Estimated number of frames to read, if the file says it. It may be wrong."""
        total = self.stream.frames or self.guessed_count()
        if self.last is not None and total is not None:
            total = min(total, self.last + 1)
        return None if total is None else max(total - self.first, 0)

    def guessed_count(self) -> int | None:
        """Number of frames estimated from duration and rate, if the file does not give the number."""
        import av

        seconds = self.container.duration / av.time_base if self.container.duration else None
        return None if seconds is None else max(round(seconds * self.rate), 1)

    def __iter__(self) -> Iterator[Tensor]:
        from av.error import FFmpegError

        index = -1
        try:
            for index, frame in self.decoded_from(self.first):
                if self.last is not None and index > self.last:
                    return
                self.times.append(self.time(frame))
                if index >= self.first:
                    yield rgba(frame, self.path) if self.alpha else rgb(frame)
        except FFmpegError as error:
            raise MediaError(f"{self.path} is damaged after frame {index}: {error}") from error
        if index < self.first:
            raise NoSuchFrameError(f"{self.path} has {index + 1} frames; there is no frame {self.first}", index + 1)

    def decoded_from(self, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames and their indices, from ``first`` on, or from an earlier frame.

        Decoding begins at the key frame before ``first`` if the file gives its position, else at the first frame.
        """
        index = None
        if first:
            with suppress(MediaError):  # damage after this range does not matter
                index = frame_index(self.path, first)
        if index is not None and index.keys:
            wanted = min(first, len(index.times) - 1)
            if (frames := self.sought(index, wanted)) is not None:
                self.times = array("q", index.times[:wanted])
                yield from enumerate(frames, wanted)
                return
            self.container.close()
            self.container, self.stream = self.open()
        yield from enumerate(self.counted(self.container.decode(self.stream)))

    def sought(self, index: FrameIndex, wanted: int) -> Iterator[av.VideoFrame] | None:
        """The frames from ``wanted`` on, decoded from a key frame before it; None if no key frame leads to it."""
        from av.error import FFmpegError

        time = index.times[wanted]
        for position in index.positions_before(wanted)[:TRIES]:
            with suppress(FFmpegError):
                self.container.seek(position, stream=self.stream)
                decoded = self.counted(self.container.decode(self.stream))
                begun = next((frame for frame in decoded if frame.pts is None or frame.pts >= time), None)
                if begun is not None and begun.pts == time:
                    return chain(iter([begun]), decoded)
        return None

    def counted(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Yield ``frames``, and count them in `decoded`."""
        for frame in frames:
            self.decoded += 1
            yield frame

    def time(self, frame: av.VideoFrame) -> int:
        """Display time of ``frame``, the next one read. If the file gives none, it is one frame after the last one."""
        if not self.times:
            return frame.pts or 0
        if frame.pts is None:
            return self.times[-1] + max(round(1 / (self.rate * self.time_base)), 1)
        return max(frame.pts, self.times[-1] + 1)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()


class VideoWriter:
    """Encodes consecutive frames into a file that `join_videos` can join with other files.

    Mattes become grey in the codec's range, pictures BT.709 unless they are written as RGB.

    Args:
        path: The file to write; its suffix is the codec's ``part_suffix``.
        codec: From `CODECS`.
        rate: Frames per second.
        tags: The source's colour tags. Mattes get the same tags.
    """

    def __init__(self, path: Path, codec: Codec, rate: Fraction, tags: dict[str, int] | None = None) -> None:
        self.path, self.codec, self.rate, self.tags = path, codec, rate, tags or {}
        self.container: Any = None
        self.stream: Any = None

    def write(self, picture: Tensor) -> None:
        """Append one matte ``[1, H, W]`` or one picture ``[3, H, W]``, sRGB, in 0..1."""
        if self.container is None:
            self.container, self.stream = self.open(*picture.shape)
        converted = frame_for(picture, self.stream.pix_fmt)
        for name, value in self.color_tags(len(picture)).items():
            with suppress(AttributeError):  # older PyAV has no tags on frames; only ProRes reads them
                setattr(converted, name, value)
        self.container.mux(self.stream.encode(converted))

    def color_tags(self, channels: int) -> dict[str, int]:
        """The source's tags for a matte, BT.709 for a picture."""
        return self.tags if channels == 1 else dict.fromkeys(COLOR_TAGS, BT709)

    def open(self, channels: int, height: int, width: int) -> tuple[Any, Any]:
        """The container and stream for frames of this size."""
        import av

        container: Any = av.open(str(self.path), "w")
        stream = container.add_stream(self.codec.name, rate=self.rate, options=dict(self.codec.options))
        odd = height % 2 or width % 2
        stream.width, stream.height = width, height
        stream.pix_fmt = self.codec.odd_pixels if odd else self.codec.pixels
        if stream.pix_fmt != self.codec.pixels:
            log.warning("%s: odd width or height, so written as 4:4:4; some players cannot play that", self.path.name)
        for name, value in self.color_tags(channels).items():
            setattr(stream.codec_context, name, value)
        return container, stream

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.container is None:
            return
        if kind is None:
            self.container.mux(self.stream.encode(None))
        self.container.close()


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
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            unit = Fraction(container.streams.video[0].time_base or 1)
    except (FFmpegError, OSError, IndexError) as error:
        raise MediaError(f"{path} cannot be read as a video: {error}") from error
    times = frame_index(path, sys.maxsize).times
    first = bisect_left(times, int(begin / unit))
    last = None if end is None else bisect_left(times, int(end / unit)) - 1
    if first == len(times) or (last is not None and last < first):
        raise MediaError(f"{path} has no frame between {begin:g} and {'its end' if end is None else f'{end:g}'} s")
    return first, last
