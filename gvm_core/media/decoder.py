"""Decodes the picture track of a file: the right track, progressive frames, and no frame lost to a damaged packet."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from heapq import heappop, heappush
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MediaError, cause
from .container import most_pixels, open_container, refuse_size

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

ATTACHED, THUMBNAILS, DEPENDENT = 1024, 2048, 524288
"""FFmpeg's dispositions of cover art, of thumbnails, and of tracks that are only a part of a picture."""
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read the alpha of these codecs, which FFmpeg's own do not."""
NEAR = Fraction(3, 4)
"""A packet this share of a frame's time away from its neighbours is a frame; a nearer one may be a field."""

CLOCK = 1000
"""Frames per second from which on a rate is the tick of the file's clock."""

SMALLEST = 3
"""Lines, and pixels in a line, that ``bwdif`` needs."""

FEWEST = 4
"""Bytes of a file for each of its frames, at least. So a file whose header lies cannot seem to have billions."""

Shown = tuple["int | None", "av.VideoFrame"]
"""When a frame is shown, in the stream's time base, and the frame."""


class Decoder:
    """Decodes the picture track of a video or a picture.

    Args:
        path: Any file that FFmpeg reads.
        alpha: Decode alpha where only another decoder reads it.
        strict: Raise an error at the first damaged packet, instead of holding the last good frame.

    Attributes:
        container: The opened file.
        stream: Its picture track.
        decoded: Number of frames decoded so far.

    Raises:
        MediaError: If the file cannot be read, or has no picture track.
    """

    def __init__(self, path: Path, *, alpha: bool = False, strict: bool = False) -> None:
        import av
        from av.error import FFmpegError

        self.path, self.strict, self.decoded = path, strict, 0
        self.waiting: list[tuple[int, int]] = []  # times and groups of packets whose frames have not come
        self.damage: Exception | None = None
        self.group, self.hurt = 0, set[int]()  # number of key frames so far, and where there was damage after them
        try:
            self.container: InputContainer = open_container(path)
        except (FFmpegError, OSError) as error:
            raise MediaError(f"{path} cannot be read as a video or picture: {cause(error)}") from error
        try:
            self.stream: VideoStream = picture_track(self.container, path)
            refuse_size(path, self.stream.width, self.stream.height)
        except MediaError:
            self.container.close()
            raise
        self.stream.codec_context.options = {"max_pixels": str(min(most_pixels(path), 2**31 - 1))}
        self.stream.thread_type = "SLICE"  # threads for frames report damage late, and lose frames at the end
        self.codec: Any = None
        name = WITH_ALPHA.get(self.stream.codec_context.name)
        tags = {key.lower(): value for key, value in self.stream.metadata.items()}
        if alpha and name and tags.get("alpha_mode") == "1" and name in av.codecs_available:
            self.codec = av.CodecContext.create(name, "r")
            self.codec.options = self.stream.codec_context.options
            self.codec.extradata = self.stream.codec_context.extradata
        self.step = 1 / (self.rate * Fraction(self.stream.time_base or 1))

    @property
    def rate(self) -> Fraction:
        """Frames per second; the mean if the rate varies."""
        rates = (self.stream.average_rate, self.stream.guessed_rate)
        return next((Fraction(rate) for rate in rates if rate and rate < CLOCK), Fraction(24))

    @property
    def count(self) -> int | None:
        """Number of frames if the file says it, or an estimate by its duration. It may be wrong."""
        import av

        seconds = self.container.duration / av.time_base if self.container.duration else None
        count = self.stream.frames or (None if seconds is None else max(round(seconds * self.rate), 1))
        return count and max(min(count, self.path.stat().st_size // FEWEST), 1)

    def frames(self, position: int | None = None) -> Iterator[Shown]:
        """Progressive frames in display order, from the key frame at ``position`` on, or from the current one.

        A frame that is lost to damage is replaced by the frame before it, or by the first one after it.

        Raises:
            MediaError: If there is damage and `strict` is set, or if nothing can be decoded.
        """
        from av.error import FFmpegError

        if position is not None:
            try:
                self.container.seek(position, stream=self.stream)
            except FFmpegError:
                return
            if self.codec is not None:
                self.codec.flush_buffers()
        yield from progressive(self.whole())

    def whole(self) -> Iterator[Shown]:
        """All frames, as they are stored, with held ones in place of lost ones."""
        last: Shown | None = None
        for frame in self.stored():
            time = frame.pts
            lost = [] if time is None else self.missed(last and last[0], time)
            for each in lost:
                yield each, (last[1] if last else frame)
            yield (last := (time, frame))
        if last is not None and last[0] is not None:
            yield from ((each, last[1]) for each in self.missed(last[0], None))
        elif self.damage is not None and last is None:
            raise MediaError(
                f"{self.path} is damaged: no frame of it can be decoded: {cause(self.damage)}"
            ) from self.damage

    def stored(self) -> Iterator[av.VideoFrame]:
        """The frames that can be decoded, packet by packet. Notes the packets' times, and damage."""
        self.waiting, self.damage, self.group, self.hurt = [], None, 0, set()
        for packet in self.packets():
            self.group += packet.is_keyframe
            if packet.size and packet.pts is not None and not packet.is_discard:
                heappush(self.waiting, (packet.pts, self.group))
            for frame in self.decode(packet):
                self.decoded += 1
                yield frame

    def packets(self) -> Iterator[Packet]:
        """The track's packets, as far as the file can be read, and an empty one that flushes the decoder."""
        from av.error import FFmpegError

        try:
            yield from self.container.demux(self.stream)
        except FFmpegError as error:
            self.note(error)

    def decode(self, packet: Packet) -> list[av.VideoFrame]:
        """The frames that come out when ``packet`` goes in; none if it is damaged."""
        from av.error import EOFError as Ended
        from av.error import FFmpegError

        try:
            decoded = self.stream.decode(packet) if self.codec is None else self.codec.decode(packet)
            return list(decoded)  # type: ignore[arg-type]
        except Ended:
            return []
        except FFmpegError as error:
            self.note(error)
            return []

    def note(self, error: Exception) -> None:
        """Remember that there is damage, or raise it."""
        if self.strict:
            raise MediaError(f"{self.path} is damaged after {self.decoded} frames: {cause(error)}") from error
        self.damage = self.damage or error
        self.hurt.add(self.group)

    def missed(self, before: int | None, after: int | None) -> list[int]:
        """The times between two frames that came, at which a frame was lost to damage.

        Elsewhere than after the last frame, where ``after`` is None and decoders are silent about damage, it must have
        been noted in the same group of frames, from one key frame to the next.
        """
        lost: list[int] = []
        while self.waiting and (after is None or self.waiting[0][0] <= after):
            time, group = heappop(self.waiting)
            damaged = after is None or group in self.hurt
            previous = lost[-1] if lost else before
            apart = previous is None or time - previous >= NEAR * self.step
            if damaged and apart and (after is None or after - time >= NEAR * self.step):
                lost.append(time)
        if lost:
            unit = Fraction(self.stream.time_base or 1)
            times = ", ".join(f"{float(time * unit):.3f}" for time in lost[:8]) + (", …" if len(lost) > 8 else "")
            log.warning(
                "%s is damaged: %d frames are lost, at %s s; the frame before is held", self.path, len(lost), times
            )
        return lost

    def close(self) -> None:
        """Close the file."""
        self.container.close()


def picture_track(container: InputContainer, path: Path) -> VideoStream:
    """The track to matte: not cover art or thumbnails; of several the default one, else the largest.

    Raises:
        MediaError: If there is none, or the picture is stored in tiles.
    """
    films = [track for track in container.streams.video if not disposition(track) & (ATTACHED | THUMBNAILS)]
    tracks = [track for track in films if track.codec_context is not None]
    if films and not tracks:
        raise MediaError(f"{path} has pictures in a codec that FFmpeg does not know, or its header is damaged")
    if whole := [track for track in tracks if not disposition(track) & DEPENDENT]:
        return max(whole, key=lambda track: (disposition(track) & 1, track.width * track.height, -track.index))
    if tracks:
        raise MediaError(
            f"{path} is a picture stored in tiles, which cannot be put together here; save it as PNG or JPEG"
        )
    kinds = ", ".join(sorted({track.type for track in container.streams})) or "nothing"
    cover = ": its picture is cover art" if container.streams.video else ""
    raise MediaError(f"{path} has no video or picture track, only {kinds}{cover}")


def disposition(track: VideoStream) -> int:
    """FFmpeg's flags of a track; PyAV's versions differ in what holds them."""
    return int(getattr(track.disposition, "value", track.disposition))


def progressive(frames: Iterable[Shown]) -> Iterator[Shown]:
    """Deinterlace frames from the first interlaced one on, by FFmpeg's ``bwdif``; one frame out for each frame in.

    Frames that are marked as progressive stay as they are. Where size or pixel format change, it begins anew.
    """
    graph: Any = None
    form: tuple[int, int, str] | None = None
    times: deque[int | None] = deque()
    for time, frame in frames:
        if graph is not None and form != form_of(frame):
            graph.push(None)
            yield from pulled(graph, times)
            graph = None
        if graph is None and (not frame.interlaced_frame or min(frame.width, frame.height) < SMALLEST):
            yield time, frame
            continue
        if graph is None:
            graph, form = deinterlacer(frame), form_of(frame)
        times.append(time)
        graph.push(frame)
        yield from pulled(graph, times)
    if graph is not None:
        graph.push(None)
        yield from pulled(graph, times)


def form_of(frame: av.VideoFrame) -> tuple[int, int, str]:
    """What a filter graph must know of a frame: width, height and pixel format."""
    return frame.width, frame.height, frame.format.name


def pulled(graph: Any, times: deque[int | None]) -> Iterator[Shown]:
    """The frames that have come out of ``graph``."""
    from av.error import BlockingIOError as Later
    from av.error import EOFError as Ended

    with suppress(Later, Ended):
        while times:
            frame = graph.pull()
            yield times.popleft(), frame


def deinterlacer(frame: av.VideoFrame) -> Any:
    """A filter graph for frames like ``frame``."""
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))
    graph.link_nodes(
        source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    ).configure()
    return graph


def along(shown: Iterable[Shown], times: Sequence[int]) -> Iterator[Shown] | None:
    """``shown`` from the frame at the last of ``times`` on, without the frames before the first of them.

    It is None if frames come at other times: where there is damage, not every packet is a frame, or frames are in
    another order.
    """
    frames, at = iter(shown), 0
    for each, frame in frames:
        if at == 0 and each is not None and each < times[0]:
            continue
        if each != times[at]:
            return None
        at += 1
        if at == len(times):
            return chain(iter([(each, frame)]), frames)
    return None
