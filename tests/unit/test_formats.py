"""Delivery formats: what a user loses here is the edge of a matte, its colours, its place in the edit, or a whole file."""

import json
import shutil
import struct
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import write_film

from gvm_core.atomic import atomic
from gvm_core.errors import MediaError
from gvm_core.media import open_frames
from gvm_core.media.colours import ColourTags
from gvm_core.media.formats import ALL, FORMATS, available, format_for, refuse_missing
from gvm_core.media.png import png16
from gvm_core.media.sequence import SequenceWriter, numbered, read_picture
from gvm_core.media.timecode import UNLABELLED, Labels, Timecode
from gvm_core.media.video_writer import AlphaTrack, VideoWriter
from gvm_core.runs.join import join_videos
from gvm_core.runs.parts import FRAMES, Parts

FFMPEG, FFPROBE = shutil.which("ffmpeg"), shutil.which("ffprobe")
needs_ffmpeg = pytest.mark.skipif(
    FFMPEG is None or FFPROBE is None, reason="what other programs read in our files is NOT tested: there is no ffmpeg"
)
OLD = int(av.__version__.split(".")[0]) < 18
"""This PyAV does not hand on the rate of a copied stream, without which .mov and .mp4 hold no timecode and no reel."""
RATE, NTSC = RATES = Fraction(24000, 1001), Fraction(30000, 1001)
SIZES = [(64, 96), (63, 97)]
HLG, PQ = ColourTags(9, 18, 9), ColourTags(9, 16, 9)
WITH_ALPHA = [form.name for form in ALL if form.subject is not None]
FILMS = [form.name for form in ALL if form.kind == "video"]
ALPHA_ERROR = {"prores4444": 0.001, "prores4444xq": 0.001, "vp9": 0.002, "ffv1": 1e-5, "png16": 1e-5}
ALPHA_ERROR |= {"exr_half": 0.00025, "exr_float": 0}
"""Measured: half a level of 10, 8 or 16 bits, and a little for ProRes' 12 bits made of 10."""
MATTE_ERROR = {"prores4444": 0.008, "prores4444xq": 0.005, "vp9": 0.0024, "ffv1": 1e-5, "h264": 0.1, "h264_10bit": 0.05}
MATTE_ERROR |= {"png16": 1e-5, "exr_half": 0.00025, "exr_float": 0}
"""The same of a matte alone, in the worst pixel of hair. In H.264 a hair of one pixel is no longer exact."""
MEAN_ERROR = {"h264": 0.005, "h264_10bit": 0.0025}


@lru_cache
def hairy(frames, height, width):
    """Mattes ``[T, 1, H, W]``: a disc with a soft edge, and strands about a pixel wide that move."""
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    time, strand = torch.arange(frames)[:, None, None, None], torch.arange(12)[:, None, None]
    disc = ((0.5 - torch.hypot(rows, columns - 0.02 * time)) * 6).clamp(0, 1)
    near = columns - 0.1 * torch.sin(3 * rows + strand + 0.2 * time) - (strand - 6) / 6 - 0.3 * rows
    strands = (0.3 + 0.05 * strand) * torch.exp(-((near * width / 2) ** 2))
    return torch.maximum(disc, strands.amax(dim=1, keepdim=True))


@lru_cache
def subjects(frames, height, width):
    """Subjects ``[T, 4, H, W]``: smooth saturated colours, and `hairy` mattes as their alpha."""
    rows, columns = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    colours = torch.stack([columns.expand(height, width), rows.expand(height, width), (1 - columns) * rows])
    return torch.cat([colours.expand(frames, 3, -1, -1), hairy(frames, height, width)], 1)


def needs(name, channels=4):
    """Skip loudly what this FFmpeg cannot write."""
    if not available(FORMATS[name], channels):
        pytest.skip(f"{name} is NOT tested: PyAV {av.__version__} cannot write it")
    return FORMATS[name]


def deliver(folder, form, frames, labels=UNLABELLED, rate=RATE):
    """``frames`` as one file, or one folder, in this format."""
    if form.kind == "pictures":
        with SequenceWriter(folder / form.name, numbered("s.####"), form=form, labels=labels, rate=rate) as writer:
            for frame in frames:
                writer.write(frame)
        return folder / form.name
    with atomic(folder / f"{form.name}{form.suffix}") as part:
        written(VideoWriter(part, form, rate, labels), frames)
    return folder / f"{form.name}{form.suffix}"


def written(writer, frames):
    """All ``frames`` through a writer, and its end."""
    with writer:
        for frame in frames:
            writer.write(frame)


def read(path, *, alpha=True, first=0, last=None):
    """Every frame of a file or folder ``[T, C, H, W]``, and its labels."""
    with open_frames(path, first, last, alpha=alpha) as reader:
        return torch.stack(list(reader)), reader.labels


def probed(path):
    """What ffprobe says of the picture track, of the sound, and of the file."""
    command = [FFPROBE, "-v", "error", "-count_packets", "-show_streams", "-show_format", "-of", "json", str(path)]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    tracks = {stream["codec_type"]: stream for stream in reversed(said["streams"])}
    tags = {}
    for each in (said["format"], *said["streams"]):
        tags.update({key.lower(): value for key, value in each.get("tags", {}).items()})
    return tracks["video"], tracks.get("audio"), said["format"], tags


def colour_tags(track):
    return [track.get(name) for name in ("color_primaries", "color_transfer", "color_space", "color_range")]


# ---- what comes back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_ALPHA)
@pytest.mark.parametrize("size", SIZES)
def test_the_alpha_of_a_subject_comes_back_to_the_level_that_the_format_promises(tmp_path, name, size):
    form, frames = needs(name), subjects(3, *size)
    found, _ = read(deliver(tmp_path, form, frames))
    assert found.shape == frames.shape
    assert (found[:, 3] - frames[:, 3]).abs().max() <= ALPHA_ERROR[name]
    seen = frames[:, 3:] > 0.05
    if name == "vp9":  # chroma of half the size, and not exact
        assert ((found - frames)[:, :3].abs() * seen).mean() < 0.01
    elif not name.startswith("exr"):  # which are linear light, so sRGB comes back
        allowed = 0.01 if name.startswith("prores") else 1.1e-5
        assert ((found - frames)[:, :3].abs() * seen).max() <= allowed


@pytest.mark.parametrize("name", [form.name for form in ALL])
@pytest.mark.parametrize("size", SIZES)
def test_a_matte_alone_comes_back_to_the_level_that_the_format_promises(tmp_path, name, size):
    form, frames = needs(name, 1), hairy(3, *size)
    found, _ = read(deliver(tmp_path, form, frames), alpha=form.encoder == "exr")
    matte = found[:, 3:] if form.encoder == "exr" else found[:, :1]
    assert (matte - frames).abs().max() <= MATTE_ERROR[name]
    assert (matte - frames).abs().mean() <= MEAN_ERROR.get(name, MATTE_ERROR[name])


@needs_ffmpeg
@pytest.mark.parametrize("name", [name for name in WITH_ALPHA if FORMATS[name].kind == "video"])
def test_other_programs_see_the_same_alpha(tmp_path, name):
    height, width = SIZES[1]
    form, frames = needs(name), subjects(3, height, width)
    path = deliver(tmp_path, form, frames)
    decoder = ["-c:v", "libvpx-vp9"] if name == "vp9" else []
    asked = ["-vf", "alphaextract", "-f", "rawvideo", "-pix_fmt", "gray16le", "-"]
    done = subprocess.run([FFMPEG, "-v", "error", *decoder, "-i", path, *asked], capture_output=True, check=True)
    found = np.frombuffer(done.stdout, "<u2").reshape(3, height, width) / 65535
    # FFmpeg's own tool makes 16 bits of 8, 10 and 12 by shifting
    assert np.abs(found - frames[:, 3].numpy()).max() <= ALPHA_ERROR[name] + 1 / 256


@pytest.mark.parametrize("name", [form.name for form in ALL])
def test_a_reader_knows_whether_its_file_has_alpha_before_it_reads_it(tmp_path, name):
    """Who asks for the alpha of a file without one gets an error, so who does not know must be able to ask."""
    with open_frames(deliver(tmp_path, needs(name, 1), subjects(2, 64, 96)[:, 3:]), 1) as reader:
        assert reader.has_alpha == name.startswith("exr"), "a matte in EXR is its alpha, too"
    if name in WITH_ALPHA:
        (tmp_path / "subject").mkdir()
        with open_frames(deliver(tmp_path / "subject", needs(name), subjects(2, 64, 96)), 1) as reader:
            assert reader.has_alpha and len(next(iter(reader))) == 3, "asking changes nothing"


@pytest.mark.parametrize("name", [name for name in WITH_ALPHA if name not in ("exr_half", "exr_float")])
def test_colour_that_a_file_says_is_premultiplied_is_read_straight(tmp_path, name):
    form, straight = needs(name), subjects(1, 64, 96)
    stored = torch.cat([straight[:, :3] * straight[:, 3:], straight[:, 3:]], 1)
    found, labels = read(deliver(tmp_path, form, stored, Labels(alpha="premultiplied", light="sRGB")))
    assert (labels.alpha, labels.light) == ("premultiplied", "srgb")
    solid = straight[:, 3:] > 0.9
    assert ((found - straight)[:, :3].abs() * solid).mean() < 0.01


def test_a_light_edge_of_hair_survives_vp9_better_than_any_lossy_setting(tmp_path):
    """The alpha of VP9 is exact although its colours are not: at crf 4 a pixel of hair was wrong by 12 levels."""
    form, frames = needs("vp9"), subjects(4, 64, 96)
    lossy, _ = read(
        deliver(tmp_path, replace(form, name="lossy", exact={}, options=form.options | {"crf": "4"}), frames)
    )
    exact, _ = read(deliver(tmp_path, form, frames))
    wrong = [float((found - frames)[:, 3].abs().max()) for found in (lossy, exact)]
    assert wrong[0] > 0.01 > wrong[1]
    if AlphaTrack.possible():
        whole = replace(form, name="whole", options=form.options | form.exact)
        assert (tmp_path / "vp9.webm").stat().st_size < deliver(tmp_path, whole, frames).stat().st_size


# ---- colours and labels --------------------------------------------------------------------------------------------


@needs_ffmpeg
@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize(
    ("colour", "words"),
    [(ColourTags(), ["bt709"] * 3), (HLG, ["bt2020", "arib-std-b67", "bt2020nc"]), (PQ, ["bt2020", "smpte2084", "bt2020nc"]),
     (ColourTags(5, 6, 5), ["bt470bg", "smpte170m", "bt470bg"])],
    ids=["sdr", "hlg", "pq", "pal"],
)  # fmt: skip
def test_the_colours_of_a_subject_are_those_that_its_tags_say(tmp_path, name, colour, words):
    channels = 4 if FORMATS[name].subject else 3
    form, frames = needs(name, channels), subjects(2, 64, 96)[:, :channels]
    path = deliver(tmp_path, form, frames, Labels(colour=colour))
    rgb = name == "ffv1"
    assert colour_tags(probed(path)[0]) == [*words[:2], "gbr" if rgb else words[2], "pc" if rgb else "tv"]
    found, labels = read(path, alpha=channels == 4)
    assert labels.colour == colour.written(rgb=rgb)
    assert (found - frames)[:, :3].abs().mean() < 0.01


@pytest.mark.parametrize("name", FILMS)
def test_a_matte_of_hdr_footage_is_tagged_as_what_it_is(tmp_path, name):
    form = needs(name, 1)
    labels = Labels(Fraction(2), colour=PQ, alpha="straight", light="PQ").of_mattes
    path = deliver(tmp_path, form, hairy(1, 64, 96), labels)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert [context.color_primaries, context.color_trc, context.colorspace] == [1, 1, 1]
        assert "alpha" not in {key.lower() for key in container.metadata}


def joined(folder, form, labels, source, rate, times, frames):
    """``frames`` through parts of a run to one file, with the sound of ``source``."""
    parts = Parts(folder / "parts")
    for start in range(0, len(frames), FRAMES):
        stop, staged = min(start + FRAMES, len(frames)), parts.stage()
        of_part = Labels(labels.pixel_aspect, colour=labels.colour)
        written(VideoWriter(staged / f"subject{form.part_suffix}", form, rate, of_part), frames[start:stop])
        parts.keep(staged, start, times[start:stop], Fraction(1, rate.numerator), last=stop == len(frames))
    path = folder / f"{form.name}{form.suffix}"
    join_videos(parts.finished(), f"subject{form.part_suffix}", path, source, labels, whole=True)
    shutil.rmtree(folder / "parts")
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A film with sound at each of two rates."""
    folder, steps = tmp_path_factory.mktemp("films"), [1001 * index for index in range(FRAMES + 3)]
    return {rate: write_film(folder / f"{rate.numerator}.mp4", steps, Fraction(1, rate.numerator)) for rate in RATES}


@needs_ffmpeg
@pytest.mark.parametrize(("name", "rate"), [*((name, RATE) for name in FILMS), ("vp9", NTSC), ("prores4444", NTSC)])
def test_what_is_put_together_has_the_frames_rate_colours_sound_and_place_of_its_source(tmp_path, films, name, rate):
    channels = 4 if FORMATS[name].subject else 3
    form, count, source = needs(name, channels), FRAMES + 3, films[rate]
    times = [1001 * index for index in range(count)]
    labels = Labels(Fraction(4, 3), Timecode.read("01:00:00:05", rate), "A1", HLG, "straight", "HLG")
    frames = subjects(count, 32, 48)[:, :channels]
    path = joined(tmp_path, form, labels, source, rate, times, frames)
    picture, sound, file, tags = probed(path)
    own = probed(source)
    matroska, rgb = form.suffix in (".mkv", ".webm"), name == "ffv1"
    assert int(picture["nb_read_packets"]) == count
    assert Fraction(picture["avg_frame_rate"]) == rate or (  # older PyAV counts in 1/90000 s
        OLD and not matroska and abs(Fraction(picture["avg_frame_rate"]) - rate) < 0.001
    )
    assert (picture.get("codec_tag_string") == form.tag) or not form.tag, "editors choose by it"
    assert colour_tags(picture)[:2] == ["bt2020", "arib-std-b67"]
    assert picture["color_space"] == ("gbr" if rgb else "bt2020nc")
    assert sound["codec_name"] == ("opus" if form.suffix == ".webm" else "aac")
    assert abs(float(file["duration"]) - float(own[2]["duration"])) < 0.05
    assert picture.get("sample_aspect_ratio") in ([None, "1:1"] if matroska else ["4:3"])
    if matroska or not OLD:
        assert tags["timecode"] == "01:00:00:05" and tags.get("reel_name") == (None if form.suffix == ".mp4" else "A1")
    assert (tags["alpha"], tags["light"]) == ("straight", "HLG")
    found, said = read(path, alpha=channels == 4)
    assert len(found) == count and (said.alpha, said.colour.transfer) == ("straight", 18)
    if channels == 4:
        assert (found - frames)[:, 3].abs().max() <= ALPHA_ERROR[name]
        later, _ = read(path, first=FRAMES - 2, last=FRAMES + 1)
        assert torch.equal(later, found[FRAMES - 2 : FRAMES + 2]), "decoded from the key frame of a part"


@pytest.mark.parametrize("name", FILMS)
def test_a_part_has_the_same_bytes_whoever_writes_it_and_with_however_many_threads(tmp_path, name, monkeypatch):
    """Else a resumed run would not give the file of an unbroken one."""
    channels = 4 if FORMATS[name].subject else 3
    form, frames, made = needs(name, channels), subjects(FRAMES + 1, 32, 48)[:, :channels], []
    opened, threads = VideoWriter.open, [0]

    def with_threads(self, shape):
        container = opened(self, shape)
        self.stream.codec_context.thread_count = threads[0]
        if self.alpha is not None:
            self.alpha.encoder.thread_count = threads[0]
        return container

    monkeypatch.setattr(VideoWriter, "open", with_threads)
    for threads[0] in (1, 5):
        times = list(range(len(frames)))
        made.append(joined(tmp_path, form, Labels(alpha="straight"), None, Fraction(25), times, frames).read_bytes())
    assert made[0] == made[1]


def test_times_that_vary_are_kept_as_each_container_counts_them(tmp_path):
    times = [1001 * index + 400 * (index // 3) for index in range(FRAMES + 2)]
    for name in ("vp9", "ffv1", "prores4444"):
        form = needs(name)
        path = joined(tmp_path, form, Labels(), None, RATE, times, subjects(len(times), 32, 48))
        with av.open(str(path)) as container:
            shown = [packet.pts * packet.time_base for packet in container.demux(video=0) if packet.size]
        tick = Fraction(1, 1000) if form.suffix != ".mov" else Fraction(int(OLD), 90000)
        assert max(abs(a - Fraction(b, 24000)) for a, b in zip(shown, times, strict=True)) <= tick / 2


# ---- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name", "sentence"),
    [
        ("a.mov", "vp9", r"VP9 \(.webm\) does not go into 'a.mov'; give it a name that ends in .webm"),
        ("folder", "h264", "give it a name that ends in .mp4"),
        ("a.mp4", "exr_half", "give it a folder name, or a name that ends in .exr"),
        ("a.mov", "prores", "there is no format 'prores'; there are prores4444"),
        ("a.avi", None, r"\.avi is not written; use \.mp4"),
        ("a.jpg", None, r"\.jpg is not written"),
        ("a.mvo", None, r"\.mvo is not written; use \.mp4"),
        ("a.xyz", "png16", "give it a folder name"),
    ],
)
def test_a_format_and_a_name_that_do_not_go_together_are_said(path, name, sentence):
    with pytest.raises(MediaError, match=sentence):
        format_for(path, name)


def test_every_format_is_found_by_its_name_and_its_suffix(tmp_path):
    for form in ALL:
        assert format_for(tmp_path / f"out{form.suffix}", form.name) is form
        assert format_for(tmp_path / f"out{form.suffix}").suffix == form.suffix
    (tmp_path / "shot.comp").mkdir()
    assert {format_for(tmp_path / name).name for name in ("shot_v1.2", "shot.v2", "shot.comp")} == {"png16"}
    assert format_for("a.exr", compression="dwaa").options == {"compression": "dwaa"}
    with pytest.raises(MediaError, match="only EXR has one"):
        format_for("a.mov", compression="zip")


@pytest.mark.parametrize("name", ["h264", "h264_10bit"])
def test_a_format_without_alpha_says_what_to_take_for_a_subject(tmp_path, name):
    with pytest.raises(MediaError, match=r"has no alpha\. For the subject with its alpha take prores4444, .*vp9"):
        deliver(tmp_path, FORMATS[name], subjects(1, 32, 48))
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_this_build_lacks_is_said_with_the_build_and_what_to_take():
    without = replace(FORMATS["vp9"], encoder="no_such_encoder")
    sentence = (
        rf"PyAV {av.__version__} with FFmpeg .* lacks the encoder no_such_encoder for subjects with alpha.*prores4444"
    )
    with pytest.raises(MediaError, match=sentence):
        refuse_missing(without, 4)
    with pytest.raises(MediaError, match=r"lacks the encoder prores_ks \(apxx\)"):
        refuse_missing(replace(FORMATS["prores4444"], tag="apxx"))


@given(st.integers(1, 8), st.integers(0, 10**6), st.integers(0, 10**6))
def test_pictures_get_the_numbers_of_their_pattern(digits, start, index):
    names = [numbered(f"shot_{word}_matte.exr", start)(index) for word in ("#" * digits, f"%0{digits}d")]
    assert names[0] == names[1] == f"shot_{start + index:0{digits}d}_matte"


@pytest.mark.parametrize("pattern", ["a.##.##.exr", "a.*.exr", "%d_####.png"])
def test_a_pattern_without_one_place_for_the_number_is_said(pattern):
    with pytest.raises(MediaError, match="one place for the number"):
        numbered(pattern)


# ---- PNG -----------------------------------------------------------------------------------------------------------


def test_png_says_hdr_and_notes_and_stays_as_it_was_for_mattes(tmp_path):
    matte, subject = hairy(1, 20, 30)[0], subjects(1, 20, 30)[0]
    assert png16(matte, Labels(colour=PQ).of_mattes) == png16(matte)
    assert b"cICP" not in png16(subject) and b"tEXt" not in png16(subject)
    content = png16(subject, Labels(colour=PQ, alpha="straight", light="PQ"))
    assert struct.pack(">I", 4) + b"cICP" + bytes((9, 16, 0, 1)) in content and b"tEXtalpha\0straight" in content
    (tmp_path / "a.png").write_bytes(content)
    with open_frames(tmp_path, alpha=True) as reader:
        assert (reader.labels.colour, reader.labels.alpha) == (ColourTags(9, 16, 0), "straight")
        (frame,) = list(reader)
        assert (frame - subject).abs().max() <= 1 / 65535
        assert (reader.shown(frame)[:3] - frame[:3]).abs().max() > 0.1, "a screen does not show PQ as it is"


# ---- what goes wrong -----------------------------------------------------------------------------------------------


@contextmanager
def small_disk():
    """A system on which no file may have more than 8,000 bytes, as if the disk were full there.

    Only inside ``with``: pytest writes its report of every test, perhaps to a file that is longer than that.
    """
    resource = pytest.importorskip("resource", reason="a full disk is NOT tested on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", [form.name for form in ALL])
def test_a_full_disk_is_a_sentence_and_leaves_no_file_under_the_final_name(tmp_path, name):
    channels = 4 if FORMATS[name].subject else 3
    form = needs(name, channels)
    noise = torch.rand(4, channels, 64, 96, generator=torch.Generator().manual_seed(0))
    with small_disk(), pytest.raises(MediaError, match="cannot be written"):
        deliver(tmp_path, form, noise)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", [form.name for form in ALL])
def test_a_folder_that_cannot_be_written_to_is_a_sentence(tmp_path, name):
    form = needs(name, 1)
    if not Path("/proc/self").exists():
        pytest.skip("folders that nobody may write to are NOT tested on this system")
    if form.kind == "pictures":
        with pytest.raises(MediaError, match="cannot be written"):
            deliver(Path("/proc/nothere"), form, hairy(1, 32, 48))
    else:
        writer = VideoWriter(Path(f"/proc/nothere/a{form.suffix}"), form, RATE)
        with pytest.raises(MediaError, match="cannot be written"):
            written(writer, hairy(1, 32, 48))


def test_frames_of_another_size_or_kind_are_refused(tmp_path):
    writer = VideoWriter(tmp_path / "a.mkv", FORMATS["ffv1"], RATE)
    with pytest.raises(MediaError, match=r"has frames \[1, 32, 48\]; one of \[4, 32, 48\] cannot follow"):
        written(writer, [torch.zeros(1, 32, 48), torch.zeros(4, 32, 48)])
    with pytest.raises(MediaError, match="not 2"):
        deliver(tmp_path, FORMATS["png16"], torch.zeros(1, 2, 32, 48))


def test_a_picture_that_is_interrupted_is_not_there(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gvm_core.media.sequence.png16", stop)
    with pytest.raises(KeyboardInterrupt):
        deliver(tmp_path, FORMATS["png16"], hairy(1, 32, 48))
    assert list((tmp_path / "png16").iterdir()) == []


def test_a_picture_says_by_itself_what_it_is(tmp_path):
    (tmp_path / "a.png").write_bytes(png16(subjects(1, 20, 30)[0], Labels(alpha="premultiplied")))
    straight = read_picture(tmp_path / "a.png", alpha=True)
    assert straight[:3].max() > 1, "colour was divided by alpha"
