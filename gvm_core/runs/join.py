"""Joins parts into one video by copying packets, and adds the source's sound. Only unsupported sound is decoded."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from itertools import chain, pairwise
from math import ceil
from pathlib import Path
from typing import Any

from ..errors import MediaError, cause
from ..media.container import open_container
from ..media.timecode import UNLABELLED, Labels, first_value
from ..media.video_writer import label, metadata_options
from .parts import Part
from .sound import EDITED, Packets, Track, add_sound, plan_sound

log = logging.getLogger(__name__)

LONGEST, FINEST = 2**31 - 1, 90000
"""Ticks for which a frame in .mov and .mp4 can be shown, and how many a second may have if nobody says it."""
TICKS = {".mkv": Fraction(1, 1000), ".webm": Fraction(1, 1000)}
"""Containers with a clock of their own, and its tick in seconds. Frames nearer than that would have the same time."""
FASTEST = 30000
"""The largest numerator of a rate that FFmpeg reads from these containers. It would read 60000/1001 as 19001/317."""


def join_videos(
    parts: Sequence[Part], name: str, path: Path, source: Path | None, labels: Labels = UNLABELLED, *, whole: bool
) -> None:
    """Write the files called ``name`` in ``parts`` as one video. Its first frame is at time 0, and so is its sound.

    If the sound cannot be written, the video has none, and the log says why.

    Args:
        parts: In order, without gaps, at least one.
        name: Name of the file in each part's folder.
        path: The video to write; its suffix chooses the container.
        source: The file whose audio tracks are added, as `plan_sound` decides; None for no audio.
        labels: What the video says about its frames.
        whole: Keep all audio after the first frame. Otherwise it is cut to the time of the frames.

    Raises:
        MediaError: If a part is damaged, or the video cannot be written.
    """
    try:
        write_video(parts, name, path, source, plan_sound(source, path) if source else (), labels, whole=whole)
    except Exception as error:  # whatever is wrong with sound must not cost the matte
        if source is None:
            raise
        write_video(parts, name, path, labels=labels)
        log.warning("%s has no sound, because the sound of %s cannot be written: %s", path.name, source, cause(error))


def write_video(
    parts: Sequence[Part],
    name: str,
    path: Path,
    source: Path | None = None,
    tracks: Sequence[Track] = (),
    labels: Labels = UNLABELLED,
    *,
    whole: bool = True,
    silent: bool = False,
) -> None:
    """`join_videos` with these ``tracks`` of ``source``. If ``silent``, they stay empty: only their headers are written."""
    from av.error import FFmpegError

    begin, (time_base, least, options) = first_moment(parts[0]), clock(parts, path.suffix.lower())
    try:
        with ExitStack() as stack:
            container = stack.enter_context(open_container(path, "w", options | metadata_options(path, labels)))
            with open_container(parts[0].folder / name) as opening:
                template: Any = opening.streams.video[0]
                # not opaque, older PyAV would open an encoder and write its parameters
                stream: Any = container.add_stream_from_template(template, opaque=True)
                if Path(name).suffix == path.suffix.lower():  # else editors take ProRes 4444 for 422
                    stream.codec_context.codec_tag = template.codec_context.codec_tag
                alpha = first_value([template.metadata], "alpha_mode") == "1"
                rate = template.average_rate or template.guessed_rate  # .nut has no mean of less than three frames
                step = Fraction(1 / rate) if rate else time_base
            with suppress(RuntimeError):  # older PyAV counts in 1/90000 s
                stream.time_base = time_base
            label(container, stream, labels, alpha=alpha)
            if path.suffix.lower() in TICKS and step.denominator <= FASTEST and steady(parts, step):
                stream.codec_context.framerate = 1 / step  # else the rate is guessed by times that are rounded
            flows = [video_packets(parts, name, stream, time_base, least, step)]
            if source is not None:
                span = (begin, None if whole else last_moment(parts[-1], step))
                sound = add_sound(stack, container, source, tracks, span)
                flows += [] if silent else [lasting(flow, source) for flow in sound]
            for _, packet in heapq.merge(*flows, key=lambda timed: timed[0]):
                container.mux(packet)
    except (FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be written: {cause(error)}") from error


def first_moment(part: Part) -> Fraction:
    """The time at which the first frame of ``part`` is shown, in seconds."""
    times, time_base = part.times
    return times[0] * time_base


def last_moment(part: Part, step: Fraction) -> Fraction:
    """The time at which the last frame of ``part`` ends, in seconds, if it is shown for ``step`` seconds."""
    times, time_base = part.times
    return times[-1] * time_base + max(step, time_base)


def steady(parts: Sequence[Part], step: Fraction) -> bool:
    """Whether each frame comes ``step`` seconds after the one before it, but for less than a thousandth of a second."""
    begin, count = first_moment(parts[0]), 0
    for part in parts:
        times, unit = part.times
        for time in times:
            if abs(time * unit - begin - count * step) >= Fraction(1, 1000):
                return False
            count += 1
    return True


def clock(parts: Sequence[Part], suffix: str) -> tuple[Fraction, int, dict[str, str]]:
    """How a container counts time: the unit in seconds, how many units frames must be apart at least, and options for it.

    The unit is that of the parts' times, unless a frame is shown for so long that the container cannot count it.
    """
    unit = parts[0].times[1]
    if suffix not in EDITED:
        plain = {"fflags": "+bitexact"} if suffix in TICKS else {}  # else Matroska numbers every file at random
        return unit, max(ceil(TICKS.get(suffix, unit) / unit), 1), plain
    every = chain.from_iterable(part.times[0] for part in parts)
    longest = max((b - a for a, b in pairwise(every)), default=1) * unit
    if longest * max(unit.denominator, FINEST) <= LONGEST:
        return unit, 1, {"movie_timescale": str(unit.denominator)}
    unit = unit if longest * unit.denominator <= LONGEST else Fraction(1, int(LONGEST / longest))
    scale = str(unit.denominator)
    return unit, 1, {"movie_timescale": scale, "video_track_timescale": scale}


def video_packets(parts: Sequence[Part], name: str, stream: Any, unit: Fraction, least: int, step: Fraction) -> Packets:
    """The packets of all parts: one per frame, in order, because none of our encoders reorders frames.

    Args:
        parts: The parts. The first frame gets the time 0.
        name: Name of the file in each part's folder.
        stream: The stream to write to.
        unit: The unit of its times, in seconds; see `clock`.
        least: How many units frames must be apart at least.
        step: How long the last frame is shown, in seconds.
    """
    held, begin = None, first_moment(parts[0])
    for part in parts:
        times, time_base = part.times
        with open_container(part.folder / name) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        if len(packets) != len(times):
            raise MediaError(
                f"{part.folder} is damaged: it has {len(packets)} of {len(times)} frames; delete it and start again"
            )
        for packet, time in zip(packets, times, strict=True):
            packet.stream, packet.time_base = stream, unit
            packet.pts = packet.dts = round((time * time_base - begin) / unit)
            if held is not None:
                packet.pts = packet.dts = max(packet.pts, held.pts + least)
                held.duration = min(packet.pts - held.pts, LONGEST)  # older PyAV takes no more
                yield held.pts * unit, held
            held = packet
    if held is not None:
        held.duration = min(max(round(step / unit), least), LONGEST)
        yield held.pts * unit, held


def lasting(sound: Packets, source: Path) -> Packets:
    """The packets of ``sound``, as far as they can be read."""
    from av.error import FFmpegError

    at = Fraction(0)
    try:
        for at, packet in sound:
            yield at, packet
    except FFmpegError as error:
        log.warning("%s is damaged: its sound ends after %.1f seconds: %s", source, float(at), cause(error))
