"""Joins parts into one video by copying packets, and adds the source's audio. Only unsupported audio is decoded."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import MediaError
from ..media.video import usual_layout
from .parts import Part

EVERYWHERE = {"aac", "alac", "mp3", "ac3", "eac3"}
COPIED = {".mp4": EVERYWHERE | {"opus", "flac"}, ".mov": EVERYWHERE}
"""Audio codecs that players and editors support in these containers; .mov also takes any PCM, .mkv any codec."""
CONVERTED = {".mp4": "aac", ".mov": "pcm_s16le"}
"""Codecs to which other audio is converted."""

Packets = Iterator[tuple[Fraction, Any]]


def join_videos(parts: Sequence[Part], name: str, path: Path, source: Path | None, *, whole: bool) -> None:
    """Write the files called ``name`` in ``parts`` as one video, each frame at its time.

    Args:
        parts: In order, without gaps, at least one.
        name: Name of the file in each part's folder.
        path: The video to write; its suffix chooses the container.
        source: The file whose audio streams are added; None for no audio.
        whole: Keep the source's own start and all of its audio. Otherwise the first frame is at 0, and the audio is
            cut to the time of the frames.
    """
    import av
    from av.error import FFmpegError

    times, time_base = parts[0].times
    options = {"movie_timescale": str(time_base.denominator)} if path.suffix.lower() in (".mov", ".mp4") else {}
    begin = Fraction(0) if whole else times[0] * time_base
    try:
        with ExitStack() as stack:
            container = stack.enter_context(av.open(str(path), "w", options=options))
            with av.open(str(parts[0].folder / name)) as opening:
                template: Any = opening.streams.video[0]
                stream: Any = container.add_stream_from_template(template)
                step = max(round(1 / (template.average_rate * time_base)), 1) if template.average_rate else 1
            stream.time_base = time_base
            flows = [video_packets(parts, name, stream, begin, step)]
            if source is not None:
                sound = stack.enter_context(av.open(str(source)))
                outputs = {each.index: audio_output(container, each, path) for each in sound.streams.audio}
                copied = {each.index for each in sound.streams.audio if fits(each, path)}
                span = None if whole else (begin, last_moment(parts[-1], step))
                flows += [audio_packets(sound, outputs, copied, span)] if outputs else []
            for _, packet in heapq.merge(*flows, key=lambda timed: timed[0]):
                container.mux(packet)
    except (FFmpegError, OSError) as error:
        raise MediaError(f"{path} cannot be written: {error}") from error


def last_moment(part: Part, step: int) -> Fraction:
    """The time at which the last frame of ``part`` ends, in seconds."""
    times, time_base = part.times
    return (times[-1] + step) * time_base


def video_packets(parts: Sequence[Part], name: str, stream: Any, begin: Fraction, step: int) -> Packets:
    """The packets of all parts: one per frame, in order, because none of our encoders reorders frames."""
    import av

    held = None
    for part in parts:
        times, time_base = part.times
        shift = round(begin / time_base)
        with av.open(str(part.folder / name)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        if len(packets) != len(times):
            raise MediaError(
                f"{part.folder} is damaged: it has {len(packets)} of {len(times)} frames; delete it and start again"
            )
        for packet, time in zip(packets, times, strict=True):
            packet.stream, packet.time_base = stream, time_base
            packet.pts = packet.dts = time - shift
            if held is not None:
                held.duration = packet.pts - held.pts
                yield held.pts * time_base, held
            held = packet
    if held is not None:
        held.duration = step
        yield held.pts * held.time_base, held


def fits(stream: Any, path: Path) -> bool:
    """Whether the container at ``path`` takes ``stream``'s audio unchanged."""
    suffix, name = path.suffix.lower(), stream.codec_context.codec.canonical_name
    return suffix not in COPIED or name in COPIED[suffix] or (suffix == ".mov" and name.startswith("pcm_"))


def audio_output(container: Any, stream: Any, path: Path) -> Any:
    """Add an output for ``stream``'s audio: unchanged if the container takes it, else converted."""
    if fits(stream, path):
        return container.add_stream_from_template(stream)
    codec = stream.codec_context
    layout = usual_layout(codec.channels) if any(c.name == "NONE" for c in codec.layout.channels) else codec.layout.name
    return container.add_stream(CONVERTED[path.suffix.lower()], rate=codec.sample_rate, layout=layout)


def audio_packets(
    sound: Any, outputs: dict[int, Any], copied: set[int], span: tuple[Fraction, Fraction] | None
) -> Packets:
    """The source's audio within ``span``, moved to begin at 0; without a span all audio, not moved.

    Args:
        sound: The opened source.
        outputs: The output stream for each of the source's audio streams, by index.
        copied: Indices of the streams whose packets are copied; the others are encoded again.
        span: Start and end in seconds; the end is excluded.
    """
    shift = Fraction(0) if span is None else span[0]
    for packet in sound.demux(*(sound.streams[index] for index in outputs)):
        output = outputs[packet.stream.index]
        if packet.dts is None or packet.pts is None:
            continue
        if span is not None and not span[0] <= packet.pts * packet.time_base < span[1]:
            continue
        if packet.stream.index in copied:
            moved = round(shift / packet.time_base)
            packet.stream = output
            packet.pts, packet.dts = packet.pts - moved, packet.dts - moved
            yield packet.dts * packet.time_base, packet
            continue
        for frame in packet.decode():
            frame.pts -= round(shift / frame.time_base)
            for encoded in output.encode(frame):
                yield encoded.dts * encoded.time_base, encoded
    for index, output in outputs.items():
        if index not in copied:
            for encoded in output.encode(None):
                yield encoded.dts * encoded.time_base, encoded
