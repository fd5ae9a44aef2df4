"""The source's sound: what happens to each audio track, decided before the first frame, and the packets of an output.

A track is copied if the container takes it, else converted, else left out.

Some tracks list their channels in an order of their own, for example 7.1 sound in .mov. PyAV 18 frees the memory of such
a layout twice, and the process dies: when ``layout`` or ``channels`` of the stream is read, and with every frame that is
decoded. So nothing here reads the layout of a stream, and such tracks are decoded by FFmpeg's ``amovie``, which gives
PyAV only frames in a usual layout. Copying their packets is safe.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from ..errors import cause
from ..media.clock import Clock
from ..media.container import open_container
from ..media.video import usual_layout

log = logging.getLogger(__name__)

EVERYWHERE = {"aac", "alac", "mp3", "ac3", "eac3"}
COPIED = {".mp4": EVERYWHERE | {"opus", "flac"}, ".mov": EVERYWHERE, ".webm": {"opus", "vorbis"}}
"""Audio codecs that players and editors support in these containers; .mov also takes any PCM, .mkv any codec."""
COMPRESSED = {".mp4": "aac", ".webm": "libopus"}
"""Codecs to which other audio is converted; in other containers it becomes PCM."""
USUAL_RATE = 48000
LAYOUTS = "mono|stereo|2.1|3.0|4.0|quad|5.0|5.1|6.1|7.1"
"""Channel layouts of converted audio. FFmpeg takes the one nearest to the source's."""
ENCODED = {".webm": "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1"}
"""The same where the encoder does not know all of them."""
TRIED = 1
"""Seconds of a track that are tried."""
APART = 10
"""Seconds by which packets of different tracks may lie apart in a file."""
SILENCE = 3600
"""Seconds of silence that a track may have where it says nothing. Hours of it are damage."""
EDITED = (".mov", ".mp4")
"""Containers that hide what lies before time 0 (edit lists). Others would show every frame later instead."""
KEPT_TAGS = ("language", "title", "handler_name")

Packets = Iterator[tuple[Fraction, Any]]
Span = tuple[Fraction, Fraction | None]
"""Begin and end in seconds of the source's clock; without an end, all audio after the begin."""


@dataclass(frozen=True, slots=True)
class Track:
    """What happens to one audio track.

    Attributes:
        index: Index of its stream in the source.
        encoder: FFmpeg's name of the encoder to which it is converted; empty if its packets are copied.
        rate: Samples per second of converted audio.
        layout: Channel layout of converted audio.
        reason: Why the track is left out; empty if it is kept.
    """

    index: int
    encoder: str = ""
    rate: int = 0
    layout: str = ""
    reason: str = ""


def plan_sound(source: Path, path: Path) -> tuple[Track, ...]:
    """Decide what happens to each audio track of the file ``source`` in the video ``path``.

    Each answer is FFmpeg's own: the begin of the track is written into a container like that of ``path``, in memory.
    """
    with open_container(source) as container:
        start = Fraction(container.start_time or 0, 10**6)
        known = [(each.index, each.codec_context) for each in container.streams.audio]
        codecs = [(index, "" if context is None else context.codec.canonical_name) for index, context in known]
    return tuple(plan_track(source, path, start, *each) for each in codecs)


def plan_track(source: Path, path: Path, start: Fraction, index: int, codec: str) -> Track:
    """Decide for the track ``index`` of ``source``, which begins at ``start``."""
    if not codec:
        return Track(index, reason="FFmpeg does not know its codec")
    if fits(codec, path.suffix.lower()) and not refusal(source, path, start, Track(index)):
        return Track(index)
    try:
        track = converted(source, path.suffix.lower(), start, index)
    except Exception as error:  # noqa: BLE001  whatever is wrong with sound must not cost the matte
        return Track(index, reason=f"{path.suffix} does not take {codec}, and it cannot be converted ({cause(error)})")
    if reason := refusal(source, path, start, track):
        return Track(
            index, reason=f"{path.suffix} does not take {codec}, nor the {track.encoder} made of it ({reason})"
        )
    return track


def fits(codec: str, suffix: str) -> bool:
    """Whether players support ``codec`` in the container, so that packets are copied if FFmpeg can write them."""
    return suffix not in COPIED or codec in COPIED[suffix] or (suffix == ".mov" and codec.startswith("pcm_"))


def converted(source: Path, suffix: str, start: Fraction, index: int) -> Track:
    """The track as it is converted: in full depth, at its own rate if the encoder has it.

    Raises:
        Exception: If it cannot be decoded. PyAV's errors have no base class of their own.
    """
    import av

    frame = next(decoded(source, index, (start, None), layout=ENCODED.get(suffix, LAYOUTS)), None)
    if frame is None:
        raise ValueError("nothing in it can be decoded")
    deep = frame.format.name.rstrip("p") not in ("u8", "s16")
    encoder = COMPRESSED.get(suffix, "pcm_s24le" if deep else "pcm_s16le")
    rates = av.Codec(encoder, "w").audio_rates
    rate = frame.sample_rate if not rates or frame.sample_rate in rates else USUAL_RATE
    return Track(index, encoder, min(rate, USUAL_RATE) if suffix in COMPRESSED else rate, frame.layout.name)


def refusal(source: Path, path: Path, start: Fraction, track: Track) -> str:
    """Why the container of ``path`` does not take ``track``; empty if it does."""
    scratch = BytesIO()
    scratch.name = path.name  # type: ignore[attr-defined]  # PyAV chooses the container by it
    try:
        with ExitStack() as stack:
            container = stack.enter_context(open_container(scratch, "w"))
            for flow in add_sound(stack, container, source, [track], (start, start + TRIED)):
                for _, packet in flow:
                    container.mux(packet)
            container.start_encoding()
    except Exception as error:  # noqa: BLE001  as in `plan_track`
        return cause(error)
    return ""


def add_sound(stack: ExitStack, container: Any, source: Path, tracks: Sequence[Track], span: Span) -> list[Packets]:
    """Add an output stream to ``container`` for each of ``tracks`` that is kept. Return flows of their packets.

    Each flow gives packets and their times in seconds, moved so that the begin of ``span`` is 0.

    Args:
        stack: Closes the source.
        container: The video, before its header is written.
        source: The file with the tracks.
        tracks: What happens to each track.
        span: The audio wanted.
    """
    kept = [track for track in tracks if not track.reason]
    if not kept:
        return []
    sound = stack.enter_context(open_container(source))
    copies, flows = {}, []
    for track in kept:
        stream = sound.streams[track.index]
        if track.encoder:
            output = container.add_stream(track.encoder, rate=track.rate, layout=track.layout)
            flows.append(converted_packets(source, track, output, span))
        else:
            output = copies[track.index] = container.add_stream_from_template(stream)
        output.metadata.update({name: stream.metadata[name] for name in KEPT_TAGS if name in stream.metadata})
    early = 2 if container.format.name in [suffix[1:] for suffix in EDITED] else 0
    return [*flows, copied_packets(sound, copies, span, early)] if copies else flows


def copied_packets(sound: Any, outputs: dict[int, Any], span: Span, early: int) -> Packets:
    """The packets of the source's streams in ``outputs``, by index, within ``span``.

    Args:
        sound: The opened source.
        outputs: The output stream for each stream.
        span: The audio wanted.
        early: A packet is kept if it begins less than this many times its length before the span. With 2, the decoder
            gets the packet that the first one builds on.
    """
    begin, end = span
    latest: dict[int, int] = {}
    clock = Clock(Path(sound.name))
    for packet in sound.demux():
        time = packet.dts if packet.pts is None else packet.pts
        if time is None:
            continue
        dts, index = time if packet.dts is None else packet.dts, packet.stream.index
        shift = round(clock.shift(index, dts * packet.time_base) / packet.time_base)
        time, dts = time + shift, dts + shift
        seconds = time * packet.time_base
        if end is not None and seconds >= end + APART:
            return
        output = outputs.get(index)
        if output is None or (end is not None and seconds >= end):
            continue
        length = (packet.duration or 0) * packet.time_base
        if (seconds < begin and seconds + early * length <= begin) or dts <= latest.get(index, dts - 1):
            continue
        latest[index], moved = dts, round(begin / packet.time_base)
        packet.stream, packet.pts, packet.dts = output, time - moved, dts - moved
        yield packet.dts * packet.time_base, packet


def converted_packets(source: Path, track: Track, output: Any, span: Span) -> Packets:
    """The packets of ``track``, encoded for the stream ``output``, within ``span``."""
    count = 0
    for frame in decoded(source, track.index, span, track.rate, track.layout):
        frame.pts, frame.time_base = count, Fraction(1, track.rate)
        count += frame.samples
        for encoded in output.encode(frame):
            yield encoded.dts * encoded.time_base, encoded
    for encoded in output.encode(None):
        yield encoded.dts * encoded.time_base, encoded


def decoded(source: Path, index: int, span: Span, rate: int = 0, layout: str = LAYOUTS) -> Iterator[Any]:
    """The audio of stream ``index`` within ``span``, without gaps: silence stands where there is none.

    Args:
        source: The file.
        index: Index of the stream.
        span: The audio wanted.
        rate: Samples per second; 0 for the source's.
        layout: The channel layouts from which one is taken.
    """
    with open_container(source) as container:
        if index not in usual_layouts(container):
            movie = {"filename": str(source.absolute()), "stream_index": str(index)}
            yield from pulled(graph_from("amovie", movie, span, 0, rate, layout))
            return
        count = 0
        for form, frames in groupby(
            steady(frames_of(container, index), span[0]), key=form_of
        ):  # broadcasts change theirs
            graph = graph_from("abuffer", dict(form), span, count, rate, layout)
            for frame in chain(frames, [None]):
                try:
                    graph.push(frame)
                except EOFError:  # the span has ended
                    return
                for made in pulled(graph):
                    count += made.samples
                    yield made


def frames_of(container: Any, index: int) -> Iterator[Any]:
    """The decoded frames of stream ``index``, without those of damaged packets."""
    from av.error import FFmpegError

    clock = Clock(Path(container.name))
    for packet in container.demux(container.streams[index]):
        with suppress(FFmpegError):
            for frame in packet.decode():
                if frame.pts is not None:
                    frame.pts += round(clock.shift(index, frame.pts * frame.time_base) / frame.time_base)
                yield frame


def steady(frames: Iterator[Any], begin: Fraction) -> Iterator[Any]:
    """``frames`` that begin at ``begin`` seconds or later, without gaps of more than `SILENCE`, which only damage makes.

    Such a gap would be filled with silence, until the disk is full. What comes after it is moved instead.
    """
    expected, moved = begin, Fraction(0)
    for frame in frames:
        if frame.pts is not None:
            time = frame.pts * frame.time_base + moved
            if time - expected > SILENCE:
                time, moved = expected, moved + expected - time
            if moved:
                frame.time_base = Fraction(1, frame.sample_rate)
                frame.pts = round(time * frame.sample_rate)
            expected = max(time, begin)
        expected += Fraction(frame.samples, frame.sample_rate)
        yield frame


def form_of(frame: Any) -> tuple[tuple[str, str], ...]:
    """What FFmpeg's ``abuffer`` must know of ``frame``. Channels that nothing is known of are in the usual order."""
    layout = frame.layout.name
    return (
        ("sample_rate", str(frame.sample_rate)),
        ("sample_fmt", frame.format.name),
        ("channel_layout", usual_layout(len(frame.layout.channels)) if layout.endswith(" channels") else layout),
        ("time_base", str(frame.time_base)),
    )


def graph_from(name: str, options: dict[str, str], span: Span, count: int, rate: int, layout: str) -> Any:
    """A filter graph from the filter ``name`` to audio within ``span``. ``count`` samples of it were given before."""
    from av.filter import Graph

    begin, end = span
    graph = Graph()
    steps = [
        graph.add(name, **options),
        graph.add("atrim", start=f"{float(begin):.6f}", **({} if end is None else {"end": f"{float(end):.6f}"})),
        graph.add("asetpts", expr=f"PTS-({begin})/TB"),
        graph.add("aresample", **{"async": "1", "min_hard_comp": "0.03", "first_pts": str(count)}),
        graph.add("aformat", channel_layouts=layout, **({"sample_rates": str(rate)} if rate else {})),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*steps).configure()
    return graph


def pulled(graph: Any) -> Iterator[Any]:
    """The frames that come out of ``graph`` now."""
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        yield frame


def usual_layouts(container: Any) -> set[int]:
    """Indices of the audio streams whose channel layout PyAV can read. Only FFmpeg's own description tells it safely."""
    from av import logging as words

    level = words.get_level()
    words.set_level(words.INFO)
    try:
        described = container.dumps_format()
    finally:
        words.set_level(level)
    audio = re.findall(r"Stream #0:(\d+).*?: Audio: (.*)", described)
    return {int(index) for index, facts in audio if "channels (" not in facts and "ambisonic" not in facts}
