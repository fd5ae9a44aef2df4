"""Frames in and mattes out: what a user loses here is frames, names, precision, or a file that was there."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from support import moving_clip, write_picture, write_video

from gvm_core.errors import MediaError
from gvm_core.media import open_frames
from gvm_core.media.pixels import convert
from gvm_core.media.sequence import natural


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", moving_clip(7, 24, 40))


def test_a_video_gives_every_frame_upright_and_close_to_what_was_written(video):
    with open_frames(video) as reader:
        frames = torch.stack(list(reader))
        assert reader.rate == Fraction(30000, 1001) and reader.count == 7
    assert frames.shape == (7, 3, 24, 40) and frames.dtype == torch.float32
    assert (frames - moving_clip(7, 24, 40)).abs().mean() < 0.01


@pytest.mark.parametrize("pixels", ["gbrp16le", "yuv444p10le"])
def test_deep_video_is_not_cut_to_eight_bits(tmp_path, pixels):
    ramp = torch.linspace(0, 1, 512).expand(1, 3, 16, 512)
    path = write_video(tmp_path / "ramp.mkv", ramp, "ffv1", pixels)
    with open_frames(path) as reader:
        assert len(next(iter(reader))[0, 0].unique()) > 450


@pytest.mark.parametrize(("tag", "words"), [(1, "ITU709"), (6, "SMPTE170M")])
@pytest.mark.parametrize("full", [False, True])
def test_tagged_colours_are_read_by_their_tag_whatever_the_size(tmp_path, tag, words, full):
    red = torch.tensor([0.9, 0.2, 0.1])
    levels = (red.expand(16, 16, 3).numpy() * 65535).astype(np.uint16)
    rgb48 = av.VideoFrame.from_ndarray(levels, format="rgb48le")
    ranges = {"src_color_range": "JPEG", "dst_color_range": "JPEG" if full else "MPEG"}
    other = "ITU601" if words == "ITU709" else "ITU709"
    yuv = rgb48.reformat(format="yuv444p", src_colorspace=other, dst_colorspace=words, **ranges)
    with av.open(str(tmp_path / "t.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = tag, 2 if full else 1
        yuv.colorspace, yuv.color_range = tag, 2 if full else 1
        container.mux(stream.encode(yuv))
        container.mux(stream.encode(None))
    with open_frames(tmp_path / "t.mkv") as reader:
        assert (next(iter(reader))[:, 4, 4] - red).abs().max() < 0.02


@pytest.mark.parametrize(("first", "last", "indices"), [(0, None, range(7)), (2, 4, range(2, 5)), (6, 99, [6])])
def test_a_frame_range_is_the_same_frames(video, first, last, indices):
    with open_frames(video) as every, open_frames(video, first, last) as some:
        whole = list(every)
        assert all(torch.equal(a, whole[i]) for a, i in zip(some, indices, strict=True))


def test_untagged_colours_follow_the_size_as_players_do(tmp_path):
    red = torch.tensor([0.9, 0.2, 0.1])[None, :, None, None].expand(1, 3, 720, 64)
    path = write_video(tmp_path / "hd.mp4", red)  # written with BT.601 and no tag
    with open_frames(path) as reader:
        hd = next(iter(reader))
    small = write_video(tmp_path / "sd.mp4", red[:, :, :64])
    with open_frames(small) as reader:
        sd = next(iter(reader))
    assert (sd[:, 0, 0] - red[0, :, 0, 0]).abs().max() < 0.02
    assert (hd[:, 0, 0] - red[0, :, 0, 0]).abs().max() > 0.02


def test_sequences_come_in_natural_order_with_their_dots_and_other_files_ignored(tmp_path):
    folder = tmp_path / "Größe 1"
    folder.mkdir()
    for number in (1, 2, 10):
        write_picture(folder / f"shot.{number}.png", torch.full((3, 8, 8), number / 20))
    (folder / "notes.txt").write_text("x")
    with open_frames(folder, gaps="skip") as reader:
        assert [round(float(f.mean()) * 20) for f in reader] == [1, 2, 10]
        assert [reader.names(i) for i in range(reader.count)] == ["shot.1", "shot.2", "shot.10"]
    with open_frames(folder, first=1, gaps="skip") as reader:
        assert reader.names(1) == "shot.2" and reader.count == 2


@pytest.mark.parametrize("precision", ["half", "float"])
def test_exr_is_linear_light_and_not_clamped(tmp_path, precision):
    (tmp_path / "x").mkdir()
    linear = torch.tensor([0.2140, 1.0, 4.0])[:, None, None].expand(3, 8, 8)
    write_picture(tmp_path / "x" / "shot.0001.exr", linear, "gbrpf32le", format=precision)
    for path in (tmp_path / "x", tmp_path / "x" / "shot.0001.exr"):  # a lone picture is no less linear
        with open_frames(path) as reader:
            (frame,) = list(reader)
        assert torch.allclose(frame[:, 0, 0], linear[:, 0, 0], atol=2e-3)
        assert 0.95 < reader.shown(frame).max() <= 1, "but a screen shows no more than white"


def test_two_pictures_for_one_frame_are_refused_and_hidden_files_are_not_frames(tmp_path):
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name, torch.rand(3, 8, 8))
    (tmp_path / "._a.png").write_bytes(b"finder")
    assert open_frames(tmp_path).count == 2
    write_picture(tmp_path / "a.jpg", torch.rand(3, 8, 8), "yuvj444p")
    with pytest.raises(MediaError, match="differ only in their suffix"):
        open_frames(tmp_path)


def test_a_single_picture_is_a_clip_of_one_frame(tmp_path):
    write_picture(tmp_path / "one.png", torch.rand(3, 9, 11))
    with open_frames(tmp_path / "one.png") as reader:
        assert [f.shape for f in reader] == [(3, 9, 11)]


def test_natural_order_survives_odd_names():
    from pathlib import Path

    names = ["2.png", "a2.png", "a2b3.png", "a10.png", "b.png"]
    assert [p.name for p in sorted(map(Path, reversed(names)), key=natural)] == names


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: p / "nowhere.mp4", "there is no file or folder"),
        (lambda p: (p / "x.mp4").write_text("no video") and p / "x.mp4", "cannot be read"),
        (lambda p: (p / "e").mkdir() or p / "e", "there are no pictures"),
    ],
)
def test_unreadable_input_is_named(tmp_path, make, sentence):
    with pytest.raises(MediaError, match=sentence):
        open_frames(make(tmp_path))


def test_sound_without_pictures_is_refused(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(MediaError, match="no video or picture track"):
        open_frames(path)


def test_ranges_that_hold_nothing_are_refused(video):
    with open_frames(video, 50) as reader, pytest.raises(MediaError, match="has 7 frames; there is no frame 50"):
        list(reader)


def test_conversion_between_pixel_formats_never_leaves_wrong_pixels():
    levels = np.tile(np.linspace(0, 65535, 40).astype(np.uint16), (24, 1))
    deep = convert(av.VideoFrame.from_ndarray(levels, format="gray16le"), format="yuv444p12le")
    results = {bytes(convert(deep, format="gray16le").planes[0]) for _ in range(150)}
    assert len(results) == 1
