"""Files with the structure that real devices and programs give theirs: what a user loses here is a day of shooting.

FFmpeg's command line makes the files. What it cannot make is written into the boxes of a finished file.
"""

import json
import shutil
import struct
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np
import pytest
import torch
from support import tags_of

from gvm_core.cli import main
from gvm_core.media import open_frames

FFMPEG, FFPROBE = shutil.which("ffmpeg"), shutil.which("ffprobe")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FFMPEG and FFPROBE), reason="files as real devices make them are NOT tested: there is no ffmpeg"
    ),
]
OLD = int(av.__version__.split(".")[0]) < 18
"""This PyAV does not hand on the rate of a copied stream, without which .mov and .mp4 hold no timecode and no reel."""
FULL, VIDEO = ("-color_range", "pc"), ("-color_range", "tv")
SDR = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
HLG = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "arib-std-b67")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-threads", "1")
TURNED = {90: (0, 1, -1, 0), 270: (0, -1, 1, 0)}
"""Display matrices, by degrees clockwise, as phones write them."""
MIRRORED = (0, 1, 1, 0)
"""That of a front camera held upright."""


# ---- making files --------------------------------------------------------------------------------------------------


def ffmpeg(*arguments):
    """Run FFmpeg's command line. Return what it wrote to its output."""
    done = subprocess.run([FFMPEG, "-v", "error", "-y", *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def pictures(size="96x64", rate="25", seconds=0.4, more=""):
    """The input of a moving picture, so soft that nothing depends on where a scaler puts chroma."""
    return ["-f", "lavfi", "-t", seconds, "-i", f"testsrc2=size={size}:rate={rate},gblur=sigma=2{more}"]


def tones(count=1, seconds=0.6, rate=48000):
    """The inputs of ``count`` tones of one channel."""
    each = (["-f", "lavfi", "-t", seconds, "-i", f"sine=frequency={300 * n}:sample_rate={rate}"] for n in range(1, 9))
    return [word for _, words in zip(range(count), each, strict=False) for word in words]


def every(count):
    """Options that take each of ``count`` inputs."""
    return [word for number in range(count) for word in ("-map", number)]


def at_times(expression, tick):
    """Options that give frame ``N`` the time ``expression`` in units of ``1 / tick`` seconds."""
    vfr = f"settb=1/{tick},setpts='{expression}'"
    return ["-vf", vfr, "-fps_mode", "passthrough", "-enc_time_base", f"1/{tick}", "-video_track_timescale", tick]


HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"}
"""Boxes that hold boxes."""


def boxes(content):
    """The boxes in ``content``, as lists of their kind and their content, which is again boxes for `HOLDERS`."""
    found, at = [], 0
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        header = 16 if size == 1 else 8
        size = struct.unpack_from(">Q", content, at + 8)[0] if size == 1 else size
        inside = content[at + header : at + size]
        found.append([kind, boxes(inside) if kind in HOLDERS else inside])
        at += size
    return found


def packed(tree):
    """`boxes`, turned back."""
    whole = b""
    for kind, inside in tree:
        inside = packed(inside) if isinstance(inside, list) else inside
        whole += struct.pack(">I4s", len(inside) + 8, kind) + inside
    return whole


def inner(tree, *kinds):
    """The first box of these kinds, one inside the other."""
    for kind in kinds:
        box = next(box for box in tree if box[0] == kind)
        tree = box[1]
    return box


def edit_movie(path, change):
    """Let ``change`` edit the tracks (``trak``) of a .mov or .mp4 whose header is its last box."""
    content = path.read_bytes()
    at = content.rindex(b"moov") - 4
    tree = boxes(content[at:])
    assert len(tree) == 1
    tracks = [box[1] for box in tree[0][1] if box[0] == b"trak"]
    change(tracks)
    path.write_bytes(content[:at] + packed(tree))


def turn(track, matrix):
    """Write a display matrix into a track, with the shift that brings the picture back to the corner."""
    a, b, c, d = matrix
    header = inner(track, b"tkhd")
    wide, high = (value >> 16 for value in struct.unpack(">2I", header[1][-8:]))
    left, top = min(0, a * wide) + min(0, c * high), min(0, b * wide) + min(0, d * high)
    one = 1 << 16
    header[1] = header[1][:-44] + struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, -left * one, -top * one,
                                              1 << 30) + header[1][-8:]  # fmt: skip


def begin_at(track, seconds):
    """Let the edit list of a track begin so many seconds into its media."""
    media = inner(track, b"mdia", b"mdhd")[1]
    scale = struct.unpack_from(">I", media, 12)[0]
    edits = inner(track, b"edts", b"elst")
    count, length, start, rate = struct.unpack(">I3i", edits[1][4:20])
    assert count == 1 and length
    edits[1] = edits[1][:8] + struct.pack(">3i", length, start + round(seconds * scale), rate)


def describe(track, kind, content):
    """Append a box to the description of a track's samples."""
    table = inner(track, b"mdia", b"minf", b"stbl", b"stsd")
    size = struct.unpack_from(">I", table[1], 8)[0]
    box = struct.pack(">I4s", len(content) + 8, kind) + content
    table[1] = table[1][:8] + struct.pack(">I", size + len(box)) + table[1][12 : 8 + size] + box + table[1][8 + size :]


def data_track(track, kind, handler=b"meta"):
    """Turn a track of subtitles into one of timed data that FFmpeg has no codec for."""
    head = inner(track, b"mdia", b"hdlr")
    head[1] = head[1][:8] + handler + head[1][12:]
    entry = inner(track, b"mdia", b"minf", b"stbl", b"stsd")
    entry[1] = entry[1][:12] + kind + entry[1][16:]


def unknown_sound(track, kind=b"apac"):
    """Turn a track of AAC into one of a codec that FFmpeg does not know."""
    entry = inner(track, b"mdia", b"minf", b"stbl", b"stsd")
    entry[1] = entry[1].replace(b"mp4a", kind, 1).replace(b"esds", b"dapa", 1)


def subtitles(folder):
    """A file of subtitles."""
    path = folder / "telemetry.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:00,200\n[iso: 100] [shutter: 1/50]\n\n"
                    "2\n00:00:00,200 --> 00:00:00,400\n[iso: 110] [shutter: 1/50]\n")  # fmt: skip
    return path


# ---- looking at files ----------------------------------------------------------------------------------------------


PROBED = "stream=index,codec_type,codec_name,time_base,sample_rate,chroma_location,pix_fmt:stream_disposition=attached_pic:format=duration"
PROBED_FRAMES = "frame=stream_index,pts,best_effort_timestamp,nb_samples"


@cache
def probe(path):
    """What ffprobe says of a file: its format, its streams by their index, and the frames of each."""
    command = [FFPROBE, "-v", "quiet", "-of", "json", "-show_frames", "-show_entries", f"{PROBED}:{PROBED_FRAMES}"]
    said = json.loads(subprocess.run([*command, str(path)], capture_output=True, check=True).stdout)
    streams = {stream["index"]: stream | {"frames": []} for stream in said["streams"]}
    for frame in said["frames"]:
        if "stream_index" in frame:
            streams[frame["stream_index"]]["frames"].append(frame)
    return said["format"], streams


def tracks_of(path, kind):
    return [stream for stream in probe(path)[1].values() if stream.get("codec_type") == kind]


def shown_times(path):
    """The times in seconds at which FFmpeg shows the frames of the picture track."""
    track = next(track for track in tracks_of(path, "video") if not track["disposition"]["attached_pic"])
    return [int(frame["best_effort_timestamp"]) * Fraction(track["time_base"]) for frame in track["frames"]]


def heard(path):
    """Begin and end in seconds of each track of sound that FFmpeg can decode, after the first picture."""
    zero, found = shown_times(path)[0], []
    for track in tracks_of(path, "audio"):
        if track.get("codec_name", "unknown") in ("unknown", "none"):
            continue
        unit, frames = Fraction(track["time_base"]), track["frames"]
        begin, last = (int(frame["pts"]) * unit - zero for frame in (frames[0], frames[-1]))
        found.append((float(begin), float(last + Fraction(int(frames[-1]["nb_samples"]), int(track["sample_rate"])))))
    return found


def first_picture(path, filters=()):
    """The first frame, upright, as FFmpeg's command line shows it, in the light of the file: ``[3, H, W]``, 0..1."""
    track = tracks_of(path, "video")[0]
    left = track.get("chroma_location") in ("left", "topleft")
    beside = left and "444" not in track["pix_fmt"] and "yuvj" not in track["pix_fmt"]  # full range is read like JPEG
    with av.open(str(path)) as container:  # by the container's tag, which FFmpeg's decoder of ProRes forgets
        matrix = {1: "bt709", 9: "bt2020"}.get(container.streams.video[0].codec_context.colorspace, "auto")
    scale = f"scale=flags=accurate_rnd+full_chroma_int+bicubic:in_color_matrix={matrix}"
    if beside and not OLD:  # where chroma lies; this filter does not look for it, nor does older PyAV
        scale += ":in_h_chr_pos=0:in_v_chr_pos=128"
    raw = ffmpeg("-i", path, "-map", "0:V:0", "-frames:v", 1, "-vf", ",".join([*filters, scale, "format=rgb24"]),
                 "-c:v", "ppm", "-f", "image2pipe", "-")  # fmt: skip
    _, size, _, levels = raw.split(b"\n", 3)
    width, height = map(int, size.split())
    return torch.from_numpy(np.frombuffer(levels, "u1").reshape(height, width, 3).copy()).movedim(-1, 0) / 255


@dataclass
class Told:
    """What a file says of itself."""

    size: tuple[int, int]
    colours: list[int]
    aspect: Fraction
    timecode: str | None
    reel: str | None
    titles: list[str | None]
    sounds: int


def told(path):
    with av.open(str(path)) as container:
        stream, tags = container.streams.video[0], tags_of(container)
        context = stream.codec_context
        return Told(
            (stream.width, stream.height),
            [context.color_primaries, context.color_trc, context.colorspace],
            Fraction(stream.sample_aspect_ratio or 1),
            tags.get("timecode"),
            tags.get("reel_name"),
            [each.metadata.get("title", each.metadata.get("handler_name")) for each in container.streams.audio],
            len(container.streams.audio),
        )


def same_in_ranges(source, frames, times):
    """A range has the frames and the times of the whole file."""
    for first in (1, len(frames) // 2, len(frames) - 1):
        with open_frames(source, first, first) as reader:
            assert torch.equal(next(iter(reader)), frames[first]), f"frame {first} is another one in a range"
            assert reader.times == times[: first + 1]


@pytest.fixture
def matted(tmp_path, tiny_folder, capsys):
    """Mattes a file with the real command and checks what holds for every one. Returns what the matte says of itself."""

    def run(source, suffix, *, size, filters=(), sdr=True, preview="", sounds=None, more=()):
        output, extra = tmp_path / f"matte{suffix}", [] if not preview else ["--preview", tmp_path / f"over{preview}"]
        command = ["matte", source, output, "--model", tiny_folder, "--max-edge", 32, *extra, *more]
        status = main([str(word) for word in command])
        assert status == 0, capsys.readouterr().err
        wanted = shown_times(source)
        for each in (output, *extra[1:]):
            found = shown_times(each)
            assert len(found) == len(wanted)
            tick = Fraction(1, 1000) if each.suffix == ".mkv" else Fraction(OLD, 90000)  # older PyAV counts in that
            away = [abs(ours - (theirs - wanted[0])) for ours, theirs in zip(found, wanted, strict=True)]
            assert max(away) <= tick, f"{each.name} shows frames at other times"
            said = told(each)
            assert said.size == size and said.colours == [1, 1, 1]
            one = float((wanted[-1] - wanted[0]) / max(len(wanted) - 1, 1))
            there, here = heard(source), heard(each)
            assert len(here) == len(there) == (len(there) if sounds is None else sounds)
            for (begin, end), (ours, last) in zip(there, here, strict=True):
                assert abs(ours - max(begin, 0)) <= one and abs(last - end) <= one
        with open_frames(source) as reader:
            frames = list(reader)
            picture, times = frames[0], reader.times
        assert picture.shape == (3, size[1], size[0])
        same_in_ranges(source, frames, times)
        if sdr:
            assert (picture - first_picture(source, filters)).abs().mean() < 2 / 255
        return told(output)

    return run


# ---- phones --------------------------------------------------------------------------------------------------------


def iphone(folder, matrix):
    """HEVC in HLG, turned, at a varying rate, trimmed by its edit list, with spatial sound and five tracks of data."""
    path, text = folder / "IMG_0001.MOV", subtitles(folder)
    jitter = at_times("floor(N*20.02)+mod(N*7,3)", 600)
    ffmpeg(*pictures(rate="30000/1001", seconds=0.6), *tones(2, 1), "-i", text, *every(3), *("-map", 3) * 5,
           *jitter, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:bframes=3:pools=1",
           "-pix_fmt", "yuv420p10le", "-tag:v", "hvc1", *HLG, "-c:a", "aac", "-ac:a:0", 2, "-c:s", "mov_text",
           "-movflags", "use_metadata_tags", "-metadata", "com.apple.quicktime.make=Apple",
           "-metadata", "com.apple.quicktime.content.identifier=0F1E", path)  # fmt: skip

    def change(tracks):
        turn(tracks[0], matrix)
        describe(tracks[0], b"dvvC", bytes([1, 0, 16, 21, 64]) + bytes(19))  # Dolby Vision, profile 8.4
        unknown_sound(tracks[2])
        for track in tracks[3:]:
            data_track(track, b"mebx")
        for track in tracks[:3]:
            begin_at(track, 4 * 20 / 600)

    edit_movie(path, change)
    return path


@pytest.mark.parametrize(("matrix", "suffix"), [(TURNED[90], ".mov"), (MIRRORED, ".mkv")], ids=["back", "front"])
def test_an_iphone_video_is_upright_trimmed_and_not_too_dark(tmp_path, matted, matrix, suffix, caplog):
    source = iphone(tmp_path, matrix)
    assert len(shown_times(source)) < 18, "the edit list cuts the first frames"
    matted(source, suffix, size=(64, 96), sdr=False, preview=".mp4")
    assert "audio track 2" in caplog.text
    with open_frames(source) as reader:
        raw, seen = first_picture(source), reader.shown(next(iter(reader)))
    assert (seen - raw).abs().mean() > 0.02 and 0.6 < seen.mean() / raw.mean() < 1.2 and seen.max() > 0.9


def test_an_hdr10_video_of_a_phone_is_not_too_dark(tmp_path, matted):
    source = tmp_path / "20240101_120000.mp4"
    # testsrc2's white is 10,000 nits in PQ: 58 % of it is diffuse white
    ffmpeg(*pictures(rate=30, more=",format=gbrp,lutrgb='0.58*val':'0.58*val':'0.58*val'"), *tones(), *every(2),
           "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:pools=1", "-pix_fmt", "yuv420p10le",
           "-tag:v", "hvc1", "-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "smpte2084",
           "-c:a", "aac", source)  # fmt: skip

    def change(tracks):
        primaries = (13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450)
        describe(tracks[0], b"mdcv", struct.pack(">8H2I", *primaries, 10_000_000, 50))
        describe(tracks[0], b"clli", struct.pack(">2H", 1000, 400))

    edit_movie(source, change)
    assert matted(source, ".mp4", size=(96, 64), sdr=False, preview=".mov").sounds == 1
    with open_frames(source) as reader:
        raw, seen = first_picture(source), reader.shown(next(iter(reader)))
    assert raw.max() < 0.7 and seen.max() > 0.9 and seen.mean() > raw.mean()


def test_an_android_video_keeps_the_times_of_a_rate_that_jumps(tmp_path, matted):
    source = tmp_path / "VID_20240101.mp4"
    stops = "if(lt(N,6),N*1500,if(lt(N,9),9000+(N-6)*6000,40000+(N-9)*3003))"
    ffmpeg("-itsoffset", 0.5, *pictures(rate=30, seconds=0.5, more=",gblur=sigma=4"), "-itsoffset", 0.53, *tones(1, 0.6), *every(2),
           *at_times(f"45000+{stops}", 90000), *H264, "-bf", 0, "-pix_fmt", "yuv420p", *SDR, "-c:a", "aac",
           source)  # fmt: skip
    edit_movie(source, lambda tracks: turn(tracks[0], TURNED[270]))
    assert shown_times(source)[0] > 0.3
    assert matted(source, ".mp4", size=(64, 96), preview=".mov").sounds == 1


# ---- cameras -------------------------------------------------------------------------------------------------------


def test_a_blackmagic_clip_keeps_its_place_in_the_edit(tmp_path, matted):
    source = tmp_path / "A001_08151512_C003.mov"
    ffmpeg(*pictures(rate="24000/1001"), *tones(2), *every(3), "-c:v", "prores_ks", "-profile:v", 3, "-pix_fmt",
           "yuv422p10le", *SDR, "-timecode", "14:31:07:05", "-metadata:s:v", "reel_name=A001_08151512_C003", "-c:a",
           "pcm_s24le", "-ac:a:0", 2, "-ac:a:1", 4, source)  # fmt: skip

    def change(tracks):
        layout = inner(tracks[2], b"mdia", b"minf", b"stbl", b"stsd")
        at = layout[1].index(b"chan") + 8
        layout[1] = (
            layout[1][:at] + struct.pack(">I", 147 << 16 | 4) + layout[1][at + 4 :]
        )  # channels of no known place

    edit_movie(source, change)
    said = matted(source, ".mov", size=(96, 64))
    assert said.sounds == 2
    assert (said.timecode, said.reel) == ((None, None) if OLD else ("14:31:07:05", "A001_08151512_C003"))


def test_a_sony_xavc_clip_keeps_eight_tracks_of_sound_and_its_timecode(tmp_path, matted):
    source = tmp_path / "C0001.mxf"
    ffmpeg(*pictures(), *tones(8), *every(9), *H264[:4], "-profile:v", "high422", "-g", 1, "-pix_fmt", "yuv422p10le",
           *SDR, "-timecode", "10:00:00:00", "-c:a", "pcm_s24le", source)  # fmt: skip
    said = matted(source, ".mov", size=(96, 64))
    assert said.sounds == 8 and said.timecode == (None if OLD else "10:00:00:00")


def test_an_xdcam_clip_is_deinterlaced_and_its_timecode_stays_drop_frame(tmp_path, matted):
    source = tmp_path / "tape.mxf"
    fields = ["-vf", "tinterlace=interleave_top,fieldorder=tff", "-flags", "+ilme+ildct"]
    ffmpeg(*pictures(rate="60000/1001"), *tones(4), *every(5), *fields, "-c:v", "mpeg2video", "-b:v", "20M", "-bf", 2,
           "-g", 6, "-pix_fmt", "yuv422p", *SDR, "-timecode", "00:00:59;28", "-c:a", "pcm_s16le", source)  # fmt: skip
    said = matted(source, ".mkv", size=(96, 64), filters=["bwdif=mode=send_frame:deint=interlaced"], preview=".mov")
    assert said.sounds == 4 and said.timecode == "00:00:59;28"


@pytest.mark.slow
def test_an_avchd_clip_is_deinterlaced_and_stays_wide(tmp_path, matted):
    source = tmp_path / "00001.mts"
    fields = ["-vf", "tinterlace=interleave_top,setsar=4/3", "-flags", "+ilme+ildct", "-x264-params", "tff=1"]
    ffmpeg(*pictures("1440x1080", 50, 0.2), *tones(2), *every(3), *H264[:2], "-preset", "veryfast", *fields, "-bf", 2,
           "-pix_fmt", "yuv420p", *SDR, "-c:a", "ac3", "-f", "mpegts", "-mpegts_m2ts_mode", 1, source)  # fmt: skip
    said = matted(source, ".mp4", size=(1440, 1080), filters=["bwdif=mode=send_frame:deint=interlaced"])
    assert said.aspect == Fraction(4, 3) and said.sounds == 2


def test_a_gopro_clip_keeps_its_full_range_and_timecode(tmp_path, matted, caplog):
    source, text = tmp_path / "GX010001.mp4", subtitles(tmp_path)
    ffmpeg(*pictures(rate="60000/1001"), *tones(1), "-i", text, *every(3), *H264, "-pix_fmt", "yuvj420p", *FULL, *SDR,
           "-timecode", "16:20:10;30", "-c:a", "aac", "-ac", 2, "-c:s", "mov_text", source)  # fmt: skip

    def change(tracks):
        kinds = [inner(track, b"mdia", b"minf", b"stbl", b"stsd")[1][12:16] for track in tracks]
        data_track(tracks[kinds.index(b"tx3g")], b"gpmd")

    edit_movie(source, change)
    said = matted(source, ".mp4", size=(96, 64), preview=".mp4")
    assert said.timecode == (None if OLD else "16:20:10;30")
    assert OLD or "cannot keep" not in caplog.text


def test_a_drone_clip_is_the_film_and_not_its_thumbnail_or_telemetry(tmp_path, matted):
    source, text = tmp_path / "DJI_0001.MP4", subtitles(tmp_path)
    ffmpeg(*pictures(rate="30000/1001"), *pictures("320x180", 1, 1), "-i", text, *every(2), *("-map", 2) * 3, *H264,
           "-pix_fmt", "yuv420p", *SDR, "-c:v:1", "mjpeg", "-pix_fmt:v:1", "yuvj420p", "-disposition:v:1",
           "attached_pic", "-c:s", "mov_text", source)  # fmt: skip

    def change(tracks):
        kinds = [inner(track, b"mdia", b"minf", b"stbl", b"stsd")[1][12:16] for track in tracks]
        texts = [track for track, kind in zip(tracks, kinds, strict=True) if kind == b"tx3g"]
        data_track(texts[0], b"djmd")
        data_track(texts[1], b"dbgi")

    edit_movie(source, change)
    assert len(tracks_of(source, "video")) == 2, "there is a thumbnail"
    assert matted(source, ".mov", size=(96, 64)).sounds == 0


# ---- programs ------------------------------------------------------------------------------------------------------


def obs(path, *more):
    return ffmpeg(*pictures(rate=30, seconds=0.6), *tones(2), *every(3), *("-c:v", "libx264rgb", "-crf", 12),
                  *("-preset", "ultrafast", "-g", 6, "-pix_fmt", "rgb24", "-c:a", "aac"),
                  *("-metadata:s:a:0", "title=Desktop", "-metadata:s:a:1", "title=Mic/Aux", *more, path))  # fmt: skip


@pytest.mark.slow
def test_an_obs_recording_in_rgb_keeps_its_tracks_of_sound_and_their_titles(tmp_path, matted):
    obs(tmp_path / "2024-01-01 10-00-00.mkv")
    said = matted(tmp_path / "2024-01-01 10-00-00.mkv", ".mkv", size=(96, 64), preview=".mp4")
    assert said.titles == ["Desktop", "Mic/Aux"]


@pytest.mark.parametrize("share", [0.35, 0.8])
def test_a_recording_that_a_crash_cut_off_is_matted_to_its_last_whole_frame(tmp_path, matted, share):
    source = tmp_path / "crash.mkv"
    whole = obs("-", "-f", "matroska")
    source.write_bytes(whole[: int(len(whole) * share)])
    assert 3 < len(shown_times(source)) < 18
    assert matted(source, ".mov", size=(96, 64)).sounds == 2


def test_a_premiere_export_keeps_its_timecode_although_it_begins_late(tmp_path, matted):
    source = tmp_path / "Sequence 01.mov"
    ffmpeg(*pictures(), *tones(1), *every(2), "-vf", "format=yuva444p10le,geq=lum='lum(X,Y)':cb='cb(X,Y)':"
           "cr='cr(X,Y)':a='1023*X/W'", "-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le", *SDR,
           "-timecode", "01:00:00:00", "-output_ts_offset", 0.2, "-c:a", "pcm_s16le", "-ac", 2, source)  # fmt: skip
    assert shown_times(source)[0] == Fraction(1, 5)
    assert matted(source, ".mov", size=(96, 64)).timecode == (None if OLD else "01:00:00:00")
    with open_frames(source, alpha=True) as reader:
        assert next(iter(reader))[3].mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_screen_recording_of_odd_width_keeps_its_pauses(tmp_path, matted):
    source = tmp_path / "Screen Recording.mov"
    ffmpeg(*pictures("98x64", 60, 0.3, ",format=yuv444p,crop=97:63"), *at_times("N*10+if(gt(N,9),300,0)", 600), *H264, "-bf", 0, "-pix_fmt",
           "yuv444p", *SDR, source)  # fmt: skip
    assert matted(source, ".mp4", size=(97, 63), preview=".mov").sounds == 0


def test_a_gif_keeps_its_uneven_times(tmp_path, matted):
    source = tmp_path / "screen.gif"
    ffmpeg(*pictures(rate=20), "-vf", "settb=1/100,setpts='N*5+if(gt(N,3),20,0)',split[a][b];[a]palettegen[p];"
           "[b][p]paletteuse", "-fps_mode", "passthrough", source)  # fmt: skip
    matted(source, ".mov", size=(96, 64))


def test_a_recording_of_a_browser_without_a_length_keeps_its_times(tmp_path, matted):
    source = tmp_path / "webcam.webm"
    source.write_bytes(
        ffmpeg(*pictures(rate=30, seconds=0.6), *tones(1), *every(2), "-vf", "settb=1/1000,setpts='N*33+mod(N*N,11)'",
               "-fps_mode", "passthrough", "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", 8, "-pix_fmt", "yuv420p",
               "-c:a", "libopus", "-f", "webm", "-live", 1, "-"))  # fmt: skip
    assert "duration" not in probe(source)[0]
    assert matted(source, ".mp4", size=(96, 64)).sounds == 1


def test_a_fragmented_film_is_read_like_a_whole_one(tmp_path, matted):
    source = tmp_path / "dash.mp4"
    ffmpeg(*pictures(seconds=0.8), *tones(1, 0.8), *every(2), *H264, "-bf", 2, "-g", 5, "-pix_fmt", "yuv420p", *SDR,
           "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov+default_base_moof", source)  # fmt: skip
    assert matted(source, ".mkv", size=(96, 64)).sounds == 1


# ---- broadcast and discs -------------------------------------------------------------------------------------------


CLOCK_ENDS = 2**33 / 90000
"""Seconds after which the clock of a transport stream begins again."""


@pytest.mark.parametrize("seconds", [36000, CLOCK_ENDS - 1.7], ids=["10 hours", "over the end of its clock"])
def test_a_recorded_broadcast_begins_at_0_wherever_its_clock_stands(tmp_path, matted, seconds):
    source = tmp_path / "programme.ts"
    ffmpeg(*pictures(seconds=0.6), *tones(2, 0.6), *every(3), *H264[:4], "-bf", 2, "-g", 12, "-pix_fmt", "yuv420p", *SDR,
           "-c:a", "mp2", "-output_ts_offset", seconds, source)  # fmt: skip
    times = shown_times(source)
    assert times[0] > 36000 if seconds == 36000 else times[0] < 0 < times[-1], "FFmpeg counts the end as 0"
    assert matted(source, ".mp4", size=(96, 64)).sounds == 2


def spu(time):
    """A pack of a DVD's programme stream with one subtitle of 2x2 pixels, shown at ``time`` in 1/90000 s."""
    commands = bytes([3, 0x32, 0x10, 4, 0xFF, 0xF0, 5, 0, 0x10, 1, 0, 0, 1, 6, 0, 4, 0, 5, 1, 0xFF])
    control = struct.pack(">2H", 0, 6) + commands
    unit = struct.pack(">2H", 6 + len(control), 6) + bytes([0x55, 0x55]) + control
    pts = bytes([0x21 | time >> 29 & 14, time >> 22 & 255, time >> 14 & 255 | 1, time >> 7 & 255, time << 1 & 255 | 1])
    body = bytes([0x81, 0x80, 5]) + pts + b"\x20" + unit
    scr = time
    pack = bytes([0x44 | (scr >> 27 & 0x38) | (scr >> 28 & 3), scr >> 20 & 255, (scr >> 12 & 0xF8) | 4 | (scr >> 13 & 3),
                  scr >> 5 & 255, (scr << 3 & 0xF8) | 4, 1, 1, 0x89, 0xC3, 0xF8])  # fmt: skip
    sent = b"\0\0\1\xba" + pack + b"\0\0\1\xbd" + struct.pack(">H", len(body)) + body
    return sent + b"\0\0\1\xbe" + struct.pack(">H", 2048 - len(sent) - 6) + bytes([255]) * (2048 - len(sent) - 6)


@pytest.mark.slow
def test_a_dvd_is_deinterlaced_and_stays_wide(tmp_path, matted):
    source = tmp_path / "VTS_01_1.VOB"
    fields = ["-vf", "tinterlace=interleave_top", "-flags", "+ilme+ildct", "-aspect", "16:9"]
    ffmpeg(*pictures("720x576", 50, 0.4), *tones(1), *every(2), *fields, "-c:v", "mpeg2video", "-b:v", "6M", "-g", 12,
           "-bf", 2, "-pix_fmt", "yuv420p", "-c:a", "ac3", "-ac", 2, "-f", "dvd", "-packetsize",
           2048, source)  # fmt: skip
    content = source.read_bytes()
    source.write_bytes(content[:2048] + spu(50000) + content[2048:])
    assert [track["codec_name"] for track in tracks_of(source, "subtitle")] == ["dvd_subtitle"]
    assert shown_times(source)[0] > 0.5
    said = matted(source, ".mov", size=(720, 576), filters=["bwdif=mode=send_frame:deint=interlaced"])
    assert said.aspect == Fraction(64, 45) and said.sounds == 1


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "suffix"), [("dvd", ".mp4"), ("dvd", ".mkv"), ("mpegts", ".mov")])
def test_joined_recordings_go_on_in_time_with_their_sound(tmp_path, tiny_folder, kind, suffix):
    """The clock begins again in the middle of the file: FFmpeg itself shows its frames twice at the same times."""
    source, pieces = tmp_path / ("joined.ts" if kind == "mpegts" else "VTS_01_1.VOB"), []
    sound = "mp2" if kind == "mpegts" else "pcm_s16be"
    for level, length in enumerate((0.8, 1.0)):
        piece = tmp_path / f"{level}.{kind}"
        tone = ["-f", "lavfi", "-t", length, "-i", f"sine=frequency={1000 * (level + 1)}:sample_rate=48000"]
        ffmpeg(*pictures(seconds=length), *tone, *every(2), "-c:v", "mpeg2video", "-bf", 0, "-g", 12, "-c:a", sound,
               "-ac", 2, "-f", kind, piece)  # fmt: skip
        pieces.append(piece.read_bytes())
    source.write_bytes(b"".join(pieces))
    frames = tracks_of(source, "video")[0]["frames"]
    assert len({frame.get("best_effort_timestamp") for frame in frames}) < 45 == len(frames)
    with open_frames(source) as reader:
        same_in_ranges(source, list(reader), reader.times)
    output = tmp_path / f"matte{suffix}"
    assert main(["matte", str(source), str(output), "--model", str(tiny_folder), "--max-edge", "32"]) == 0
    assert [round(float(time), 3) for time in shown_times(output)] == [round(0.04 * index, 3) for index in range(45)]
    with av.open(str(output)) as container:
        to_float = av.AudioResampler("fltp", "mono", 48000)
        frames = [part for frame in container.decode(audio=0) for part in to_float.resample(frame)]
    levels = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    begin = float(frames[0].pts * frames[0].time_base)
    pitch = [np.abs(np.fft.rfft(levels[at : at + 960])).argmax() * 50 for at in range(0, len(levels) - 960, 960)]
    changed = begin + next(at for at, each in enumerate(pitch) if each > 1500) * 0.02
    assert changed == pytest.approx(0.8, abs=0.06), "the second tone begins with the second recording"
    assert begin + len(levels) / 48000 == pytest.approx(1.8, abs=0.1)
