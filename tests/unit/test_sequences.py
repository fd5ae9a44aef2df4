"""Pictures as they lie in folders: what a user loses here is frames, their order and time, a layer, or footage."""

import logging
import re
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import moving_clip, own_size, read_levels, write_exr, write_picture, write_video

from gvm_core import MattingPipeline, TorchHost, WindowPlan
from gvm_core.cli import main
from gvm_core.cli.shots import frame_rate
from gvm_core.errors import MediaError, MissingPackageError, NoSuchFrameError
from gvm_core.media import exr, open_frames
from gvm_core.media.sequence import png16, read_picture
from gvm_core.post.color import linear_to_srgb
from gvm_core.post.light import LIGHTS
from gvm_core.runs.makers import Matting
from gvm_core.runs.matte import matte_shot
from gvm_core.runs.parts import FRAMES
from gvm_core.runs.resume import run_key
from gvm_core.runs.shot import Shot

OLD = int(av.__version__.split(".")[0]) < 15
MAY_SHARE = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@pytest.fixture
def pipeline(tiny_model):
    return MattingPipeline(tiny_model, own_size(plan=WindowPlan(5, 2)), TorchHost("cpu"))


def empty(folder, *names):
    """A folder with empty files of these names: enough to choose among them."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def numbered(folder, name, numbers, pixels=None):
    """A folder with pictures of a moving clip, called ``name`` with each number."""
    folder.mkdir(exist_ok=True)
    for number, picture in zip(numbers, moving_clip(len(numbers), 16, 24), strict=True):
        path = folder / name.format(number)
        write_picture(path, picture, *([pixels] if pixels else ["yuvj444p"] if path.suffix == ".jpg" else []))
    return folder


def names(source, **options):
    with open_frames(source, **options) as reader:
        return [reader.names(index) for index in range(reader.first, reader.first + reader.count)]


# ---- which pictures belong together --------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["{}.%04d.png", "{}.####.png", "{}.%d.png", "{}.#.png", "{}.*", "{}*"])
def test_of_two_takes_in_a_folder_the_chosen_one_is_read_and_never_both(tmp_path, pattern):
    takes = [f"{name}.{number:04d}.png" for name in ("beauty", "depth") for number in range(1, 6)]
    two = empty(tmp_path / "two", *takes)
    with pytest.raises(MediaError, match=r"several sequences: beauty\.####\.png \(0001-0005\), depth\.####\.png"):
        open_frames(two)
    for name in ("beauty", "depth"):
        assert names(two / pattern.format(name)) == [f"{name}.{number:04d}" for number in range(1, 6)]


def test_the_refusal_names_a_choice_that_works(tmp_path):
    two = empty(tmp_path / "two", "s.v2.beauty.0009.exr", "s.v2.beauty.0010.exr", "s.v2.Z.9.exr", "s.v2.Z.10.exr")
    with pytest.raises(MediaError) as refused:
        open_frames(two)
    choice = Path(str(refused.value).rpartition("as in ")[2])
    assert choice.parent == two and names(choice) == ["s.v2.Z.9", "s.v2.Z.10"]


@given(
    st.lists(st.text("ab.-_ (é", min_size=1, max_size=4), min_size=1, max_size=3, unique=True),
    st.sampled_from([".png", ".EXR", ".jpg"]),
    st.integers(1, 5),
    st.sets(st.integers(0, 10**5), min_size=2, max_size=6),
)
@settings(max_examples=50, **MAY_SHARE)
def test_every_sequence_is_found_whole_and_in_order_by_its_pattern(tmp_path_factory, heads, suffix, digits, numbers):
    folder = tmp_path_factory.mktemp("any")
    for head in heads:
        empty(folder, *(f"x{head}{number:0{digits}d}{suffix}" for number in numbers))
    for head in heads:
        wanted = [f"x{head}{number:0{digits}d}" for number in sorted(numbers)]
        assert names(folder / f"x{head}#{suffix}", gaps="skip") == wanted
        assert names(folder / f"x{head}%0{digits}d{suffix}", gaps="skip") == wanted


def test_the_last_number_counts_unless_a_pattern_says_which(tmp_path):
    takes = empty(tmp_path / "takes", *(f"a{take}b{number}.png" for take in (1, 2) for number in (9, 10)))
    with pytest.raises(MediaError, match=r"a1b#\.png \(9-10\), a2b#\.png \(9-10\)"):
        open_frames(takes)
    assert names(takes / "a2b%d.png") == ["a2b9", "a2b10"]
    versions = empty(tmp_path / "versions", *(f"shot_{number:02d}_v3.png" for number in (1, 2, 4)))
    assert names(versions / "shot_%02d_v3.png") == [f"shot_{number:02d}_v3" for number in (1, 2, 3, 4)]


def test_stills_with_names_of_their_own_stay_one_clip(tmp_path):
    stills = empty(tmp_path / "stills", "tree.png", "face.jpg", "DSC_0007.jpg", "p_01f3.png", "²m.png")
    assert names(stills) == ["DSC_0007", "face", "p_01f3", "tree", "²m"]
    assert names(stills / "*.jpg") == ["DSC_0007", "face"]
    assert names(stills / "face.*") == ["face"]


@pytest.mark.parametrize("stranger", ["poster.jpg", "f.0001.jpg", "thumb_1.png"])
def test_a_picture_that_does_not_belong_is_no_frame(tmp_path, stranger):
    folder = empty(tmp_path / "shot", "f.0001.exr", "f.0002.exr", stranger)
    with pytest.raises(MediaError, match=rf"f\.####\.exr \(0001-0002\), {re.escape(stranger)}"):
        open_frames(folder)
    assert names(folder / "f.####.exr") == ["f.0001", "f.0002"]


@pytest.mark.parametrize(
    ("there", "asked", "sentence"),
    [
        (["a.1.png", "a.2.png"], "b.*", r"called b\.\*; there are a\.#\.png \(1-2\)"),
        (["a.1.png", "a.01.png"], "", "differ only in their suffix, or in zeros"),
        (["a.1.png", "a.1.PNG"], "", "differ only in their suffix"),
        (["a.png", "a.PNG"], "", "differ only in their suffix"),
        (["notes.txt"], "a.%04d.png", "no pictures in"),
        ([f"{name}.{number}.png" for name in "abcdefghijklmnop" for number in (1, 2)], "", "4 more"),
    ],
)
def test_a_choice_that_names_no_clip_or_two_is_refused_in_a_sentence(tmp_path, there, asked, sentence):
    folder = empty(tmp_path / "f", *there)
    if len(list(folder.iterdir())) < len(there):
        pytest.skip("names that differ in case were NOT tested: this disk does not tell them apart")
    with pytest.raises(MediaError, match=sentence):
        open_frames(folder / asked)


def test_a_file_or_folder_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    odd = numbered(tmp_path / "100%d #1", "take#.{:02d}.png", [1, 2])
    assert names(odd) == ["take#.01", "take#.02"]
    with open_frames(odd) as reader:
        assert len(list(reader)) == 2
    one = write_picture(tmp_path / "take#.png", moving_clip(1, 16, 24)[0])
    with open_frames(one) as reader:
        assert len(list(reader)) == 1
    with pytest.raises(MediaError, match="no pictures in"):
        open_frames(tmp_path / "nowhere" / "a.%04d.png")


def test_the_command_takes_a_pattern_and_mattes_no_other_sequence(tmp_path, tiny_folder):
    numbered(tmp_path / "two", "beauty.{:04d}.png", [8, 9, 10])
    numbered(tmp_path / "two", "depth.{:04d}.png", [8, 9])
    arguments = ["--model", str(tiny_folder), "--max-edge", "32"]
    assert main(["matte", str(tmp_path / "two"), str(tmp_path / "both.mkv"), *arguments]) == 1
    assert main(["matte", str(tmp_path / "two" / "beauty.%04d.png"), str(tmp_path / "one.mkv"), *arguments]) == 0
    assert len(read_levels(tmp_path / "one.mkv")) == 3 and not (tmp_path / "both.mkv").exists()
    with pytest.raises(MediaError, match="holds a single picture"):
        Shot(tmp_path / "two" / "beauty.####.png", tmp_path / "one.png")


# ---- gaps ----------------------------------------------------------------------------------------------------------


def test_a_gap_keeps_its_place_and_the_log_says_once_which_pictures_are_missing(tmp_path, caplog):
    gap = numbered(tmp_path / "gap", "s.{}.png", [998, 1001, 1002])
    with caplog.at_level(logging.INFO, "gvm_core"), open_frames(gap) as reader:
        frames = list(reader)
        assert reader.count == 5 and list(reader.times) == [0, 1, 2, 3, 4]
        open_frames(gap)
    assert torch.equal(frames[0], frames[1]) and torch.equal(frames[0], frames[2])
    assert not torch.equal(frames[2], frames[3]) and not torch.equal(frames[3], frames[4])
    assert names(gap) == ["s.998", "s.999", "s.1000", "s.1001", "s.1002"]
    (line,) = caplog.messages
    assert "s.###.png lacks 999-1000;" in line and "held" in line
    with open_frames(gap, 2, 3) as reader:
        assert [torch.equal(*pair) for pair in zip(reader, frames[2:4], strict=True)] == [True, True]
        assert [reader.names(2), reader.names(3)] == ["s.1000", "s.1001"]


@given(st.sets(st.integers(0, 60), min_size=2, max_size=30).filter(lambda n: max(n) - min(n) < 10 * len(n)))
@settings(max_examples=50, **MAY_SHARE)
def test_a_frame_is_the_picture_of_its_number_or_the_last_one_before(tmp_path_factory, numbers):
    folder = empty(tmp_path_factory.mktemp("gaps"), *(f"f{number}.png" for number in numbers))
    with open_frames(folder) as reader:
        for index, file in enumerate(reader.files):
            number = min(numbers) + index
            assert file.name == f"f{max(n for n in numbers if n <= number)}.png"
            assert reader.names(index) == f"f{number}"
        assert reader.count == max(numbers) - min(numbers) + 1
    assert names(folder, gaps="skip") == [f"f{number}" for number in sorted(numbers)]


def test_gaps_are_refused_or_skipped_where_the_user_says_so(tmp_path, tiny_folder, capsys):
    gap = numbered(tmp_path / "gap", "s.{:04d}.png", [1, 2, 4, 7])
    arguments = ["matte", str(gap), str(tmp_path / "m.mkv"), "--model", str(tiny_folder), "--max-edge", "32"]
    assert main([*arguments, "--gaps", "refuse"]) == 1
    assert "s.####.png lacks 3, 5-6" in capsys.readouterr().err
    assert main([*arguments, "--gaps", "skip"]) == 0
    assert len(read_levels(tmp_path / "m.mkv")) == 4
    whole = numbered(tmp_path / "whole", "s.{:04d}.png", [1, 2])
    assert names(whole, gaps="refuse") == ["s.0001", "s.0002"]


def test_numbers_that_are_no_frame_numbers_do_not_become_an_endless_clip(tmp_path):
    folder = empty(tmp_path / "f", "IMG_20240101.png", "IMG_20250101.png")
    with pytest.raises(MediaError, match="2 pictures, too few for 10001 numbers; --gaps skip"):
        open_frames(folder)
    assert len(names(folder, gaps="skip")) == 2


def test_mattes_of_held_frames_have_the_names_of_the_missing_pictures(tmp_path, pipeline):
    gap = numbered(tmp_path / "gap", "s.{:04d}.png", [9, 10, 12])
    assert matte_shot(Shot(gap, tmp_path / "out"), pipeline) == 4
    assert matte_shot(Shot(gap, tmp_path / "m.mkv"), pipeline) == 4
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == [f"s.{number:04d}.png" for number in (9, 10, 11, 12)]
    for path, levels in zip(written, read_levels(tmp_path / "m.mkv"), strict=True):
        assert np.array_equal(read_levels(path)[0], levels)


# ---- frames per second ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        *(("23.976", "24000/1001"), ("23.98", "24000/1001"), ("29.97", "30000/1001"), ("59.94", "60000/1001")),
        *(("24", "24"), ("24.00", "24"), ("25.0", "25"), ("30000/1001", "30000/1001"), ("12.5", "25/2")),
        *(("23.9", "239/10"), ("24.97", "2497/100")),
    ],
)
def test_a_frame_rate_is_exact(text, rate):
    assert frame_rate(text) == Fraction(rate)


@pytest.mark.parametrize(("asked", "rate"), [("23.976", Fraction(24000, 1001)), ("25", Fraction(25))])
def test_a_video_of_pictures_has_the_rate_that_was_asked_for(tmp_path, tiny_folder, asked, rate):
    folder = numbered(tmp_path / "in", "f.{:04d}.png", range(5))
    for suffix in (".mov", ".mp4"):
        arguments = ["matte", str(folder), str(tmp_path / f"m{suffix}"), "--model", str(tiny_folder)]
        assert main([*arguments, "--max-edge", "32", "--fps", asked]) == 0
        with av.open(str(tmp_path / f"m{suffix}")) as container:
            times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
            tick = Fraction(1, 90000)  # of older PyAV; newer gives exact times
            assert all(abs(time - i / rate) <= (tick if OLD else 0) for i, time in enumerate(times)) and len(times) == 5
            assert OLD or container.streams.video[0].average_rate == rate


@pytest.mark.parametrize(("asked", "sentence"), [("0", "more than 0 frames"), ("-5", "more than 0 frames")])
def test_a_rate_that_is_none_is_refused(tmp_path, asked, sentence, capsys):
    folder = empty(tmp_path / "f", "a.1.png", "a.2.png")
    assert main(["matte", str(folder), str(tmp_path / "m.mkv"), f"--fps={asked}"]) == 1
    assert sentence in capsys.readouterr().err
    for text in ("fast", "1/0"):
        with pytest.raises(SystemExit):
            main(["matte", str(folder), str(tmp_path / "m.mkv"), "--fps", text])
        assert f"'{text}' is not a frame rate" in capsys.readouterr().err


def test_a_video_keeps_its_own_times_and_has_no_layers(tmp_path):
    video = write_video(tmp_path / "clip.mp4", moving_clip(3))
    for options in ({"fps": 25}, {"layer": "beauty"}):
        with pytest.raises(MediaError, match=r"has its own times and no layers: --fps is for folders"):
            open_frames(video, **options)
    folder = empty(tmp_path / "f", "a.1.png", "a.2.png")
    with pytest.raises(MediaError, match=r"no layers to choose from \(--layer\)"):
        open_frames(folder, layer="beauty")


# ---- formats -------------------------------------------------------------------------------------------------------


def encoded(path, codec, pixels, levels):
    """One picture ``[H, W, C]`` in a file, by one of FFmpeg's encoders."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = levels.shape[:2]
    encoder.pix_fmt, encoder.time_base = pixels, Fraction(1)
    if codec == "jpeg2000":
        encoder.options = {"pred": "dwt53"}
    frame = av.VideoFrame.from_ndarray(levels, format=pixels.replace("48be", "48le")).reformat(format=pixels)
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))
    return path


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels", "top"),
    [
        *((".tga", "targa", "bgr24", 255), (".tga", "targa", "bgra", 255), (".tga", "targa", "gray", 255)),
        *((".jp2", "jpeg2000", "rgb24", 255), (".ppm", "ppm", "rgb24", 255), (".ppm", "ppm", "rgb48be", 65535)),
    ],
)
def test_every_level_of_other_pictures_is_read(tmp_path, suffix, codec, pixels, top):
    wanted = np.random.default_rng(0).integers(0, top + 1, (16, 24, 3)).astype(np.uint8 if top == 255 else np.uint16)
    stored = {"gray": wanted[..., 0], "bgr24": wanted[..., ::-1]}.get(pixels, wanted)
    if pixels == "bgra":
        stored = np.concatenate([wanted[..., ::-1], wanted[..., :1]], axis=-1)
    folder = tmp_path / "50%done #2"
    folder.mkdir()
    for number in (1, 2):
        encoded(folder / f"f.{number}{suffix}", codec, pixels, np.ascontiguousarray(stored))
    with open_frames(folder) as reader:
        frames = list(reader)
    levels = torch.from_numpy(wanted.astype(np.float32)).movedim(-1, 0)
    levels = levels[:1].expand(3, -1, -1) if pixels == "gray" else levels
    assert len(frames) == 2 and (frames[1] * top - levels).abs().max() < 0.01


def test_a_radiance_picture_is_linear_light_and_not_clamped(tmp_path):
    linear = torch.tensor([0.25, 1.0, 4.0])[:, None, None].expand(3, 8, 16)
    (tmp_path / "f").mkdir()
    pixels = bytes([8, 32, 128, 131])  # mantissas of 256ths, and the exponent 3
    body = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 8 +X 16\n" + pixels * 128
    for path in (tmp_path / "f" / "sky.hdr", tmp_path / "f"):
        (tmp_path / "f" / "sky.hdr").write_bytes(body)
        with open_frames(path) as reader:
            (frame,) = reader
        assert torch.equal(frame, linear), "the file's own numbers"
        assert torch.allclose(reader.shown(frame), LIGHTS["linear"].to_srgb(linear))


# ---- the source's own folder ---------------------------------------------------------------------------------------


def test_jobs_put_mattes_beside_their_own_pictures_and_matte_no_matte(tmp_path, pipeline):
    source = numbered(tmp_path / "jpg", "f.{:04d}.jpg", range(1, 7))
    assert matte_shot(Shot(source, tmp_path / "elsewhere"), pipeline) == 6
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    for first, last in ((0, 0), (1, 3), (4, None)):
        matte_shot(Shot(source, source, first=first, last=last), pipeline)
    with pytest.raises(MediaError, match=r"f\.0004\.png exists already"):
        matte_shot(Shot(source, source, first=3), pipeline)
    with pytest.raises(MediaError, match=r"f\.0001\.png exists already"):
        matte_shot(Shot(source, source), pipeline)
    made = {path.name: path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()}
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before | made
    assert matte_shot(Shot(source, source), pipeline, overwrite=True) == 6
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before | made
    assert names(source) == [f"f.{number:04d}" for number in range(1, 7)]
    assert names(source / "f.*.png") == [f"f.{number:04d}" for number in range(1, 7)]


def test_a_whole_shot_goes_into_its_own_folder_and_pictures_are_never_their_own_mattes(tmp_path, pipeline):
    stills = numbered(tmp_path / "stills", "still-{}.jpg", [7])
    assert matte_shot(Shot(stills, stills), pipeline) == 1
    assert names(stills) == ["still-7"] and (stills / "still-7.png").exists()
    plates = numbered(tmp_path / "png", "f.{:04d}.png", [1, 2])
    for source in (plates, plates / "f.####.png"):
        with pytest.raises(MediaError, match="would replace the pictures"):
            Shot(source, plates, first=0, last=0)


@pytest.mark.parametrize(
    ("pixels", "numbers", "told"),
    [("rgb48be", [1, 2], "several sequences"), ("gray16be", [2, 3, 4], "several sequences"), ("gray16be", [1, 3], "")],
)
def test_only_mattes_of_the_same_pictures_are_left_out(tmp_path, pixels, numbers, told, caplog):
    folder = numbered(tmp_path / "f", "f.{}.jpg", [1, 2, 3])
    for number in numbers:
        picture = moving_clip(1, 16, 24)[0]
        (folder / f"f.{number}.png").write_bytes(png16(picture[:1] if pixels == "gray16be" else picture))
    if told:
        with pytest.raises(MediaError, match=told):
            open_frames(folder)
    else:
        with caplog.at_level(logging.INFO, "gvm_core"):
            assert names(folder) == ["f.1", "f.2", "f.3"]
        assert "f.#.png is 16-bit grey, so it is taken for mattes" in caplog.text


class Stopped(Exception):
    """Someone pressed stop."""


def stopped_after(count):
    def advance(frames, alpha=None, *, resumed=False):
        nonlocal count
        count -= frames
        if count < 0:
            raise Stopped

    return advance


@pytest.mark.slow
def test_a_stopped_job_goes_on_though_another_put_its_mattes_into_the_folder(tmp_path, pipeline):
    source = numbered(tmp_path / "jpg", "f.{:04d}.jpg", range(60))
    job = Shot(source, source, first=10)
    with pytest.raises(Stopped):
        matte_shot(job, pipeline, stopped_after(FRAMES))
    matte_shot(Shot(source, source, last=9), pipeline)
    resumed = []
    matte_shot(job, pipeline, lambda n, alpha=None, *, resumed=False, to=resumed: to.append(n) if resumed else None)
    assert resumed and sum(resumed) >= FRAMES - 10
    assert matte_shot(Shot(source, tmp_path / "whole"), pipeline) == 60
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (source / path.name).read_bytes()


def test_a_run_does_not_go_on_with_frames_of_another_sequence_rate_or_layer(tmp_path, pipeline):
    folder = numbered(tmp_path / "two", "a.{}.png", [1, 2, 4])
    numbered(folder, "b.{}.png", [1, 2, 4])
    shots = [
        Shot(folder / "a.#.png", tmp_path / "m.mkv", **more)
        for more in ({}, {"fps": 25}, {"gaps": "skip"}, {"strict": True})
    ]
    shots.append(Shot(folder / "b.#.png", tmp_path / "m.mkv"))
    keys = [run_key(shot, Matting(pipeline)) for shot in shots]
    assert len(set(keys)) == 5 and run_key(Shot(folder / "a.%d.png", tmp_path / "m.mkv"), Matting(pipeline)) == keys[0]
    (folder / "a.7.png").write_bytes((folder / "a.1.png").read_bytes())
    assert run_key(shots[0], Matting(pipeline)) != keys[0] and run_key(shots[-1], Matting(pipeline)) == keys[-1]
    one = write_exr(tmp_path / "one.exr", planes("x.", "RGB") | planes("y.", "RGB"))
    layers = [Shot(one, tmp_path / "m.mkv", layer=layer) for layer in ("x", "y")]
    assert len({run_key(shot, Matting(pipeline)) for shot in layers}) == 2


@pytest.mark.slow
def test_workers_of_a_cluster_read_the_chosen_sequence_in_the_folder_of_its_mattes(tmp_path, tiny_folder, monkeypatch):
    pytest.importorskip("ray", reason="sequences over several workers are NOT tested: Ray is not installed")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    source = numbered(tmp_path / "two", "a.{:04d}.jpg", [*range(1, 40), *range(42, 71)])
    numbered(source, "b.{:04d}.jpg", [1, 2])
    common = ["--model", str(tiny_folder), "--max-edge", "32", "--device", "cpu", "--threads", "1"]
    pattern = str(source / "a.####.jpg")
    assert main(["matte", pattern, str(tmp_path / "alone"), *common]) == 0
    assert main(["matte", pattern, str(source), "--frames", "0-4", *common]) == 0
    assert main(["matte", pattern, str(source), "--frames", "5-", "--ray", "--workers", "2", *common]) == 0
    made = sorted(source.glob("*.png"))
    assert [path.name for path in made] == [f"a.{number:04d}.png" for number in range(1, 71)]
    for path in made:
        assert path.read_bytes() == (tmp_path / "alone" / path.name).read_bytes()


# ---- EXR -----------------------------------------------------------------------------------------------------------


def planes(prefix, letters, height=12, width=20):
    """Channels with different values everywhere."""
    random = np.random.default_rng(sum(map(ord, prefix + letters)))
    return {prefix + letter: random.uniform(0, 3, (height, width)).astype(np.float32) for letter in letters}


def stack(channels, prefix, letters):
    return torch.from_numpy(np.stack([channels[prefix + letter] for letter in letters]))


@pytest.fixture(params=["OpenEXR", "FFmpeg"])
def decoder(request, monkeypatch):
    """Both ways to read EXR."""
    if request.param == "OpenEXR":
        pytest.importorskip("OpenEXR", reason="EXR by the OpenEXR package is NOT tested: it is not installed")
        assert exr.library() is not None, "this OpenEXR is too old"
    else:
        monkeypatch.setattr(exr, "library", lambda: None)
    return request.param


LAYERS = {
    **planes("ViewLayer.Combined.", "RGBA"),
    **planes("ViewLayer.DiffCol.", "RGB"),
    **planes("ViewLayer.Depth.", "Z"),
    **planes("Composite.Sky.", "RGB"),
}


def test_the_picture_among_a_renderers_layers_is_found_and_any_other_by_name(tmp_path, decoder):
    path = write_exr(tmp_path / "r.0001.exr", LAYERS)
    combined = stack(LAYERS, "ViewLayer.Combined.", "RGB")
    assert torch.equal(exr.read_exr(path), combined)
    assert torch.equal(read_picture(path), linear_to_srgb(combined))
    for layer in ("ViewLayer.DiffCol", "DiffCol"):
        assert torch.equal(exr.read_exr(path, layer), stack(LAYERS, "ViewLayer.DiffCol.", "RGB"))
    assert torch.equal(exr.read_exr(path, alpha=True), stack(LAYERS, "ViewLayer.Combined.", "RGBA"))
    with pytest.raises(MediaError, match=r"r\.0001\.exr has no layers called 'Normal'; it holds .*Depth \(Z\)"):
        exr.read_exr(path, "Normal")
    with pytest.raises(MediaError, match="has no alpha channel"):
        exr.read_exr(path, "DiffCol", alpha=True)
    assert [open_frames(path, layer=layer).has_alpha for layer in (None, "DiffCol")] == [True, False]
    with pytest.raises(MediaError, match="has no layers called 'Normal'"):
        assert open_frames(path, layer="Normal").has_alpha


@pytest.mark.parametrize("output", ["m.mkv", "o.png"])
def test_the_command_mattes_the_layer_that_was_asked_for(tmp_path, tiny_folder, output, decoder):
    path = write_exr(tmp_path / "r.exr", LAYERS)
    only = write_exr(tmp_path / "only.exr", {name[-1]: LAYERS[name] for name in planes("Composite.Sky.", "RGB")})
    common = ["--model", str(tiny_folder), "--max-edge", "32"]
    assert main(["matte", str(path), str(tmp_path / f"layer{output}"), "--layer", "Sky", *common]) == 0
    assert main(["matte", str(only), str(tmp_path / f"only{output}"), *common]) == 0
    assert np.array_equal(*(read_levels(tmp_path / f"{name}{output}")[0] for name in ("layer", "only")))


def test_plain_channels_are_the_picture_whatever_else_is_there(tmp_path, decoder):
    channels = planes("", "RGBA") | planes("depth.", "Z") | planes("beauty.", "RGB") | planes("mask.", "R")
    path = write_exr(tmp_path / "n.exr", channels)
    assert torch.equal(exr.read_exr(path), stack(channels, "", "RGB"))
    grey = write_exr(tmp_path / "y.exr", planes("", "Y"))
    assert torch.equal(exr.read_exr(grey), stack(planes("", "Y"), "", "YYY"))


def test_layers_that_are_all_alike_are_not_guessed_at(tmp_path, decoder):
    path = write_exr(tmp_path / "l.exr", planes("left.", "RGB") | planes("right.", "RGB") | planes("motion.", "XY"))
    with pytest.raises(MediaError, match=r"choose one of the layers .*\(--layer NAME\); it holds left \(B, G, R\), mo"):
        exr.read_exr(path)
    with pytest.raises(MediaError, match=r"the layer motion \(X, Y\) of .* is no picture"):
        exr.read_exr(path, "motion")
    twice = write_exr(tmp_path / "t.exr", planes("a.left.", "RGB") | planes("b.left.", "RGB"))
    with pytest.raises(MediaError, match="has 2 layers called 'left'"):
        exr.read_exr(twice, "left")


@pytest.mark.parametrize("corner", [(-4, 3), (5, 6), (-3, -2), (0, 0), (100, 3), (3, -50), (26, 15)])
@pytest.mark.parametrize("begin", [(0, 0), (2, 1)])
def test_pixels_stand_where_the_file_says_and_elsewhere_is_nothing(tmp_path, decoder, corner, begin):
    channels = planes("", "RGBA")
    path = write_exr(tmp_path / "w.exr", channels, corner, display=(*begin, 31, 18))
    if decoder == "FFmpeg" and begin != (0, 0):  # which shifts the pixels
        with pytest.raises(MediaError, match=r"window does not begin at 0, 0.*pip install"):
            exr.read_exr(path)
        return
    canvas = torch.zeros(4, 400, 400)
    left, top = corner[0] + 200, corner[1] + 200
    canvas[:, top : top + 12, left : left + 20] = stack(channels, "", "RGBA")
    wanted = canvas[:, 200 + begin[1] : 219, 200 + begin[0] : 232]
    assert torch.equal(exr.read_exr(path, alpha=True), wanted)


def test_what_ffmpeg_refuses_says_what_the_file_holds_and_what_reads_it(tmp_path, monkeypatch):
    path = write_exr(tmp_path / "r.exr", LAYERS)
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(MediaError, match=r"r\.exr cannot be read.*pip install 'OpenEXR>=3\.3'.*ViewLayer\.Depth \(Z\)"):
        read_picture(path, layer="Depth")


def test_openexr_reads_every_compression_every_part_and_single_channels(tmp_path):
    openexr = pytest.importorskip("OpenEXR", reason="EXR by the OpenEXR package is NOT tested: it is not installed")
    assert torch.equal(
        exr.read_exr(write_exr(tmp_path / "r.exr", LAYERS), "Depth"), stack(LAYERS, "ViewLayer.Depth.", "ZZZ")
    )
    picture = np.ascontiguousarray(moving_clip(1, 40, 48)[0].movedim(0, -1).numpy())
    kinds = [name for name in dir(openexr) if name.endswith("_COMPRESSION") and "NUM" not in name]
    assert len(kinds) >= 10
    for kind in kinds:
        for depth in (np.float16, np.float32):
            stored = {"RGB": picture.astype(depth)}
            openexr.File({"compression": getattr(openexr, kind)}, stored).write(str(tmp_path / "c.exr"))
            found = exr.read_exr(tmp_path / "c.exr").movedim(0, -1).numpy()
            assert np.abs(found - picture).max() < 0.02, kind
    parts = [openexr.Part({"name": name}, {"RGB": picture * (i + 1)}) for i, name in enumerate(("rgba", "glow", "fog"))]
    openexr.File([*parts, openexr.Part({"name": "depth"}, {"Z": picture[..., 0].copy()})]).write(
        str(tmp_path / "p.exr")
    )
    for name, scale in ((None, 1), ("rgba", 1), ("glow", 2), ("fog", 3)):
        assert np.allclose(exr.read_exr(tmp_path / "p.exr", name).movedim(0, -1).numpy(), picture * scale, atol=1e-3)
    assert np.allclose(exr.read_exr(tmp_path / "p.exr", "depth")[1].numpy(), picture[..., 0], atol=1e-3)


def test_one_bad_value_costs_neither_the_film_nor_the_frame(tmp_path, decoder, caplog):
    (tmp_path / "f").mkdir()
    for number in (1, 2):
        channels = planes("", "RGB")
        if number == 2:
            channels["R"][3, 4], channels["G"][5, 6], channels["B"][7, 8] = np.nan, np.inf, -np.inf
        write_exr(tmp_path / "f" / f"f.{number}.exr", channels)
    with open_frames(tmp_path / "f") as reader:
        good, bad = reader
    assert torch.isfinite(bad).all()
    assert [bad[0, 3, 4], bad[1, 5, 6], bad[2, 7, 8]] == pytest.approx([0, 1, 0])
    assert int((good != bad).sum()) == 3
    (line,) = caplog.messages
    assert "f.2.exr has 3 values" in line
    with open_frames(tmp_path / "f", strict=True) as reader, pytest.raises(MediaError, match=r"f\.2\.exr has 3 values"):
        list(reader)


@given(st.data())
@settings(max_examples=150, **MAY_SHARE)
def test_a_damaged_exr_is_refused_in_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.exr"
    whole = bytearray(write_exr(path, planes("layer.", "RGB", 4, 4)).read_bytes())
    for place in data.draw(st.lists(st.integers(0, 420), max_size=3)):
        whole[place] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    told = str(path)
    try:
        exr.choose(exr.layers_of(path), path, None)
    except MediaError as error:
        told = str(error)
    assert str(path) in told


# ---- animated WebP -------------------------------------------------------------------------------------------------


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image", reason="animated WebP is NOT tested: Pillow is not installed")


def animated(pillow, path, durations, mode="RGB"):
    """An animated WebP without loss, and its frames ``[T, C, H, W]``."""
    random = np.random.default_rng(0)
    levels = random.integers(1, 256, (len(durations), 12, 20, len(mode))).astype(np.uint8)  # no colour without alpha
    first, *others = (pillow.fromarray(each, mode) for each in levels)
    first.save(path, save_all=True, append_images=others, duration=durations, lossless=True, exact=True)
    return torch.from_numpy(levels.astype(np.float32) / 255).movedim(-1, 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_animated_webp_gives_every_frame_at_its_time(tmp_path, pillow, mode):
    wanted = animated(pillow, tmp_path / "a.webp", [40, 80, 40, 120], mode)
    with open_frames(tmp_path / "a.webp", alpha=mode == "RGBA") as reader:
        assert torch.equal(torch.stack(list(reader)), wanted) and reader.count == 4
        assert reader.has_alpha == (mode == "RGBA")
        assert [time * reader.time_base for time in reader.times] == [Fraction(t, 1000) for t in (0, 40, 120, 160)]
        assert reader.rate == Fraction(100, 7)
    with open_frames(tmp_path / "a.webp", 1, 2) as reader:
        assert torch.equal(torch.stack(list(reader)), wanted[1:3, :3])
        assert reader.count == 2 and len(reader.times) == 3 and reader.names(1) == "a_matte.000001"
    with pytest.raises(NoSuchFrameError, match="has 4 frames; there is no frame 4"):
        open_frames(tmp_path / "a.webp", 4)


def test_the_matte_of_an_animated_webp_has_its_frames_and_times(tmp_path, pillow, pipeline):
    animated(pillow, tmp_path / "a.webp", [40, 40, 100, 40])
    assert matte_shot(Shot(tmp_path / "a.webp", tmp_path / "m.mov"), pipeline) == 4
    with av.open(str(tmp_path / "m.mov")) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert times == [Fraction(time, 1000) for time in (0, 40, 80, 180)]
    assert matte_shot(Shot(tmp_path / "a.webp", tmp_path / "out", first=1), pipeline) == 3


def test_a_webp_that_cannot_be_read_says_why(tmp_path, pillow, monkeypatch):
    animated(pillow, tmp_path / "a.webp", [0, 40])
    with open_frames(tmp_path / "a.webp", alpha=True) as reader, pytest.raises(MediaError, match="no alpha channel"):
        list(reader)
    assert open_frames(tmp_path / "a.webp").rate == Fraction(2000, 140)
    content = (tmp_path / "a.webp").read_bytes()
    (tmp_path / "cut.webp").write_bytes(content[: len(content) * 3 // 4])
    with open_frames(tmp_path / "cut.webp") as reader, pytest.raises(MediaError, match=r"cut\.webp is damaged"):
        list(reader)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingPackageError, match="pip install pillow"):
        open_frames(tmp_path / "a.webp")


def test_a_damaged_animated_webp_keeps_its_count_and_says_where_it_is_damaged(tmp_path, pillow, caplog):
    animated(pillow, tmp_path / "a.webp", [40, 40, 40, 40])
    content = bytearray((tmp_path / "a.webp").read_bytes())
    picture = content.rfind(b"VP8")
    content[picture + 14 : picture + 20] = bytes([0xFF] * 6)
    (tmp_path / "bad.webp").write_bytes(content)
    with open_frames(tmp_path / "bad.webp") as reader:
        frames = list(reader)
        assert len(frames) == reader.count == 4
    assert torch.equal(frames[3], frames[2]) and not torch.equal(frames[0], frames[1])
    assert "damaged from frame 3 on" in caplog.text
    with open_frames(tmp_path / "bad.webp", strict=True) as reader, pytest.raises(MediaError, match="at frame 3"):
        list(reader)


def test_still_webp_and_animated_gif_are_read_as_before(tmp_path, pillow):
    frames = [pillow.new("RGB", (20, 12), (40 * number, 0, 200)) for number in range(4)]
    frames[1].save(tmp_path / "still.webp", lossless=True)
    for suffix in ("png", "gif"):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=100)
    with open_frames(tmp_path / "still.webp") as reader:
        (still,) = reader
    assert torch.allclose(still[:, 0, 0] * 255, torch.tensor([40.0, 0, 200]))
    for suffix in ("png", "gif"):
        with open_frames(tmp_path / f"a.{suffix}") as reader:
            assert [round(float(frame[0, 0, 0]) * 255) for frame in reader] == [0, 40, 80, 120]
            assert [b - a for a, b in pairwise(t * reader.time_base for t in reader.times)] == [Fraction(1, 10)] * 3
