"""Parts put together into one video, by copying packets, with the source's audio. Nothing is decoded but foreign audio."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import MediaError
from .parts import Part

EVERYWHERE = {"aac", "alac", "mp3", "ac3", "eac3"}
COPIED = {".mp4": EVERYWHERE | {"opus", "flac"}, ".mov": EVERYWHERE}
"""Sound that players and editors take in these containers; .mov also takes any PCM, .mkv anything."""
CONVERTED = {".mp4": "aac", ".mov": "pcm_s16le"}
"""What other sound becomes."""

Packets = Iterator[tuple[Fraction, Any]]


def join_videos(parts: Sequence[Part], name: str, path: Path, source: Path | None, *, whole: bool) -> None:
    """Write the files called ``name`` in ``parts`` as one video, each frame at its time.

    Args:
        parts: Gapless, in order, at least one.
        name: Of the file in each part's folder.
        path: The video to write; its suffix chooses the container.
        source: Whose audio streams to add; None for silence.
        whole: Keep the source's own start and all of its audio. Otherwise the first frame is at 0, and the audio is
            cut to what belongs to the frames.
    """
    import av
    from av.error import FFmpegError

    times, time_base = parts[0].times
    options = {"movie_timescale": str(time_base.denominator)} if path.suffix.lower() in (".mov", ".mp4") else {}
    begin = Fraction(0) if whole else times[0] * time_base
    try:
        with av.open(str(path), "w", options=options) as container:
            with av.open(str(parts[0].folder / name)) as opening:
                template: Any = opening.streams.video[0]
                stream: Any = container.add_stream_from_template(template)
                step = round(1 / (template.average_rate * time_base)) if template.average_rate else 1
            stream.time_base = time_base
            flows = [video_packets(parts, name, stream, begin, max(step, 1))]
            if source is None:
                copy_packets(container, flows)
                return
            with av.open(str(source)) as sound:
                streams = list(sound.streams.audio)
                outputs = {each.index: audio_output(container, each, path) for each in streams}
                end = None if whole else last_moment(parts[-1], max(step, 1))
                if streams:
                    flows.append(audio_packets(sound, streams, outputs, None if whole else begin, end))
                copy_packets(container, flows)
    except (FFmpegError, OSError) as error:
        raise MediaError(f"{path} cannot be written: {error}") from error


def copy_packets(container: Any, flows: Sequence[Packets]) -> None:
    """Write packets of several streams in the order of their times."""
    for _, packet in heapq.merge(*flows, key=lambda timed: timed[0]):
        container.mux(packet)


def last_moment(part: Part, step: int) -> Fraction:
    """When the last frame of ``part`` goes, in seconds."""
    times, time_base = part.times
    return (times[-1] + step) * time_base


def video_packets(parts: Sequence[Part], name: str, stream: Any, begin: Fraction, step: int) -> Packets:
    """The packets of every part: one a frame, in order, since no encoder of ours reorders them."""
    held = None
    for part in parts:
        import av

        times, time_base = part.times
        shift = round(begin / time_base)
        with av.open(str(part.folder / name)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        if len(packets) != len(times):
            raise MediaError(
                f"{part.folder} is damaged: {len(packets)} of its {len(times)} frames are there; delete it"
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


def audio_output(container: Any, stream: Any, path: Path) -> Any:
    """A stream for ``stream``'s audio: as it is where the container takes it, else of a codec that it takes."""
    suffix, codec = path.suffix.lower(), stream.codec_context
    name = codec.codec.canonical_name
    if suffix not in COPIED or name in COPIED[suffix] or (suffix == ".mov" and name.startswith("pcm_")):
        return container.add_stream_from_template(stream)
    return container.add_stream(CONVERTED[suffix], rate=codec.sample_rate, layout=codec.layout.name)


def audio_packets(
    sound: Any, streams: Sequence[Any], outputs: dict[int, Any], begin: Fraction | None, end: Fraction | None
) -> Packets:
    """The source's audio from ``begin`` to ``end`` in seconds, moved to 0; without them all of it, where it is."""
    shift = begin or Fraction(0)
    copied = {index for index, output in outputs.items() if output.codec_context is None or not is_encoder(output)}
    for packet in sound.demux(*streams):
        output = outputs[packet.stream.index]
        if packet.dts is None or packet.pts is None:
            continue
        time = packet.pts * packet.time_base
        if begin is not None and (time < begin or (end is not None and time >= end)):
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


def is_encoder(stream: Any) -> bool:
    """Whether a stream was added to encode, not as a copy of another."""
    return bool(getattr(stream.codec_context, "is_encoder", False))
