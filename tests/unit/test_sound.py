"""The source's sound beside the matte: what a user loses here is the sound, its time, or a matte that the sound cost."""

import json
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from support import moving_clip

from gvm_core.media import open_frames
from gvm_core.media.formats import BY_SUFFIX, FORMATS
from gvm_core.media.video_writer import VideoWriter
from gvm_core.runs import sound
from gvm_core.runs.join import join_videos
from gvm_core.runs.parts import Parts
from gvm_core.runs.resume import begin
from gvm_core.runs.shot import Shot
from gvm_core.runs.sound import plan_sound
from gvm_core.runs.write import finish

FRAMES, RATE, CLICK = 10, 25, Fraction(1, 5)
HEIGHT, WIDTH = 32, 48
CONTAINERS = {
    "mp4": "libx264", "mov": "libx264", "mkv": "libx264", "3gp": "libx264", "ts": "libx264", "m2ts": "libx264",
    "flv": "libx264", "nut": "libx264", "avi": "mpeg4", "vob": "mpeg2video", "mpg": "mpeg2video",
    "mxf": "mpeg2video", "wmv": "msmpeg4", "webm": "libvpx",
}  # fmt: skip
"""Containers that hold pictures and sound, and the codec of their pictures here."""
NO_CLICK = ("anull", "comfortnoise", "libspeex", "speex")
"""Encoders from which no click comes back. FFmpeg 7 decodes stereo Speex to numbers beyond all bounds."""
OUTPUTS = (".mp4", ".mov", ".mkv", ".webm", "")
PICTURE = Fraction(1, RATE)

VIDEOS = {suffix: FORMATS[name] for suffix, name in BY_SUFFIX.items() if FORMATS[name].kind == "video"}


def audio_encoders():
    """The name of every audio encoder of this FFmpeg."""
    for name in sorted(av.codecs_available):
        try:
            codec = av.Codec(name, "w")
        except ValueError:
            continue
        if codec.type == "audio" and name not in NO_CLICK:
            yield codec


def click(rate, early=0.0):
    """Silence, 20 ms of a loud tone, silence, in 16 bits. The tone begins at `CLICK`, the silence ``early`` before 0."""
    wave, begin, length = np.zeros(round(rate * (0.6 + early))), round((float(CLICK) + early) * rate), rate // 50
    wave[begin : begin + length] = 26000 * np.sin(np.arange(length) * 2 * np.pi * 1000 / rate)
    return wave.astype(np.int16)


def write_pictures(path, codec):
    """Ten small frames at 25 a second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=RATE, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in (moving_clip(FRAMES, HEIGHT, WIDTH) * 255).byte().movedim(1, -1).numpy():
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
    return path


def write_source(path, pictures, *tracks, shift=0, early=0.0, tags=None, **options):
    """The frames of the file ``pictures`` and tracks with a click, 0.2 seconds after the first frame.

    A track is its encoder, its rate, its layout, and its tags. The frames begin at ``shift`` seconds, sound is ``early``.
    """
    with av.open(str(pictures)) as frames, av.open(str(path), "w", **options) as container:
        container.metadata.update(tags or {})
        video = container.add_stream_from_template(frames.streams.video[0], opaque=True)
        packets = [packet for packet in frames.demux(video=0) if packet.size]
        for packet in packets:
            packet.dts = packet.pts  # no frame is reordered
        for encoder, rate, layout, own_tags in tracks:
            audio = container.add_stream(encoder, rate=rate, layout=layout, options={"strict": "experimental"})
            audio.metadata.update(own_tags)
            levels = np.repeat(click(rate, early), audio.layout.nb_channels)[None]
            sound = av.AudioFrame.from_ndarray(levels, format="s16", layout=layout)
            sound.sample_rate, sound.pts, sound.time_base = rate, round((shift - early) * rate), Fraction(1, rate)
            packets += [*audio.encode(sound), *audio.encode(None)]
        if any(packet.dts is None for packet in packets):
            raise ValueError("an encoder without times")
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            if packet.stream is frames.streams.video[0]:
                moved = round(shift / packet.time_base)
                packet.stream, packet.pts, packet.dts = video, packet.pts + moved, packet.dts + moved
            container.mux(packet)
    return path


def source_with(path, pictures, codec):
    """A source with sound of ``codec``, at the first rate and layout that it takes; None if the container has no such."""
    rates = sorted(codec.audio_rates or [48000, 44100], key=lambda rate: abs(rate - 48000))
    for rate, layout in ((rate, layout) for layout in ("stereo", "mono") for rate in (*rates, 16000, 8000)):
        with suppress(ValueError, OSError, av.error.FFmpegError):
            write_source(path, pictures, (codec.name, rate, layout, {}))
            with av.open(str(path)) as container:
                if container.streams.audio and container.streams.video:
                    return path
    return None


def first_picture(path):
    """When the first frame is shown, in seconds."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.pts * frame.time_base


def heard(path, track=0):
    """The time of the click after the first frame and the end of the sound after it; None if nothing can be heard."""
    begin, end, energies = first_picture(path), None, []
    with av.open(str(path)) as container:
        if len(container.streams.audio) <= track:
            return None
        to_float = av.AudioResampler("fltp")
        try:
            for frame in container.decode(audio=track):
                if frame.pts is not None:
                    end = frame.pts * frame.time_base - begin
                if end is None:
                    continue
                for levels in (part.to_ndarray() for part in to_float.resample(frame)):
                    times = float(end) + np.arange(levels.shape[1]) / frame.sample_rate
                    energies.append(np.stack([times, (levels**2).max(axis=0)]))
                end += Fraction(frame.samples, frame.sample_rate)
        except av.error.FFmpegError:
            return None
    if not energies:
        return None
    times, energy = np.concatenate(energies, axis=1)
    loudest = times[np.convolve(energy, np.ones(64), "same").argmax()]
    near = abs(times - loudest) < 0.03
    return float((times[near] * energy[near]).sum() / energy[near].sum()), float(end)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Ten small frames, H.264."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "pictures.nut", "libx264")


@pytest.fixture(scope="module")
def mattes(tmp_path_factory):
    """The file of a finished part, ten frames long, for each output format."""
    folder = tmp_path_factory.mktemp("mattes")
    for suffix, codec in VIDEOS.items():
        with VideoWriter(folder / f"{suffix[1:]}{codec.part_suffix}", codec, Fraction(RATE)) as writer:
            for _ in range(FRAMES):
                writer.write(torch.rand(1, HEIGHT, WIDTH))
    return folder


def finished_part(folder, mattes, kind, times, time_base, first=0, names=str):
    """A part that holds a matte of this kind, with frames at ``times``."""
    parts = Parts(folder, first)
    staged = parts.stage()
    if codec := VIDEOS.get(kind):
        whole, part = mattes / f"{kind[1:]}{codec.part_suffix}", staged / f"matte{codec.part_suffix}"
        with av.open(str(whole)) as there, av.open(str(part), "w") as container:
            stream = container.add_stream_from_template(there.streams.video[0], opaque=True)
            for packet in [packet for packet in there.demux(video=0) if packet.size][: len(times)]:
                packet.stream = stream
                container.mux(packet)
    else:
        (staged / "matte").mkdir()
        for index in range(FRAMES):
            (staged / "matte" / f"{names(index)}.png").touch()
    parts.keep(staged, first, times, time_base, last=True)
    return parts.finished()[0]


def matted(source, output, mattes, first=0, last=None):
    """The matte of the source as a run writes it, from a part that is ready."""
    with open_frames(source, 0, last) as reader:
        for _ in reader:
            pass
        times, time_base, names = list(reader.times)[first:], Fraction(reader.time_base), reader.names
    folder = output.parent / ".gvm-parts" / output.name
    finished_part(folder, mattes, output.suffix, times, time_base, first, names)
    assert finish(Shot(source, output, first=first, last=last), Parts(folder, first, last)) == len(times)
    return output


def shown(path):
    """When every frame is shown, in seconds."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def wrongs(source, there, output, mattes):
    """What is wrong with the matte video of ``source``, in which `heard` finds ``there``; None if nothing."""
    try:
        matted(source, output, mattes)
    except Exception as error:  # noqa: BLE001
        return f"failed: {error!r}"
    if output.suffix == "":
        return None if len(list(output.iterdir())) == FRAMES else "pictures are missing"
    if first_picture(output) != 0:
        return f"the first frame is at {float(first_picture(output))}"
    if there is None or not abs(there[0] - float(CLICK) - 0.01) <= PICTURE:
        return None  # the source has no sound, or not a number in it, or says itself that it belongs elsewhere
    if (ours := heard(output)) is None:
        return "the sound is gone"
    if abs(ours[0] - there[0]) > PICTURE:
        return f"the click moved by {ours[0] - there[0]:.3f} s"
    with av.open(str(output)) as container:
        packet = 1024 / container.streams.audio[0].rate  # encoders fill their last one
    if not -PICTURE < ours[1] - there[1] < PICTURE + packet:
        return f"the sound ends {ours[1] - there[1]:.3f} s later"
    return None


@pytest.mark.slow
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_sound_of_every_codec_in_every_container_is_heard_at_its_time_and_costs_no_matte(tmp_path, mattes, suffix):
    pictures = write_pictures(tmp_path / "pictures.nut", CONTAINERS[suffix])
    found, tried = {}, 0
    for codec in audio_encoders():
        source = source_with(tmp_path / f"{codec.name}.{suffix}", pictures, codec)
        if source is None:
            continue
        there = heard(source)
        for kind in OUTPUTS:
            tried += 1
            if wrong := wrongs(source, there, tmp_path / f"{codec.name}_matte{kind}", mattes):
                found[f"{codec.name} -> {kind or 'PNGs'}"] = wrong
    print(f"{suffix}: {tried} combinations, {len(found)} wrong")
    if not tried:
        pytest.skip(f"this PyAV cannot write .{suffix}; its sound is NOT tested")
    assert not found, json.dumps(found, indent=1)


AAC, FLAC = ("aac", 48000, "stereo", {}), ("flac", 48000, "stereo", {})


def near(found, click=float(CLICK) + 0.01):
    """Whether the click of `heard` is where it should be, to 5 ms."""
    return found is not None and abs(found[0] - click) < 0.005


@pytest.mark.parametrize("kind", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("track", [AAC, FLAC], ids=["aac", "flac"])
@pytest.mark.parametrize("early", [0.0, 0.394, -0.1])
def test_sound_that_begins_before_or_after_the_picture_moves_neither(tmp_path, pictures, mattes, kind, track, early):
    source = write_source(tmp_path / "clip.mp4", pictures, track, early=early)
    assert near(heard(source))
    output = matted(source, tmp_path / f"m{kind}", mattes)
    assert shown(output) == [index * PICTURE for index in range(FRAMES)] and near(heard(output))


@pytest.mark.parametrize("kind", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_a_stream_whose_clock_begins_at_ten_hours_becomes_a_video_that_begins_at_0(
    tmp_path, pictures, mattes, kind, codec
):
    source = write_source(tmp_path / "late.ts", pictures, (codec, 48000, "stereo", {}), shift=36000)
    assert first_picture(source) >= 36000
    output = matted(source, tmp_path / f"m{kind}", mattes)
    assert shown(output) == [index * PICTURE for index in range(FRAMES)]
    assert abs(heard(output)[0] - heard(source)[0]) < 0.005
    with av.open(str(output)) as container:
        assert container.duration < 1_000_000


@pytest.mark.parametrize("kind", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("track", [AAC, FLAC], ids=["aac", "flac"])
def test_a_range_has_the_sound_of_its_frames(tmp_path, pictures, mattes, kind, track):
    source = write_source(tmp_path / "clip.mp4", pictures, track)
    output = matted(source, tmp_path / f"m{kind}", mattes, first=3, last=7)
    assert shown(output) == [index * PICTURE for index in range(5)]
    found = heard(output)
    assert near(found, 0.21 - 3 / RATE) and abs(found[1] - 5 / RATE) < 0.1


def test_every_track_is_kept_in_its_place_with_its_language_and_title(tmp_path, pictures, mattes):
    tracks = [
        ("aac", 48000, "stereo", {"language": "eng", "title": "Dialogue"}),
        ("flac", 44100, "mono", {"language": "jpn", "title": "音楽"}),
        ("ac3", 48000, "5.1", {"language": "fra"}),
        ("pcm_s24le", 96000, "stereo", {}),
    ]
    source = write_source(tmp_path / "clip.mkv", pictures, *tracks)
    for kind, codecs in (
        (".mp4", ["aac", "flac", "ac3", "aac"]),
        (".mov", ["aac", "pcm_s16le", "ac3", "pcm_s24le"]),
        (".mkv", ["aac", "flac", "ac3", "pcm_s24le"]),
    ):
        output = matted(source, tmp_path / f"m{kind}", mattes)
        assert all(near(heard(output, track)) for track in range(4))
        with av.open(str(output)) as container:
            streams = container.streams.audio
            assert [each.codec_context.codec.canonical_name for each in streams] == codecs
            assert [each.metadata.get("language", "und") for each in streams] == ["eng", "jpn", "fra", "und"]
            assert [each.codec_context.channels for each in streams] == [2, 1, 6, 2]
            if kind == ".mkv":
                assert [each.metadata.get("title") for each in streams] == ["Dialogue", "音楽", None, None]


@pytest.mark.parametrize(("rate", "wanted"), [(192000, 48000), (96000, 48000), (44100, 44100), (11025, 11025)])
def test_a_rate_that_the_encoder_lacks_or_players_refuse_is_changed(tmp_path, pictures, mattes, rate, wanted):
    source = write_source(tmp_path / "clip.mov", pictures, ("pcm_s24le", rate, "stereo", {}))
    output = matted(source, tmp_path / "m.mp4", mattes)
    with av.open(str(output)) as container:
        assert container.streams.audio[0].codec_context.sample_rate == wanted
    assert near(heard(output))
    assert plan_sound(source, tmp_path / "m.mov")[0].encoder == ""


def unknown(path, pictures):
    """A .mov whose second audio track has a codec that FFmpeg does not know, as phones write them."""
    write_source(path, pictures, AAC, AAC)
    content = path.read_bytes()
    place = content.rindex(b"stsd")
    described = content[place : place + 200].replace(b"mp4a", b"apac").replace(b"esds", b"dapa")
    path.write_bytes(content[:place] + described + content[place + 200 :])
    return path


def test_a_track_that_ffmpeg_does_not_know_is_left_out_and_said_before_the_first_frame(
    tmp_path, pictures, mattes, caplog
):
    source = unknown(tmp_path / "clip.mov", pictures)
    for kind in (".mp4", ".mov", ".mkv", ".webm"):
        caplog.clear()
        with begin(Shot(source, tmp_path / f"m{kind}"), "0" * 16):
            (message,) = caplog.messages
        assert f"m{kind} will not have audio track 2 of the source: FFmpeg does not know its codec" in message
        assert near(heard(matted(source, tmp_path / f"m{kind}", mattes)))
        with av.open(str(tmp_path / f"m{kind}")) as container:
            assert len(container.streams.audio) == 1


def test_streams_that_are_no_sound_are_passed_by(tmp_path, pictures, mattes):
    source = write_source(tmp_path / "clip.mov", pictures, AAC, tags={"timecode": "01:00:00:00"})
    with av.open(str(source)) as container:
        if "data" not in [stream.type for stream in container.streams]:
            pytest.skip("this PyAV writes no timecode; streams that are no sound are NOT tested")
    for kind in (".mp4", ".mov", ".mkv", ".webm"):
        assert near(heard(matted(source, tmp_path / f"m{kind}", mattes)))


def test_sound_survives_tags_that_are_not_utf_8(tmp_path, pictures, mattes):
    source = write_source(
        tmp_path / "clip.mkv", pictures, ("aac", 48000, "stereo", {"title": "caf\xe9"}), tags={"title": "caf\xe9"},
        metadata_encoding="latin-1",
    )  # fmt: skip
    with pytest.raises(UnicodeDecodeError):
        av.open(str(source))
    part = finished_part(tmp_path / "run", mattes, ".mkv", list(range(FRAMES)), PICTURE)
    join_videos([part], "matte.nut", tmp_path / "m.mkv", source, whole=True)
    assert near(heard(tmp_path / "m.mkv"))


def test_a_colon_in_a_name_is_no_protocol(tmp_path, pictures, mattes, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_source(tmp_path / "take:1.mp4", pictures, FLAC)
    part = finished_part(tmp_path / "run", mattes, ".mov", list(range(FRAMES)), PICTURE)
    join_videos([part], "matte.mov", Path("out:1.mov"), Path("take:1.mp4"), whole=True)
    assert near(heard(tmp_path / "out:1.mov"))


SEVEN_ONE = """
import sys
from pathlib import Path
from gvm_core.runs.join import join_videos
from gvm_core.runs.parts import Parts
from gvm_core.runs.sound import plan_sound
folder, source, name, output = map(Path, sys.argv[1:])
print(*[track.reason or track.layout for track in plan_sound(source, output)])
join_videos(Parts(folder).finished(), str(name), output, source, whole=True)
"""


@pytest.mark.parametrize("kind", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("encoder", ["pcm_s16le", "pcm_mulaw"])
def test_eight_channels_in_an_order_of_their_own_do_not_kill_the_process(tmp_path, pictures, mattes, kind, encoder):
    source = write_source(tmp_path / "clip.mov", pictures, (encoder, 48000, "7.1", {}))
    name = f"matte{VIDEOS[kind].part_suffix}"
    finished_part(tmp_path / "run", mattes, kind, list(range(FRAMES)), PICTURE)
    run = [sys.executable, "-c", SEVEN_ONE, tmp_path / "run", source, name, tmp_path / f"m{kind}"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert shown(tmp_path / f"m{kind}") == [index * PICTURE for index in range(FRAMES)]
    if "cannot be converted" not in done.stdout:  # FFmpeg 7 cannot bring such channels into a usual order
        with av.open(str(tmp_path / f"m{kind}")) as container:
            assert len(container.streams.audio) == 1
            assert done.stdout.strip() in ("", "7.1")


def test_broadcast_sound_that_changes_its_channels_is_heard_to_its_end(tmp_path, pictures, mattes):
    """The first half of a second is mono, and then it is stereo."""
    source, rate = tmp_path / "clip.ts", 48000
    with av.open(str(pictures)) as frames, av.open(str(source), "w") as container:
        video = container.add_stream_from_template(frames.streams.video[0], opaque=True)
        audio = container.add_stream("mp2", rate=rate, layout="mono")
        packets = [packet for packet in frames.demux(video=0) if packet.size]
        for packet in packets:
            packet.dts, packet.stream = packet.pts, video
        later = av.CodecContext.create("mp2", "w")
        later.sample_rate, later.layout, later.format, later.bit_rate = rate, "stereo", "s16", 256000
        for encoder, begins, levels in (
            (audio, 0, np.zeros((1, rate // 10), np.int16)),
            (later, rate // 10, np.repeat(click(rate)[rate // 10 :], 2)[None]),
        ):
            part = av.AudioFrame.from_ndarray(levels, format="s16", layout="mono" if encoder is audio else "stereo")
            part.sample_rate, part.pts, part.time_base = rate, begins, Fraction(1, rate)
            for packet in (*encoder.encode(part), *encoder.encode(None)):
                packet.stream, packet.time_base = audio, Fraction(1, rate)
                packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.pts * packet.time_base):
            container.mux(packet)
    for kind in (".mp4", ".mov"):
        assert near(heard(matted(source, tmp_path / f"m{kind}", mattes)))


def test_gaps_in_the_sound_stay_gaps(tmp_path, pictures, mattes):
    for encoder in ("mp2", "pcm_s16le", "aac"):
        whole = write_source(tmp_path / "whole.mkv", pictures, (encoder, 48000, "stereo", {}))
        with av.open(str(whole)) as there, av.open(str(tmp_path / "gap.mkv"), "w") as container:
            outputs = [container.add_stream_from_template(stream, opaque=True) for stream in there.streams]
            for packet in there.demux():
                if packet.size and not (packet.stream.type == "audio" and 0.05 < packet.pts * packet.time_base < 0.15):
                    packet.stream = outputs[packet.stream.index]
                    container.mux(packet)
        for kind in (".mp4", ".mov", ".mkv", ".webm"):
            assert near(heard(matted(tmp_path / "gap.mkv", tmp_path / f"{encoder}{kind}", mattes)))


@pytest.mark.parametrize("kind", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("track", [AAC, FLAC], ids=["aac", "flac"])
def test_damaged_sound_costs_no_frame(tmp_path, pictures, mattes, kind, track):
    source = write_source(tmp_path / "clip.mkv", pictures, track)
    with av.open(str(source)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    content = bytearray(source.read_bytes())
    for position, size in places[len(places) // 2 :]:
        content[position + 8 : position + size] = bytes(max(size - 8, 0))
    source.write_bytes(content)
    output = matted(source, tmp_path / f"m{kind}", mattes)
    assert shown(output) == [index * PICTURE for index in range(FRAMES)]


@pytest.mark.parametrize("kind", [".mp4", ".mov", ".mkv"])
def test_sound_that_fails_while_it_is_written_costs_no_frame(tmp_path, pictures, mattes, kind, monkeypatch, caplog):
    source = write_source(tmp_path / "clip.mkv", pictures, AAC)

    def break_off(*_):
        yield Fraction(0), "no packet"

    monkeypatch.setattr(sound, "copied_packets", break_off)
    monkeypatch.setattr(sound, "refusal", lambda *_: "")
    output = matted(source, tmp_path / f"m{kind}", mattes)
    assert shown(output) == [index * PICTURE for index in range(FRAMES)] and heard(output) is None
    assert "has no sound, because the sound of" in caplog.text


def test_a_source_that_is_gone_costs_no_frame(tmp_path, mattes, caplog):
    part = finished_part(tmp_path / "run", mattes, ".mov", list(range(FRAMES)), PICTURE)
    join_videos([part], "matte.mov", tmp_path / "m.mov", tmp_path / "gone.mp4", whole=True)
    assert len(shown(tmp_path / "m.mov")) == FRAMES and "has no sound, because" in caplog.text
