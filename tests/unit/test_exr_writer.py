"""EXR pictures as we write them: what a user loses here is light above white, a layer, or what Nuke knows of the shot."""

import struct
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gvm_core.errors import MediaError, MissingPackageError
from gvm_core.media import exr, open_frames
from gvm_core.media.colours import PRIMARIES, ColourTags
from gvm_core.media.exr import layers_of, library, read_exr
from gvm_core.media.exr_writer import COMPRESSIONS, LARGEST, write_exr
from gvm_core.media.formats import FORMATS, format_for
from gvm_core.media.sequence import SequenceWriter, numbered
from gvm_core.media.timecode import COUNTED, Labels, Timecode, from_clock
from gvm_core.post.color import srgb_to_linear

needs_package = pytest.mark.skipif(library() is None, reason="what OpenEXR reads in our EXR files is NOT tested")
OURS = ["none", "zips", "zip"]
LABELS = Labels(
    Fraction(2), Timecode.read("10:00:59;28", Fraction(30000, 1001)), "A001C003", ColourTags(9, 8, 0), "premultiplied", "linear"
)  # fmt: skip


def subject(height=40, width=56, seed=0):
    """A premultiplied subject ``[4, H, W]`` in linear light, with values below 0 and up to 8."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(4, height, width, generator=generator)
    picture[:3] *= picture[3:]
    picture[0, 1, 1], picture[1, 2, 2], picture[3, 1:3, 1:3] = 8.0, -0.25, 1.0
    return picture


def stored(path):
    """The header and the channels ``[H, W]`` of a file, as the OpenEXR package reads them."""
    with library().File(str(path), separate_channels=True) as file:
        part = file.parts[0]
        return dict(part.header), {name: np.array(each.pixels) for name, each in part.channels.items()}


@needs_package
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["half", "float"])
def test_the_reference_library_reads_every_channel_and_attribute(tmp_path, compression, kind):
    picture, garbage = subject(), torch.rand(1, 40, 56, generator=torch.Generator().manual_seed(1))
    path = tmp_path / "a.exr"
    rate = Fraction(30000, 1001)
    write_exr(path, picture, kind, compression, LABELS, rate=rate, layers={"garbage": garbage})
    header, channels = stored(path)
    assert sorted(channels) == ["A", "B", "G", "R", "garbage.A"]
    exact = picture.numpy().astype("f2" if kind == "half" else "f4")
    assert channels["A"].dtype == exact.dtype and np.array_equal(channels["A"], exact[3])
    assert np.array_equal(channels["garbage.A"], garbage[0].numpy().astype(exact.dtype)), "mattes are exact in DWA, too"
    wrong = max(np.abs(channels[letter] - exact[place]).max() for place, letter in enumerate("RGB"))
    assert 0 < wrong < 0.3 if compression.startswith("dwa") else wrong == 0
    called = "NO" if compression == "none" else compression.upper()
    assert f"{called}_COMPRESSION" in str(header["compression"]) and header["pixelAspectRatio"] == 2
    assert header["framesPerSecond"] == rate
    clock = header["timeCode"]
    assert (clock.hours, clock.minutes, clock.seconds, clock.frame, bool(clock.dropFrame)) == (10, 0, 59, 28, True)
    assert header["reelName"] == "A001C003" and (header["alpha"], header["light"]) == ("premultiplied", "linear")
    assert np.allclose(header["chromaticities"], PRIMARIES[9], atol=1e-6)


@pytest.mark.parametrize("package", [True, False], ids=["OpenEXR", "FFmpeg"])
@pytest.mark.parametrize("compression", [*OURS, "piz"])
def test_light_above_white_and_below_black_comes_back_with_either_reader(tmp_path, monkeypatch, package, compression):
    if library() is None and (package or compression == "piz"):
        pytest.skip("what OpenEXR reads in our EXR files is NOT tested")
    picture, path = subject(), tmp_path / "a.exr"
    write_exr(path, picture, "half", compression, LABELS)
    if not package:
        monkeypatch.setattr(exr, "library", lambda: None)
    found = read_exr(path, alpha=True)
    assert (found - picture).abs().max() <= 0.00025 and found[0, 1, 1] == 8 and found[1, 2, 2] == -0.25
    matte = picture[3:]
    write_exr(path, matte, "half", compression)
    assert (read_exr(path, alpha=True) - matte).abs().max() <= 0.00025, "a matte is in R, G, B and A"


@pytest.mark.parametrize("name", ["exr_half", "exr_float"])
def test_a_sequence_of_subjects_reads_back_as_straight_linear_light_with_its_labels(tmp_path, name):
    """The timecode goes on from picture to picture."""
    straight = torch.rand(4, 24, 32, generator=torch.Generator().manual_seed(2)).clamp(0.1, 1)
    linear = torch.cat([srgb_to_linear(straight[:3]) * straight[3:], straight[3:]])
    rate = Fraction(30000, 1001)
    options = {"form": FORMATS[name], "labels": LABELS, "rate": rate}
    with SequenceWriter(tmp_path / "out", numbered("shot.####.exr"), **options) as writer:
        for _ in range(4):
            writer.write(linear)
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [f"shot.{1001 + i}.exr" for i in range(4)]
    with open_frames(tmp_path / "out", 2, alpha=True) as reader:
        frames, labels = list(reader), reader.labels
        assert reader.rate == rate and len(frames) == 2
    assert str(labels.timecode) == "10:01:00;02" and labels.pixel_aspect == 2 and labels.reel == "A001C003"
    assert (labels.colour.primaries, labels.alpha, labels.light) == (9, "premultiplied", "linear")
    wanted = torch.cat([srgb_to_linear(straight[:3]), straight[3:]])
    assert (frames[0] - wanted).abs().max() <= (0.003 if name == "exr_half" else 1e-5)


def test_a_plate_whose_alpha_was_saved_empty_keeps_its_picture(tmp_path):
    """Some programs write an alpha of 0 for a plate that has none."""
    picture = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(3)) * 4
    picture[3] = 0
    write_exr(tmp_path / "a.exr", picture, "float")
    with open_frames(tmp_path / "a.exr", alpha=True) as reader:
        assert torch.equal(next(iter(reader)), picture)


def test_colour_that_a_file_says_is_straight_or_display_light_stays_as_it_is(tmp_path):
    picture = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(3))
    write_exr(tmp_path / "a.exr", picture, "float", labels=Labels(alpha="straight", light="sRGB"))
    with open_frames(tmp_path / "a.exr", alpha=True) as reader:
        assert torch.equal(next(iter(reader)), picture)


def test_layers_need_no_package_and_are_found_by_their_names(tmp_path, monkeypatch):
    mattes = {name: torch.rand(1, 12, 20) for name in ("holdout", "garbage", "core_2", "a" * 40)}
    write_exr(tmp_path / "a.exr", subject(12, 20), layers=mattes)
    assert {layer.name for layer in layers_of(tmp_path / "a.exr")} == {"", *mattes}
    if library() is None:
        pytest.skip("what OpenEXR reads in our EXR files is NOT tested")
    for name, matte in mattes.items():
        assert (read_exr(tmp_path / "a.exr", name)[:1] - matte).abs().max() <= 0.00025
    monkeypatch.setattr(exr, "library", lambda: None)
    assert (read_exr(tmp_path / "a.exr", alpha=True) - subject(12, 20)).abs().max() <= 0.00025


@pytest.mark.parametrize("name", ["1st", "my matte", "a.b", "", "rgba", "Alpha", "素材"])
def test_a_layer_that_nuke_would_rename_is_refused(tmp_path, name):
    with pytest.raises(MediaError, match="cannot be the name of an EXR layer"):
        write_exr(tmp_path / "a.exr", subject(), layers={name: torch.rand(1, 40, 56)})
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said(tmp_path):
    path = tmp_path / "a.exr"
    with pytest.raises(MediaError, match=r"the layer core is \[1, 4, 4\], but must be \[1, 40, 56\]"):
        write_exr(path, subject(), layers={"core": torch.rand(1, 4, 4)})
    with pytest.raises(MediaError, match="no compression 'rar' here; use none, zips, zip, piz"):
        SequenceWriter(tmp_path / "out", str, form=format_for("a.exr", compression="rar"))
    with pytest.raises(MediaError, match="an EXR needs 1 channel"):
        write_exr(path, torch.rand(2, 4, 4))
    with pytest.raises(MediaError, match="has no layers for core; EXR has them"):
        SequenceWriter(tmp_path / "out", str).write(torch.rand(1, 4, 4), {"core": torch.rand(1, 4, 4)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compression", ["piz", "dwaa", "dwab"])
def test_without_the_openexr_package_a_sentence_says_how_to_get_it_before_anything_is_written(
    tmp_path, monkeypatch, compression
):
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    with pytest.raises(MissingPackageError, match=rf"{compression} compression needs the OpenEXR package.*pip install"):
        SequenceWriter(tmp_path / "out", str, form=replace(FORMATS["exr_half"], options={"compression": compression}))
    assert list(tmp_path.iterdir()) == []
    with SequenceWriter(tmp_path / "out", str, form=FORMATS["exr_half"]) as writer:
        writer.write(subject(), {"garbage": torch.rand(1, 40, 56)})
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_numbers_that_half_cannot_hold_become_the_largest_it_can(tmp_path):
    picture = torch.tensor([1e6, -1e6, 65504.0, 1e-9]).view(4, 1, 1)
    write_exr(tmp_path / "a.exr", picture, "half")
    assert read_exr(tmp_path / "a.exr", alpha=True).flatten().tolist() == [LARGEST, -LARGEST, LARGEST, 0]
    write_exr(tmp_path / "a.exr", picture, "float")
    assert torch.equal(read_exr(tmp_path / "a.exr", alpha=True), picture)


@needs_package
@given(
    st.sampled_from(OURS), st.sampled_from(["half", "float"]), st.integers(1, 40), st.integers(1, 40),
    st.sampled_from([1, 3, 4]), st.booleans(), st.integers(0, 9),
)  # fmt: skip
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_size_and_content_is_read_by_the_reference_library(
    tmp_path, compression, kind, height, width, channels, noisy, seed
):
    picture = torch.zeros(channels, height, width)
    if noisy:
        picture = torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed)) * 100
    write_exr(tmp_path / "a.exr", picture, kind, compression)
    _, found = stored(tmp_path / "a.exr")
    letters = "RGBA" if channels != 3 else "RGB"
    wanted = (picture if channels > 1 else picture.expand(4, -1, -1)).numpy().astype("f2" if kind == "half" else "f4")
    assert sorted(found) == sorted(letters)
    assert all(np.array_equal(found[letter], wanted[place]) for place, letter in enumerate(letters))


def test_the_same_picture_gives_the_same_bytes(tmp_path, monkeypatch):
    for name in ("a", "b"):
        write_exr(tmp_path / f"{name}.exr", subject(200, 60), layers={"x": torch.ones(1, 200, 60)}, labels=LABELS)
        monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()


rates = st.sampled_from(
    [(base, drop) for base in COUNTED if base <= 60 for drop in (False, True) if base % 30 == 0 or not drop]
)


@given(rates, st.integers(0, 24 * 3600 * 24 - 200))
def test_a_timecode_is_read_from_the_word_that_is_written(kind, frame):
    base, drop = kind
    start = Timecode(frame, Fraction(base), drop)
    assert start.clock is not None and from_clock(start.clock, Fraction(base)) == start


def test_a_rate_that_smpte_cannot_count_writes_no_timecode(tmp_path):
    labels = Labels(timecode=Timecode.read("10:00:00:99", Fraction(120)))
    write_exr(tmp_path / "a.exr", subject(), labels=labels, rate=Fraction(120))
    assert exr.facts_of(tmp_path / "a.exr").clock is None and exr.facts_of(tmp_path / "a.exr").rate == 120
    assert struct.unpack("<I", (tmp_path / "a.exr").read_bytes()[4:8])[0] == 2
