"""What a source says about its frames: what a user loses here is the place of a matte in the edit, or its shape."""

import re
import shutil
import struct
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import moving_clip, own_size, tags_of, write_video

from gvm_core import MattingPipeline, TorchHost
from gvm_core.media import open_frames
from gvm_core.media.colours import ColourTags
from gvm_core.media.timecode import COUNTED, Labels, Timecode, counted, from_clock
from gvm_core.runs.matte import matte_shot
from gvm_core.runs.shot import Shot

FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="timecode of real programs is NOT tested: there is no ffmpeg")
MOVIES = [".mov", ".mp4", ".mkv", ".webm"]
MATROSKA = (".mkv", ".webm")
OLD = int(av.__version__.split(".")[0]) < 18
"""This PyAV does not hand on the rate of a copied stream, without which .mov and .mp4 hold no timecode and no reel."""


@pytest.fixture
def pipeline(tiny_model):
    return MattingPipeline(tiny_model, own_size(), TorchHost("cpu"))


def ffmpeg(*arguments):
    subprocess.run([FFMPEG, "-v", "error", "-y", *arguments], check=True, capture_output=True)


def labelled(path, *, rate="25", size="48x32", frames=8, more=()):
    """A video that FFmpeg's command line makes, with the options ``more``."""
    source = f"testsrc2=size={size}:rate={rate}"
    ffmpeg("-f", "lavfi", "-i", source, "-frames:v", str(frames), "-bitexact", *more, path)
    return path


def told(path):
    """The pixel aspect, timecode and reel of a file, as FFmpeg reads them."""
    with av.open(str(path)) as container:
        stream, tags = container.streams.video[0], tags_of(container)
        return stream.sample_aspect_ratio or 1, tags.get("timecode"), tags.get("reel_name")


# ---- counting ------------------------------------------------------------------------------------------------------

timecodes = st.sampled_from([(base, drop) for base in COUNTED for drop in (False, True) if not drop or base % 30 == 0])


@given(timecodes, st.integers(0, 24 * 3600 * 24 - 200), st.integers(0, 10**7))
def test_timecode_counts_on_as_it_is_written(kind, frame, later):
    base, drop = kind
    start = Timecode(frame, Fraction(base), drop)
    assert Timecode.read(str(start), Fraction(base)) == start
    assert start.after(later).after(-later) == start
    minutes, seconds, frames = (int(part) for part in str(start).replace(";", ":").split(":")[1:])
    assert minutes < 60 and seconds < 60 and frames < base
    assert not drop or seconds or minutes % 10 == 0 or frames >= base // 15, "a number that drop frame leaves out"


@pytest.mark.parametrize(
    ("text", "rate", "frames", "wanted"),
    [
        ("10:00:00:00", Fraction(24000, 1001), 24, "10:00:01:00"),
        ("00:00:59;29", Fraction(30000, 1001), 1, "00:01:00;02"),
        ("00:09:59;29", Fraction(30000, 1001), 1, "00:10:00;00"),
        ("01:00:59;59", Fraction(60000, 1001), 1, "01:01:00;04"),
        ("00:00:59.29", Fraction(30000, 1001), 1, "00:01:00;02"),
        ("23:59:59:24", Fraction(25), 1, "00:00:00:00"),
        ("23:59:59;29", Fraction(30000, 1001), 1, "00:00:00;00"),
        ("00:00:00;00", Fraction(30000, 1001), 107892, "01:00:00;00"),
        ("10:00:00;05", Fraction(25), 1, "10:00:00:06"),
    ],
)
def test_timecode_of_known_frames(text, rate, frames, wanted):
    assert str(Timecode.read(text, rate).after(frames)) == wanted


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10:00:00:25", Fraction(25)),
        ("24:00:00:00", Fraction(25)),
        ("noon", Fraction(25)),
        ("10:00:00:00", Fraction(17)),
    ],
)
def test_what_is_no_timecode_is_not_made_up(text, rate):
    assert Timecode.read(text, rate) is None


def test_only_rates_that_timecode_counts_are_counted():
    assert [counted(Fraction(rate)) for rate in ("24000/1001", "30", "60000/1001", "15", "29.5", "100")] == [
        *(24, 30, 60, None, None, 100)
    ]


# ---- reading -------------------------------------------------------------------------------------------------------


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("a.mov", ["-pix_fmt", "yuv420p"]),
        ("a.mp4", ["-pix_fmt", "yuv420p"]),
        ("a.mkv", ["-pix_fmt", "yuv420p"]),
        ("a.mxf", ["-c:v", "mpeg2video"]),
        ("a.ts", ["-c:v", "mpeg2video", "-gop_timecode", "10:00:05:12"]),
        ("dv.avi", ["-c:v", "dvvideo", "-s", "720x576", "-pix_fmt", "yuv420p"]),
        ("a.dv", ["-c:v", "dvvideo", "-s", "720x576", "-pix_fmt", "yuv420p"]),
    ],
)
def test_timecode_is_found_wherever_a_file_keeps_it(tmp_path, name, more):
    path = labelled(tmp_path / name, more=["-timecode", "10:00:05:12", *more])
    for first, wanted in ((0, "10:00:05:12"), (7, "10:00:05:19")):
        with open_frames(path, first) as reader:
            assert str(reader.labels.timecode) == wanted and reader.rate == 25


@needs_ffmpeg
def test_drop_frame_timecode_of_a_broadcast_file_stays_drop_frame(tmp_path):
    more = ["-timecode", "00:00:59;28", "-c:v", "mpeg2video"]
    path = labelled(tmp_path / "a.mxf", rate="30000/1001", more=more)
    with open_frames(path, 2) as reader:
        assert str(reader.labels.timecode) == "00:01:00;02"


@pytest.mark.parametrize(
    ("word", "base", "wanted"),
    [
        (0x12050010, 25, "10:00:05:12"),
        (0x68595923, 30, "23:59:59;28"),
        (0x12050010, 50, "10:00:05:24"),
        (0x12050090, 50, "10:00:05:25"),
        (0x12850010, 60, "10:00:05:25"),
    ],
)
def test_the_clock_of_broadcast_is_read(word, base, wanted):
    assert str(from_clock(word, Fraction(base))) == wanted


def test_timecode_inside_an_hevc_stream_is_read(tmp_path):
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 64, "yuv420p", Fraction(1, 25)
    encoder.options = {"x265-params": "log-level=none:repeat-headers=1"}
    frame = av.VideoFrame.from_ndarray(np.full((96, 64), 128, np.uint8), format="yuv420p")
    frame.pts = 0
    coded = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    bits = "01" + "1" + "0" + "00000" + "1" + "0" + "0" + f"{12:09b}{5:06b}{0:06b}{10:05b}{0:05b}"
    payload = int(bits.ljust(48, "0"), 2) | 1 << 47 - len(bits)
    clock = bytes([0, 0, 0, 1, 39 << 1, 1, 136, 6]) + payload.to_bytes(6, "big") + b"\x80"
    units = re.split(rb"(?=\x00\x00\x00?\x01)", coded)
    slice_at = next(at for at, unit in enumerate(units) if unit.strip(b"\0\1")[:1] and unit.lstrip(b"\0")[1] >> 1 < 32)
    (tmp_path / "a.hevc").write_bytes(b"".join([*units[:slice_at], clock, *units[slice_at:]]))
    with open_frames(tmp_path / "a.hevc") as reader:
        assert str(reader.labels.timecode) == "10:00:05:12"


def exr_header(path, **attributes):
    """A small grey EXR picture without compression, with more attributes: name=(type, bytes)."""
    box = struct.pack("<4i", 0, 0, 3, 1)
    known = {
        "channels": ("chlist", b"Y\0" + struct.pack("<iI2i", 2, 0, 1, 1) + b"\0"),
        "compression": ("compression", b"\0"),
        "dataWindow": ("box2i", box),
        "displayWindow": ("box2i", box),
        "lineOrder": ("lineOrder", b"\0"),
        "pixelAspectRatio": ("float", struct.pack("<f", 1)),
        "screenWindowCenter": ("v2f", bytes(8)),
        "screenWindowWidth": ("float", struct.pack("<f", 1)),
    } | attributes
    content = struct.pack("<2i", 20000630, 2)
    for name, (kind, value) in known.items():
        content += f"{name}\0{kind}\0".encode() + struct.pack("<i", len(value)) + value
    content += b"\0"
    lines = [struct.pack("<2i", y, 16) + np.full(4, 0.5, "<f4").tobytes() for y in range(2)]
    start = len(content) + 16
    path.write_bytes(content + struct.pack("<2Q", start, start + 24) + b"".join(lines))


def test_exr_pictures_say_their_rate_timecode_pixel_aspect_and_reel(tmp_path, pipeline):
    for number in range(4):
        exr_header(
            tmp_path / f"a.{number}.exr",
            framesPerSecond=("rational", struct.pack("<iI", 30000, 1001)),
            pixelAspectRatio=("float", struct.pack("<f", 2)),
            timeCode=(
                "timecode",
                struct.pack("<2I", 0x10005952, 0) if number == 0 else bytes([3 + number, 1, 0, 10] * 2),
            ),
            reelName=("string", b"A001"),
        )
    with open_frames(tmp_path) as reader:
        assert reader.rate == Fraction(30000, 1001)
        assert (reader.labels.pixel_aspect, reader.labels.reel) == (2, "A001")
        assert str(reader.labels.timecode) == "10:00:59;12"
    with open_frames(tmp_path, 2) as reader:
        assert str(reader.labels.timecode) == "10:00:01:05", "each picture has its own"
    assert open_frames(tmp_path, fps=25).rate == 25
    assert matte_shot(Shot(tmp_path, tmp_path / "m.mov"), pipeline) == 4
    assert told(tmp_path / "m.mov") == ((2, None, None) if OLD else (2, "10:00:59;12", "A001"))


def test_pictures_that_say_nothing_are_square_and_have_no_timecode(tmp_path):
    exr_header(tmp_path / "a.exr", pixelAspectRatio=("float", struct.pack("<f", 0)))
    with open_frames(tmp_path / "a.exr") as reader:
        assert reader.labels == Labels(colour=ColourTags(transfer=8, matrix=0), light="linear") and reader.rate == 24


# ---- writing -------------------------------------------------------------------------------------------------------


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize("suffix", MOVIES)
@pytest.mark.parametrize("first", [0, 3])
def test_a_matte_lies_where_its_film_does_in_the_edit_and_has_its_shape(tmp_path, pipeline, suffix, first, caplog):
    more = ["-vf", "setsar=16/15", "-timecode", "01:02:03:04", "-metadata:s:v", "reel_name=A007C001"]
    path = labelled(tmp_path / "a.mov", frames=40, more=[*more, "-pix_fmt", "yuv420p"])
    preview = tmp_path / "p.mp4"
    matte_shot(Shot(path, tmp_path / f"m{suffix}", preview, first), pipeline)
    timecode = f"01:02:03:{4 + first:02}"
    aspect = 1 if suffix in MATROSKA else Fraction(16, 15)  # what a container cannot hold
    reel = None if suffix == ".mp4" else "A007C001"
    if OLD and suffix not in MATROSKA:
        reel = timecode = None
    assert told(tmp_path / f"m{suffix}") == (aspect, timecode, reel)
    assert (f"m{suffix} cannot keep the pixel aspect of the source, 16/15" in caplog.text) == (suffix in MATROSKA)
    assert (f"m{suffix} cannot keep the reel name of the source, A007C001" in caplog.text) == (reel is None)
    assert (f"m{suffix} cannot keep the timecode of the source, 01:02" in caplog.text) == (timecode is None)
    assert told(preview)[:2] == (Fraction(16, 15), None if OLD else f"01:02:03:{4 + first:02}")
    with av.open(str(tmp_path / f"m{suffix}")) as container:
        context = container.streams.video[0].codec_context
        assert [context.color_primaries, context.color_trc, context.colorspace] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", MOVIES)
@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 50, Fraction(60000, 1001), 100])
def test_every_rate_and_container_keeps_its_timecode(tmp_path, pipeline, suffix, rate):
    drop = ";" if Fraction(rate).denominator > 1 and rate > 29 else ":"
    ours = tmp_path / "with.mkv"
    with av.open(str(ours), "w") as out:
        stream = out.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv444p"
        stream.metadata["timecode"] = f"10:00:05{drop}12"
        for level in (50, 100, 150):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), level, np.uint8), format="rgb24")
            out.mux(stream.encode(frame.reformat(format="yuv444p")))
        out.mux(stream.encode(None))
    matte_shot(Shot(ours, tmp_path / f"m{suffix}"), pipeline)
    assert told(tmp_path / f"m{suffix}")[1] == (None if OLD and suffix not in MATROSKA else f"10:00:05{drop}12")


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
@pytest.mark.parametrize(("first", "last"), [(7, 7), (31, 34)])
def test_the_last_frame_is_shown_as_long_as_the_others(tmp_path, pipeline, suffix, first, last, caplog):
    """The first part of these ranges has one frame."""
    path = labelled(tmp_path / "a.mov", frames=40, more=["-timecode", "01:02:03:17", "-pix_fmt", "yuv420p"])
    matte_shot(Shot(path, tmp_path / f"m{suffix}", None, first, last), pipeline)
    with av.open(str(tmp_path / f"m{suffix}")) as container:
        lengths = [packet.duration * packet.time_base for packet in container.demux(video=0) if packet.size]
    assert lengths == [Fraction(1, 25)] * (last - first + 1)
    assert OLD or "cannot keep" not in caplog.text


def test_a_source_that_disappears_while_it_is_matted_costs_no_frame(tmp_path, pipeline):
    source = write_video(tmp_path / "a.mkv", moving_clip(4))
    assert matte_shot(Shot(source, tmp_path / "m.mov"), pipeline, lambda *_, **__: source.unlink(missing_ok=True)) == 4
    with av.open(str(tmp_path / "m.mov")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4
