"""Small good files of many kinds, ways to damage them, and a process that mattes the damaged ones with the real command.

A file is known by its `Case`: the same case always gives the same bytes. As a program this module runs cases, one after
the other, and writes what came of each as a line of JSON. A case that kills it is known by the line that is missing.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 48, 32
FRAMES = 12
PATIENCE = 60
"""Seconds of the clock after which a case counts as hanging. It takes about one."""


def pictures(count=FRAMES, width=SIZE[0], height=SIZE[1], seed=0):
    """Pictures ``[T, H, W, 3]`` of 8 bits that drift sideways."""
    coarse = np.random.RandomState(seed).rand(4, width + 2 * count, 3) * 255
    rows = np.arange(height) * 4 // max(height, 4) % 4
    return np.stack([coarse[rows][:, 2 * index : 2 * index + width] for index in range(count)]).astype(np.uint8)


def frames_of(levels, pixels, rate):
    import av

    for index, each in enumerate(levels):
        frame = av.VideoFrame.from_ndarray(each, format="rgb24").reformat(format=pixels)
        frame.pts, frame.time_base = index, Fraction(1, rate)
        yield frame


def tone(stream, seconds):
    """The packets of ``seconds`` of a tone."""
    import av

    for start in range(0, int(48000 * seconds), 1024):
        wave = (np.sin(np.arange(start, start + 1024) * 0.05) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2)[None], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def film(
    path,
    codec="libx264",
    pixels="yuv420p",
    sound=None,
    rate=25,
    levels=None,
    container=None,
    sound_first=False,
    copies=1,
    interlaced=False,
    form=None,
    **options,
):
    """A film with ``copies`` picture tracks, perhaps with a tone."""
    import av

    levels = pictures() if levels is None else levels
    with av.open(str(path), "w", options=container or {}, format=form) as out:
        audio = out.add_stream(sound, rate=48000, layout="stereo") if sound and sound_first else None
        streams = []
        for number in range(copies):
            stream = out.add_stream(codec, rate=rate, options=dict(options))
            stream.width, stream.height, stream.pix_fmt = levels.shape[2] >> number, levels.shape[1] >> number, pixels
            streams.append(stream)
        if sound and not sound_first:
            audio = out.add_stream(sound, rate=48000, layout="stereo")
        packets = []
        for number, stream in enumerate(streams):
            for frame in frames_of(levels[:, :: 1 << number, :: 1 << number].copy(), pixels, rate):
                packets += stream.encode(frame)
            packets += stream.encode(None)
        packets += tone(audio, len(levels) / rate + 0.2) if audio else []
        out.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    return path


def raw_pictures(codec, pixels, levels, **options):
    """Each picture as the bytes of its own packet."""
    import av

    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = levels.shape[1:3]
    encoder.pix_fmt, encoder.time_base, encoder.options = pixels, Fraction(1, 25), dict(options)
    encoder.framerate = Fraction(25)
    packets = [packet for frame in frames_of(levels, pixels, 25) for packet in encoder.encode(frame)]
    return [bytes(packet) for packet in [*packets, *encoder.encode(None)]]


def packed(path, chunks, codec, width=SIZE[0], height=SIZE[1], pixels="yuv420p", times=None, time_base=Fraction(1, 25)):
    """A container around packets that were made before, whatever they are."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.time_base = time_base
        for index, chunk in enumerate(chunks):
            packet = av.Packet(chunk)
            packet.stream, packet.time_base = stream, time_base
            packet.pts = packet.dts = times[index] if times else index
            packet.is_keyframe = True
            out.mux(packet)
    return path


def changing_jpegs(path, others):
    """A film of JPEGs, the second half from ``others``."""
    both = [*raw_pictures("mjpeg", "yuvj420p", pictures(6)), *raw_pictures("mjpeg", *others)]
    return packed(path, both, "mjpeg", pixels="yuvj420p")


def changing_stream(path, second, codec="libx264"):
    """Two films one after the other in a transport stream, the second of another size or pixel format."""
    one, two = path.with_name(f"one-{path.name}"), path.with_name(f"two-{path.name}")
    film(one, codec, g="6")
    film(two, codec, **second)
    path.write_bytes(one.read_bytes() + two.read_bytes())
    one.unlink()
    two.unlink()
    return path


def single(path, pixels="rgb24", codec=None, levels=None, **options):
    """One picture, the codec by its suffix."""
    codecs = {".png": "png", ".jpg": "mjpeg", ".tif": "tiff", ".webp": "libwebp", ".bmp": "bmp", ".tga": "targa"}
    codecs |= {".dpx": "dpx", ".jp2": "jpeg2000", ".ppm": "ppm", ".exr": "exr", ".hdr": "hdr"}
    levels = pictures(1) if levels is None else levels
    if pixels == "gbrpf32le":
        import av

        encoder = av.CodecContext.create(codecs[path.suffix], "w")
        encoder.height, encoder.width = levels.shape[1:3]
        encoder.pix_fmt, encoder.time_base, encoder.options = pixels, Fraction(1), options
        frame = av.VideoFrame.from_ndarray((levels[0] / 255).astype(np.float32), format=pixels)
        chunks = [bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]]
    else:
        chunks = raw_pictures(codec or codecs[path.suffix], pixels, levels, **options)
    path.write_bytes(b"".join(chunks))
    return path


def folder(path, suffix, pixels, count=5, sizes=None):
    """A folder of numbered pictures."""
    path.mkdir()
    for index in range(count):
        levels = pictures(1, *(sizes[index % len(sizes)] if sizes else SIZE), seed=index)
        single(path / f"f.{index:03d}{suffix}", pixels, levels=levels)
    return path


def stacked(path, kind):
    """A film with another track: subtitles, an attachment, or data (a timecode track)."""
    import av

    plain, text = film(path.with_name(f"plain-{path.name}"), bf="0", g="6"), path.with_suffix(".srt")
    text.write_text("1\n00:00:00,000 --> 00:00:00,400\nhello\n")
    with av.open(str(plain)) as source, av.open(str(text)) as said, av.open(str(path), "w") as out:
        words = out.add_stream_from_template(said.streams.subtitles[0]) if kind == "subtitles" else None
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        if kind == "attachment" and hasattr(out, "add_attachment"):
            out.add_attachment("font.ttf", "application/x-truetype-font", bytes(range(256)))
        if kind == "data":
            stream.metadata["timecode"] = "01:00:00:00"
        for packet in [*said.demux(), *source.demux(video=0)]:
            if packet.size and (words or packet.stream.type == "video"):
                packet.stream = stream if packet.stream.type == "video" else words
                out.mux(packet)
    plain.unlink()
    text.unlink()
    return path


def at_times(path, times, **options):
    """A film of JPEGs at ``times`` in 1/1000 s."""
    chunks = raw_pictures("mjpeg", "yuvj420p", pictures(len(times)))
    return packed(path, chunks, "mjpeg", pixels="yuvj420p", times=times, time_base=Fraction(1, 1000))


def sound_alone(path):
    import av

    with av.open(str(path), "w") as out:
        audio = out.add_stream("aac", rate=48000, layout="stereo")
        out.mux(list(tone(audio, 0.5)))
    return path


def animated(path):
    """An animated WebP."""
    return film(path, "libwebp_anim", "yuv420p", levels=pictures(5))


def written(content):
    def write(path):
        path.write_bytes(content)
        return path

    return write


HOUR = 3600_000
MAKERS: dict[str, Callable[[Path], Path]] = {
    "h264-aac.mp4": lambda p: film(p, sound="aac", bf="2", g="6"),
    "h264.mov": lambda p: film(p, bf="2", g="6"),
    "late.mov": lambda p: film(p, sound="aac", sound_first=True, bf="3", g="12", container={"movie_timescale": "600"}),
    "fragments.mp4": lambda p: film(p, g="4", container={"movflags": "frag_keyframe+empty_moov"}),
    "faststart.mp4": lambda p: film(p, g="4", sound="aac", container={"movflags": "faststart"}),
    "hevc.mp4": lambda p: film(
        p, "libx265", levels=pictures(12, 128, 64), **{"x265-params": "keyint=6:bframes=2:log-level=none:pools=none"}
    ),
    "prores.mov": lambda p: film(p, "prores_ks", "yuv422p10le", sound="pcm_s16le"),
    "png.mov": lambda p: film(p, "png", "rgb24"),
    "ffv1.mkv": lambda p: film(p, "ffv1", "yuv420p", level="3", g="4"),
    "vp9-opus.mkv": lambda p: film(p, "libvpx-vp9", sound="libopus", g="6", **{"cpu-used": "8"}),
    "h264.mkv": lambda p: film(p, bf="2", g="6"),
    "vp8.webm": lambda p: film(p, "libvpx", sound="libopus", g="6"),
    "mpeg4.avi": lambda p: film(p, "mpeg4", g="6", bf="2", sound="mp2"),
    "mjpeg.avi": lambda p: film(p, "mjpeg", "yuvj420p", sound="pcm_s16le"),
    "ffv1.avi": lambda p: film(p, "ffv1", "gbrp16le", level="3"),
    "h264-aac.ts": lambda p: film(p, sound="aac", bf="2", g="6"),
    "mpeg2.ts": lambda p: film(p, "mpeg2video", g="6", bf="2", sound="mp2"),
    "mpeg2.mpg": lambda p: film(p, "mpeg2video", g="6", bf="2"),
    "mpeg2-ac3.vob": lambda p: film(p, "mpeg2video", g="6", sound="ac3"),
    "mpeg2.mxf": lambda p: film(p, "mpeg2video", "yuv422p", g="6"),
    "interlaced.mpg": lambda p: film(p, "mpeg2video", g="6", flags="+ilme+ildct", alternate_scan="1"),
    "mpeg4.nut": lambda p: film(p, "mpeg4", g="6", bf="1", sound="mp2"),
    "flv.flv": lambda p: film(p, "flv", g="6"),
    "h264.flv": lambda p: film(p, bf="2", g="6", sound="aac"),
    "msmpeg4.wmv": lambda p: film(p, "msmpeg4", g="6"),
    "raw.y4m": lambda p: film(p, "wrapped_avframe", "yuv420p", form="yuv4mpegpipe"),
    "stream.h264": lambda p: film(p, bf="2", g="6", form="h264"),
    "anim.gif": lambda p: film(p, "gif", "rgb8", rate=10),
    "anim.webp": animated,
    "sound-first.mp4": lambda p: film(p, sound="aac", sound_first=True, g="6"),
    "two-pictures.mkv": lambda p: film(p, "ffv1", copies=2, sound="flac"),
    "two-pictures.mp4": lambda p: film(p, "mpeg4", copies=2),
    "attachment.mkv": lambda p: stacked(p, "attachment"),
    "subtitles.mkv": lambda p: stacked(p, "subtitles"),
    "data.mov": lambda p: stacked(p, "data"),
    "one-frame.mp4": lambda p: film(p, levels=pictures(1), sound="aac"),
    "one-pixel.mov": lambda p: film(p, "png", "rgb24", levels=pictures(3, 1, 1)),
    "one-pixel.avi": lambda p: film(p, "rawvideo", "bgr24", levels=pictures(3, 1, 1)),
    "odd.mkv": lambda p: film(p, "ffv1", "yuv444p", levels=pictures(4, 17, 9)),
    "size-changes.avi": lambda p: changing_jpegs(p, ("yuvj420p", pictures(6, 64, 16))),
    "size-changes.mov": lambda p: changing_jpegs(p, ("yuvj420p", pictures(6, 24, 16))),
    "format-changes.avi": lambda p: changing_jpegs(p, ("yuvj444p", pictures(6))),
    "size-changes.ts": lambda p: changing_stream(p, {"levels": pictures(12, 64, 48), "g": "6"}),
    "format-changes.ts": lambda p: changing_stream(p, {"pixels": "yuv444p", "g": "6"}),
    "size-changes.mpg": lambda p: changing_stream(p, {"levels": pictures(12, 64, 48)}, "mpeg2video"),
    "interlace-changes.mpg": lambda p: changing_stream(
        p, {"levels": pictures(12, 64, 48), "flags": "+ilme+ildct", "alternate_scan": "1"}, "mpeg2video"
    ),
    "hours-apart.mkv": lambda p: at_times(p, [0, 40, 80, HOUR, HOUR + 40, 20 * HOUR]),
    "hours-apart.mov": lambda p: at_times(p, [0, 40, 80, HOUR, HOUR + 40, 20 * HOUR]),
    "hours-apart.nut": lambda p: at_times(p, [0, 40, 80, HOUR, HOUR + 40, 200 * HOUR]),
    "negative.mkv": lambda p: at_times(p, [-80, -40, 0, 40, 80]),
    "negative.mov": lambda p: at_times(p, [-80000, -40, 0, 40, 80]),
    "late.mkv": lambda p: at_times(p, [HOUR, HOUR + 40, HOUR + 80]),
    "deep.png": lambda p: single(p, "rgb48be"),
    "grey.png": lambda p: single(p, "gray"),
    "photo.jpg": lambda p: single(p, "yuvj420p"),
    "picture.tif": lambda p: single(p, "rgb24"),
    "picture.webp": lambda p: single(p, "yuv420p"),
    "picture.bmp": lambda p: single(p, "bgr24"),
    "picture.tga": lambda p: single(p, "bgr24"),
    "picture.dpx": lambda p: single(p, "gbrp10be"),
    "picture.jp2": lambda p: single(p, "rgb24"),
    "picture.ppm": lambda p: single(p, "rgb24"),
    "picture.hdr": lambda p: single(p, "gbrpf32le"),
    "picture.exr": lambda p: single(p, "gbrpf32le"),
    "pngs": lambda p: folder(p, ".png", "rgb24"),
    "jpgs": lambda p: folder(p, ".jpg", "yuvj420p"),
    "tifs": lambda p: folder(p, ".tif", "rgb48le"),
    "exrs": lambda p: folder(p, ".exr", "gbrpf32le"),
    "sizes": lambda p: folder(p, ".png", "rgb24", sizes=[SIZE, (40, 24)]),
    "song.mp4": sound_alone,
    "empty.mp4": written(b""),
    "empty.png": written(b""),
    "empty.exr": written(b""),
    "text.mp4": written(b"These words are no film.\n" * 200),
    "text.mov": written(b"x"),
    "list.mp4": written(b"#EXTM3U\n#EXTINF:1\nother.mp4\n"),
    "list.ffconcat": written(b"ffconcat version 1.0\nfile other.mp4\n"),
}
"""Makers of good files, by the name of what they make."""

# ---- damage --------------------------------------------------------------------------------------------------------

Damage = Callable[[bytearray, random.Random], "bytearray | None"]


def cut(share: float) -> Damage:
    return lambda content, _: content[: int(len(content) * share)]


def flip(count: int, begin: float = 0.0, end: float = 1.0) -> Damage:
    """Turn bits round between two places, given as shares of the file."""

    def damage(content, chance):
        low, high = int(len(content) * begin), max(int(len(content) * end), 1)
        for _ in range(count if content else 0):
            content[chance.randrange(low, high)] ^= 1 << chance.randrange(8)

    return damage


def over(share: float, length: float, zeros: bool) -> Damage:
    """Zeros or noise over a part of the file."""

    def damage(content, chance):
        at, size = int(len(content) * share), int(len(content) * length)
        size = min(size, len(content) - at)
        content[at : at + size] = bytes(size) if zeros else chance.randbytes(size)

    return damage


def missing(share: float, length: float) -> Damage:
    """A part of the file left out."""

    def damage(content, _):
        at = int(len(content) * share)
        del content[at : at + int(len(content) * length)]

    return damage


def more(share: float, length: int) -> Damage:
    """Noise put in."""

    def damage(content, chance):
        at = int(len(content) * share)
        content[at:at] = chance.randbytes(length)

    return damage


def words(*tags: bytes, count: int = 2, within: int = 64, size: int = 4, value: int | None = None) -> Damage:
    """Other numbers soon after one of ``tags``, as in a wrong index. ``value`` None takes odd ones."""
    odd = (0, 1, 2, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFF, 0x10000, 25, 1000)

    def damage(content, chance):
        places = [at for tag in tags for at in found(content, tag)]
        for _ in range(count if places else 0):
            at = chance.choice(places) + size * chance.randrange(max(within // size, 1))
            new = chance.choice(odd) if value is None else value
            kept = content[at : at + size]
            content[at : at + len(kept)] = (new % (1 << 8 * size)).to_bytes(size, "big")[: len(kept)]

    return damage


def found(content: bytearray, tag: bytes) -> list[int]:
    """Where ``tag`` ends in ``content``."""
    places, at = [], content.find(tag)
    while at >= 0 and len(places) < 64:
        places.append(at + len(tag))
        at = content.find(tag, at + 1)
    return places


def put(tag: bytes, offset: int, new: bytes, nth: int = 0) -> Damage:
    """``new`` at ``offset`` after the ``nth`` place of ``tag``."""

    def damage(content, _):
        if places := found(content, tag):
            at = places[min(nth, len(places) - 1)] + offset
            content[at : at + len(new)] = new

    return damage


def twice(content, _):
    """The file two times, one after the other."""
    return content + content


def nothing(content, _):
    """No damage."""


def back_in_time(content, chance):
    """Clusters and blocks of Matroska, or transport packets, in another order."""
    if content[:1] == b"G" and len(content) % 188 == 0:
        size = 188
        blocks = [content[at : at + size] for at in range(0, len(content), size)]
        third = len(blocks) // 3
        return bytearray(b"".join([*blocks[: third // 2], *blocks[2 * third :], *blocks[third // 2 : 2 * third]]))
    for at in found(content, b"\xe7")[1:]:
        content[at + 1 : at + 2] = bytes([chance.randrange(256)])
    return content


WORDS = {
    "mp4": [
        b"stco",
        b"stsz",
        b"stts",
        b"ctts",
        b"stsc",
        b"stss",
        b"elst",
        b"mdhd",
        b"mvhd",
        b"tkhd",
        b"stsd",
        b"avcC",
        b"trun",
        b"tfhd",
        b"tfdt",
        b"mdat",
        b"moov",
        b"trak",
        b"hdlr",
        b"esds",
    ],
    "mkv": [
        b"\x1fC\xb6u",
        b"\xe7",
        b"\xa3",
        b"\x1cS\xbbk",
        b"*\xd7\xb1",
        b"D\x89",
        b"\xb0",
        b"\xba",
        b"#\xe3\x83",
        b"\xf1",
        b"\xb3",
        b"c\xa2",
        b"\x16T\xaek",
        b"\x15I\xa9f",
    ],
    "avi": [b"idx1", b"avih", b"strh", b"strf", b"00dc", b"01wb", b"movi", b"indx"],
    "picture": [
        b"IHDR",
        b"IDAT",
        b"pHYs",
        b"\xff\xc0",
        b"\xff\xc4",
        b"\xff\xdb",
        b"\xff\xda",
        b"VP8 ",
        b"VP8X",
        b"ANMF",
        b"ANIM",
        b"RIFF",
        b"dataWindow\x00box2i\x00",
        b"displayWindow\x00box2i\x00",
        b"channels\x00chlist\x00",
        b"compression\x00",
        b"ihdr",
        b"II*\x00",
        b"jp2c",
        b"\xffQ",
        b"BM",
        b"SDPX",
        b"P6\n",
        b"+X ",
        b",",
        b"GIF89a",
        b"!\xf9",
    ],
}
EVERY = {
    "cut-10": cut(0.1), "cut-40": cut(0.4), "cut-70": cut(0.7), "cut-95": cut(0.95), "cut-99": cut(0.995),
    "flips-3": flip(3), "flips-20": flip(20), "flips-200": flip(200), "flips-head": flip(4, 0, 0.05),
    "flips-end": flip(6, 0.8, 1), "flips-index": flip(3, 0.9, 1), "zeros": over(0.4, 0.2, True), "noise": over(0.5, 0.1, False),
    "zeros-head": over(0.01, 0.02, True), "hole": missing(0.3, 0.1), "more": more(0.5, 777), "more-before": more(0, 33),
    "more-after": more(1, 500), "twice": twice, "all-zeros": over(0, 1, True), "whole": nothing, "back": back_in_time,
    "words-mp4": words(*WORDS["mp4"]), "words-mp4-9": words(*WORDS["mp4"], count=9),
    "index-mp4": words(b"stco", b"stsz", b"stts", b"ctts", b"stsc", b"stss", count=3),
    "words-mkv": words(*WORDS["mkv"], within=8, size=1), "words-mkv-9": words(*WORDS["mkv"], count=9, within=8, size=2),
    "words-avi": words(*WORDS["avi"]), "words-avi-9": words(*WORDS["avi"], count=9),
    "words-picture": words(*WORDS["picture"], within=16), "words-picture-2": words(*WORDS["picture"], within=16, size=2),
    "huge": words(b"IHDR", b"dataWindow\0box2i\0\x10\0\0\0", b"displayWindow\0box2i\0\x10\0\0\0", count=2, within=8,
                  value=0x00FFFF00),
    "huge-mp4": words(b"tkhd", b"avc1", b"apcn", b"apch", b"mp4v", b"png ", count=8, within=96, size=2, value=0x7FFF),
    "huge-mkv": words(b"\xb0\x81", b"\xba\x81", b"\xb0\x82", b"\xba\x82", count=2, within=1, size=1, value=0xFF),
    "huge-avi": words(b"avih", b"strf", count=3, within=44, value=0xFF7F0000),
}  # fmt: skip
"""Ways to damage any file; those that do not fit a kind of file change nothing, or its neighbours."""

OUTPUTS = (".mov", "", ".mkv", ".mp4")
OPTIONS = ((), ("--strict",), ("--frames", "1-3"), (), ("--frames", "2-"), ("--frames", "4-4", "--strict"))
EDITS = {
    "mp4": ("words-mp4", "words-mp4-9", "index-mp4", "huge-mp4"),
    "mov": ("words-mp4", "words-mp4-9", "index-mp4", "huge-mp4"),
}
EDITS |= {"mkv": ("words-mkv", "words-mkv-9", "huge-mkv", "back"), "webm": ("words-mkv", "words-mkv-9", "huge-mkv")}
EDITS |= {"avi": ("words-avi", "words-avi-9", "huge-avi"), "ts": ("back",)}
PICTURE_EDITS = ("words-picture", "words-picture-2", "huge")


@dataclass(frozen=True)
class Case:
    """A damaged file and how it is matted.

    Attributes:
        maker: What is damaged, from `MAKERS`.
        damages: What is done to it, from `EVERY`, one after the other.
        seed: Decides where.
        turn: Decides the output and the options.
        suffix: Another suffix for the file.
    """

    maker: str
    damages: tuple[str, ...]
    seed: int = 0
    turn: int = 0
    suffix: str = ""

    @property
    def name(self) -> str:
        """A name that tells all of it but the turn."""
        return "-".join(
            [self.maker, *self.damages, *([str(self.seed)] if self.seed else []), *filter(None, [self.suffix])]
        )

    @property
    def output(self) -> str:
        """Suffix of the matte; empty for a folder."""
        return OUTPUTS[self.turn % len(OUTPUTS)]

    @property
    def options(self) -> tuple[str, ...]:
        """Options of the command."""
        return OPTIONS[self.turn // len(OUTPUTS) % len(OPTIONS)]

    def make(self, place: Path, good: Path) -> Path:
        """Write the damaged file into ``place``. ``good`` keeps the good ones."""
        source = good / self.maker
        if not source.exists():
            MAKERS[self.maker](source)
        chance = random.Random(f"{self.maker} {self.damages} {self.seed}")
        path = place / f"source-{source.stem}{self.suffix or source.suffix}"
        if source.is_dir():
            path.mkdir()
            files = sorted(source.iterdir())
            hurt = chance.sample(files, 2)
            for file in files:
                content = file.read_bytes()
                (path / file.name).write_bytes(self.damaged(content, chance) if file in hurt else content)
        else:
            path.write_bytes(self.damaged(source.read_bytes(), chance))
        return path

    def damaged(self, content: bytes, chance: random.Random) -> bytes:
        """``content`` with all damages."""
        changed = bytearray(content)
        for name in self.damages:
            result = EVERY[name](changed, chance)
            changed = changed if result is None else result
        return bytes(changed)


def any_case(number: int) -> Case:
    """The case with this number, of endlessly many."""
    chance = random.Random(f"case {number}")
    maker = chance.choice(list(MAKERS))
    kind = Path(maker).suffix[1:]
    fitting = EDITS.get(
        kind, () if kind in ("mpg", "vob", "mxf", "nut", "flv", "wmv", "y4m", "h264") else PICTURE_EDITS
    )
    general = [name for name in EVERY if not name.startswith(("words", "index", "huge", "all"))]
    count = chance.choice((1, 1, 1, 2, 3))
    damages = tuple(chance.choice(fitting if fitting and chance.random() < 0.4 else general) for _ in range(count))
    suffix = chance.choice((".mp4", ".mkv", ".avi", ".png", ".gif", ".ts")) if kind and chance.random() < 0.04 else ""
    return Case(maker, damages, number, chance.randrange(24), suffix)


# ---- the process that mattes them ------------------------------------------------------------------------------------


def matted(case: Case, place: Path, good: Path, model: Path) -> dict[str, Any]:
    """Matte the file of ``case`` with the real command. Return what came of it, for `faults`."""
    from gvm_core.cli import main

    place.mkdir(parents=True)
    source, output = case.make(place, good), place / f"matte{case.output}"
    fresh_peak()
    before, begun = peak(), time.process_time()
    said = place / "said.txt"
    kept = os.dup(2)
    with said.open("wb") as words:
        os.dup2(words.fileno(), 2)
    escaped = ""
    try:
        code = main(
            [
                "matte",
                str(source),
                str(output),
                "--model",
                str(model),
                "--device",
                "cpu",
                "--max-edge",
                "32",
                "--short-edge",
                "32",
                *case.options,
            ]
        )
    except BaseException as error:  # noqa: BLE001  that is what is looked for
        import traceback

        traceback.print_exc()
        code, escaped = -1, f"{type(error).__name__}: {error}"
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
    spent, grown = time.process_time() - begun, peak() - before
    parts = place / ".gvm-parts"
    left = [str(each.relative_to(place)) for each in parts.rglob("*")] if parts.exists() else None
    result = {"code": code, "escaped": escaped, "said": said.read_text(errors="replace"), "source": source.name}
    result |= {
        "spent": spent,
        "grown": grown,
        "left": left,
        "there": output.exists(),
        "damaged": case.damages != ("whole",),
    }
    result["finished"] = any(re.fullmatch(r"[0-9]+-[0-9]+(\.last)?", Path(name).name) for name in left or [])
    if code == 0:
        result |= written_frames(output) | read_frames(source, case)
    return result


def written_frames(output: Path) -> dict[str, Any]:
    """The number of the matte's frames, and their times if it is a video."""
    import av

    if output.is_dir():
        return {"frames": len(list(output.glob("*.png"))), "times": None}
    with av.open(str(output)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    with av.open(str(output)) as container:
        return {"frames": sum(1 for _ in container.decode(video=0)), "times": times}


def read_frames(source: Path, case: Case) -> dict[str, Any]:
    """The number of frames of the source in the range, and in the whole film; their shapes."""
    from gvm_core.cli.shots import frame_range
    from gvm_core.media import open_frames

    first, last = frame_range(case.options[1]) if case.options[:1] == ("--frames",) else (0, None)
    with open_frames(source, first, last, strict="--strict" in case.options) as reader:
        shapes = [tuple(frame.shape) for frame in reader]
    with open_frames(source) as reader:
        whole = sum(1 for _ in reader)
    return {
        "wanted": len(shapes),
        "shapes": sorted(set(shapes)),
        "whole": len(range(first, min(whole, whole if last is None else last + 1))),
    }


def fresh_peak() -> None:
    """Let the peak of memory begin again, where the system can do that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The most bytes of memory that were in use."""
    try:
        words = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()
        return int(words[0]) * 1024
    except (OSError, IndexError):
        return 0


def faults(result: dict[str, Any]) -> list[str]:
    """What is wrong with what came of a case; nothing if all claims hold."""
    wrong = []
    if result["code"] not in (0, 1) or "Traceback" in result["said"]:
        wrong.append(f"an exception reached the user: {result['escaped']}")
    if result["spent"] > 20:
        wrong.append(f"it took {result['spent']:.0f} s of the processor")
    large = max((math.prod(shape) for shape in result.get("shapes", [])), default=0)
    if result["grown"] > 10**9 + 100 * large:  # a run has about two dozen frames of 4 bytes a value in memory
        wrong.append(f"it took {result['grown'] / 1e9:.1f} GB of memory")
    if result["left"] is not None and not (result["code"] == 1 and result["finished"]):
        wrong.append(f"{result['left']} is left")
    return wrong + {0: wrong_matte, 1: wrong_refusal}.get(result["code"], lambda _: [])(result)


def wrong_refusal(result: dict[str, Any]) -> list[str]:
    """What is wrong with how a run ended with an error."""
    wrong = []
    errors = [line for line in result["said"].splitlines() if line.startswith("error: ")]
    if len(errors) != 1 or not result["said"].rstrip().endswith(errors[0]):
        wrong.append("the error is not one sentence")
    elif result["source"] not in errors[0]:
        wrong.append("the error does not name the file")
    if result["there"]:
        wrong.append("there is an output although it failed")
    return wrong


def wrong_matte(result: dict[str, Any]) -> list[str]:
    """What is wrong with a matte."""
    wrong, times = [], result["times"]
    ways = {result["wanted"], result["whole"]}  # a range of a damaged file may end a frame earlier
    if result["frames"] not in ways or (len(ways) > 1 and not result["damaged"]):
        wrong.append(f"{result['frames']} frames, but the range has {result['wanted']}, the film {result['whole']}")
    if len(result["shapes"]) != 1:
        wrong.append(f"frames of several sizes: {result['shapes']}")
    if times and (times[0] != 0 or any(a >= b for a, b in pairwise(times))):
        wrong.append(f"times do not rise from 0: {times}")
    return wrong


def run(cases: list[tuple[int, Case]], folder: Path, model: Path) -> None:
    """Matte ``cases``, and write what came of each into ``folder/results``."""
    import faulthandler
    import shutil
    from types import SimpleNamespace

    import torch

    torch.set_num_threads(1)
    shutil.disk_usage = lambda _: SimpleNamespace(total=10**15, used=0, free=10**15)  # type: ignore[assignment]
    (folder / "good").mkdir(exist_ok=True)
    with (folder / "results").open("a") as results:
        for number, case in cases:
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            place = folder / str(number)
            shutil.rmtree(place, ignore_errors=True)
            result = matted(case, place, folder / "good", model)
            wrong = faults(result)
            results.write(
                json.dumps({"number": number, "wrong": wrong, "said": result["said"][-3000:], "code": result["code"]})
                + "\n"
            )
            results.flush()
            if not wrong:
                shutil.rmtree(place)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    chosen = [(number, Case(**{**facts, "damages": tuple(facts["damages"])})) for number, facts in asked["cases"]]
    run(chosen, Path(asked["folder"]), Path(asked["model"]))
