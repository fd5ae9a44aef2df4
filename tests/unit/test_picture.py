"""Footage as cameras make it: a user would lose the right picture to its tags, its damage, or its other tracks."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from support import moving_clip, own_size, shown, with_matrix, write_picture, write_video

from gvm_core import MattingPipeline
from gvm_core.errors import InputError, MediaError
from gvm_core.media import open_frames
from gvm_core.media.decoder import progressive
from gvm_core.media.orientation import EXIF
from gvm_core.post.light import BT709, BT2020, CURVES, LIGHTS, Light, conversion
from gvm_core.post.resize import Fit
from gvm_core.runs.matte import matte_shot
from gvm_core.runs.shot import Shot

CORNERS = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]]])
"""Red and green above blue and yellow."""


def four_corners(height=24, width=40):
    return CORNERS.repeat_interleave(height // 2, 1).repeat_interleave(width // 2, 2)


def read(path, **options):
    with open_frames(path, **options) as reader:
        return torch.stack(list(reader))


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_photographs_are_upright_whatever_way_the_camera_was_held(tmp_path, suffix, tag):
    image = pytest.importorskip("PIL.Image")
    picture = four_corners()
    exif = image.Exif()
    exif[0x112] = tag
    stored = image.fromarray((picture.movedim(0, -1) * 255).byte().numpy())
    stored.save(tmp_path / f"p.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    found = read(tmp_path / f"p.{suffix}")[0]
    wanted = shown(picture, EXIF[tag - 1])
    assert found.shape == wanted.shape
    assert (found - wanted).abs().mean() < 0.05  # chroma is subsampled in JPEG


@pytest.mark.parametrize("matrix", EXIF)
def test_phone_videos_are_upright_and_mirrored_as_their_display_matrix_says(tmp_path, matrix):
    picture = four_corners()
    write_video(tmp_path / "v.mp4", picture.expand(3, -1, -1, -1), crf="1")
    with_matrix(tmp_path / "v.mp4", matrix)
    found, wanted = read(tmp_path / "v.mp4"), shown(picture, matrix)
    assert found[1].shape == wanted.shape
    assert (found[1] - wanted).abs().mean() < 0.05


def test_cover_art_is_not_taken_for_the_film(tmp_path):
    cover = tmp_path / "cover.png"
    write_picture(cover, torch.ones(3, 64, 64), "rgb24")
    write_video(tmp_path / "film.mp4", moving_clip(4, 32, 48), pixels="yuv420p")
    both = tmp_path / "both.mp4"
    with av.open(str(cover)) as art, av.open(str(tmp_path / "film.mp4")) as film, av.open(str(both), "w") as out:
        streams = [out.add_stream_from_template(source.streams.video[0], opaque=True) for source in (art, film)]
        try:
            streams[0].disposition = 1024
        except AttributeError:
            pytest.skip("this PyAV cannot write cover art")
        for source, stream in zip((art, film), streams, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    assert read(both).shape == (4, 3, 32, 48)


def test_a_song_with_cover_art_is_refused_in_a_sentence(tmp_path):
    cover, song = tmp_path / "cover.png", tmp_path / "song.mp3"
    write_picture(cover, torch.ones(3, 64, 64), "rgb24")
    with av.open(str(cover)) as art, av.open(str(song), "w") as out:
        sound = out.add_stream("mp3", rate=44100)
        picture = out.add_stream_from_template(art.streams.video[0])
        for packet in art.demux(video=0):
            if packet.size:
                packet.stream = picture
                out.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 4410), np.float32), "fltp", "stereo")
        frame.sample_rate = 44100
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            out.mux(packet)
    with pytest.raises(MediaError, match="cover art"):
        read(song)


def damaged(path, number):
    """A copy of a video in which the content of one packet is zero, and which frame that is."""
    with av.open(str(path)) as container:
        packets = [(bytes(packet), packet.pts) for packet in container.demux(video=0) if packet.size]
    content, (packet, time) = bytearray(path.read_bytes()), packets[number]
    at = content.find(packet[:64])
    content[at : at + len(packet)] = bytes(len(packet))
    bad = path.with_name(f"bad{path.suffix}")
    bad.write_bytes(content)
    return bad, sorted(pts for _, pts in packets).index(time)


@pytest.mark.parametrize("number", [1, 10, 24])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_damaged_packet_costs_its_frame_and_no_other(tmp_path, suffix, number, caplog):
    write_video(tmp_path / f"good{suffix}", moving_clip(25, 48, 64), pixels="yuv420p", bf="2", g="12")
    with open_frames(tmp_path / f"good{suffix}") as reader:
        good, times = torch.stack(list(reader)), reader.times.tolist()
    bad, lost = damaged(tmp_path / f"good{suffix}", number)
    with open_frames(bad) as reader:
        found = torch.stack(list(reader))
        assert len(found) == 25 and reader.times.tolist() == times
    assert "is damaged" in caplog.text and "frame before is held" in caplog.text
    assert torch.equal(found[lost], found[lost - 1]), "the frame before is held"
    group = slice(number // 12 * 12, number // 12 * 12 + 12)  # others do not depend on it
    rest = [index for index in range(25) if not group.start <= index < group.stop]
    assert torch.equal(found[rest], good[rest])
    with pytest.raises(MediaError, match="damaged"):
        read(bad, strict=True)
    for first in (0, 5, 15, 24):
        assert torch.equal(read(bad, first=first), found[first:]), "a range has the frames of the whole"


def test_a_file_of_which_nothing_can_be_decoded_is_refused_in_a_sentence(tmp_path):
    write_video(tmp_path / "good.mkv", moving_clip(1, 48, 64), pixels="yuv420p")
    bad, _ = damaged(tmp_path / "good.mkv", 0)
    with pytest.raises(MediaError, match="no frame of it can be decoded"):
        read(bad)


@pytest.mark.parametrize(("aspect", "seen"), [((64, 45), (576, 1024)), ((8, 9), (656, 874)), ((2, 1), (720, 1024))])
def test_the_network_sees_square_pixels(aspect, seen):
    fit = Fit.plan((576, 720) if aspect != (2, 1) else (720, 512), pixel_aspect=Fraction(*aspect))
    assert abs(fit.scaled[1] / fit.scaled[0] - fit.source[1] * Fraction(*aspect) / fit.source[0]) < 0.01
    assert fit.restore(fit.fit(torch.rand(1, 3, *fit.source))).shape[-2:] == fit.source
    assert max(fit.scaled) >= max(fit.source) and abs(max(fit.scaled) - max(seen)) <= 160


def test_an_anamorphic_video_is_matted_like_its_square_copy(tiny_model, cpu):
    clip = moving_clip(3, 48, 64)
    squeezed = torch.nn.functional.interpolate(clip, (48, 32), mode="bilinear", antialias=True)
    pipeline = MattingPipeline(tiny_model, own_size(), cpu)
    _, seen = pipeline.fit(squeezed, pixel_aspect=Fraction(2))
    wide = torch.nn.functional.interpolate(squeezed, (48, 64), mode="bilinear")
    assert (torch.cat([each.data for each in seen])[:, :, 8:-8] - wide).abs().max() < 1e-5, "padded above and below"
    matte = torch.cat([each.data for each in pipeline.stream(squeezed, pixel_aspect=Fraction(2))])
    assert matte.shape == (3, 1, 48, 32)


def interlaced(path, frames=12):
    """A film of fields: each frame's odd rows are half a step ahead of its even rows."""
    with av.open(str(path), "w") as container:
        options = {"flags": "+ildct+ilme", "g": "4", "bf": "0", "x264-params": "tff=1"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(frames):
            rows = torch.zeros(64, 96)
            rows[::2, 6 * index : 6 * index + 20] = 1
            rows[1::2, 6 * index + 3 : 6 * index + 23] = 1
            levels = (rows * 200 + 20).byte().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="gray").reformat(format="yuv420p")))
        container.mux(stream.encode(None))


def comb(picture):
    """How much a row differs from both its neighbours where they agree: the teeth of fields."""
    above, row, below = picture[:, :-2], picture[:, 1:-1], picture[:, 2:]
    return float(torch.minimum((row - above).abs(), (row - below).abs()).mean())


def test_interlaced_footage_has_no_teeth_and_a_range_of_it_is_the_same(tmp_path):
    interlaced(tmp_path / "tape.mkv")
    with av.open(str(tmp_path / "tape.mkv")) as container:
        stored = list(container.decode(video=0))
    assert stored[3].interlaced_frame
    raw = torch.from_numpy(stored[5].to_ndarray(format="rgb24")).movedim(-1, 0).float() / 255
    whole = read(tmp_path / "tape.mkv")
    assert len(whole) == len(stored)
    assert comb(whole[5]) < 0.2 * comb(raw)
    for first in range(1, 12):
        assert torch.equal(read(tmp_path / "tape.mkv", first=first), whole[first:])


def test_progressive_frames_are_left_alone(tmp_path):
    write_video(tmp_path / "v.mkv", moving_clip(3, 32, 48))
    with av.open(str(tmp_path / "v.mkv")) as container:
        frames = [(frame.pts, frame) for frame in container.decode(video=0)]
    assert [id(frame) for _, frame in progressive(frames)] == [id(frame) for _, frame in frames]


@pytest.mark.parametrize(("transfer", "white"), [("pq", 0.5807), ("hlg", 0.75)])
def test_white_in_hdr_is_nearly_white_on_a_screen_and_grey_stays_grey(transfer, white):
    """Diffuse white is 203 nits: signal 58 % in PQ and 75 % in HLG (ITU-R BT.2408, table 1)."""
    signal = torch.tensor([0.0, 0.2, white, 1.0]).view(1, 1, 4).expand(3, 1, 4)
    found = LIGHTS[transfer].to_srgb(signal)
    assert (found[0] - found[2]).abs().max() < 2e-3, "grey stays grey"
    black, dark, bright, peak = found[0, 0].tolist()
    assert black == 0 and 0 < dark < 0.6 and 0.9 < bright < 1 and bright < peak <= 1


def test_footage_that_is_not_hdr_is_not_touched():
    picture = torch.rand(3, 4, 4)
    assert Light.tagged(1, 1).to_srgb(picture) is picture and Light.tagged(2, 2).to_srgb(picture) is picture


def test_wide_colours_become_those_of_a_screen_and_alpha_stays():
    green = torch.tensor([0.0, 1.0, 0.0, 0.25]).view(4, 1, 1)
    found = Light.tagged(14, 9).to_srgb(green)
    assert found[:, 0, 0].tolist() == pytest.approx([0, 1, 0, 0.25]), "out of range, so clamped"
    grey = torch.tensor([0.5, 0.5, 0.5, 0.25]).view(4, 1, 1)
    assert (Light.tagged(14, 9).to_srgb(grey) - grey).abs().max() < 1e-3


def test_hdr_footage_reaches_the_network_as_a_screen_shows_it(tmp_path, tiny_model, cpu, monkeypatch):
    clip = moving_clip(2, 32, 48)
    with av.open(str(tmp_path / "hdr.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "gbrp16le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = 18, 9  # HLG, BT.2020
        for frame in clip:
            levels = (frame.movedim(0, -1) * 65535).round().numpy().astype(np.uint16)
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(levels, format="rgb48le").reformat(format="gbrp16le"))
            )
        container.mux(stream.encode(None))
    seen = []
    pipeline = MattingPipeline(tiny_model, own_size(), cpu)
    stream_of = pipeline.stream

    def looked_at(frames, *arguments, **options):
        return stream_of((seen.append(frame) or frame for frame in frames), *arguments, **options)

    monkeypatch.setattr(pipeline, "stream", looked_at)
    matte_shot(Shot(tmp_path / "hdr.mkv", tmp_path / "m.mov"), pipeline)
    raw = read(tmp_path / "hdr.mkv")
    assert torch.equal(torch.stack(seen), torch.stack([LIGHTS["hlg"].to_srgb(frame) for frame in raw]))
    assert (torch.stack(seen) - raw).abs().mean() > 0.02
    with av.open(str(tmp_path / "m.mov")) as container:
        context = container.streams.video[0].codec_context
        assert [context.color_primaries, context.color_trc] == [1, 1], "a matte is not HDR"


def test_frames_are_in_the_light_of_the_file_and_shown_ones_in_that_of_a_screen(tmp_path):
    picture = torch.tensor([40.0, 200, 40]).div(255).view(1, 3, 1, 1).expand(2, 3, 32, 48)
    path = write_video(tmp_path / "hlg.mkv", picture, "libx264rgb", "rgb24", crf="0")
    with open_frames(path) as reader:
        assert torch.equal(reader.shown(frame := next(iter(reader))), frame), "a file without tags is no HDR"
        assert (frame[:, 16, 24] * 255).tolist() == pytest.approx([40, 200, 40], abs=1.1)
    with open_frames(path, light="hlg") as reader:
        assert torch.equal(frame, told := next(iter(reader))), "its numbers stay"
        assert not torch.allclose(reader.shown(told), frame)
    with pytest.raises(InputError, match="no light called 'slog9'; there are srgb"):
        open_frames(path, light="slog9")


@pytest.mark.parametrize(
    ("light", "signal"),
    # what each maker says of a grey card of 18 %
    [
        ("slog3", 0.4106),
        ("logc3", 0.391),
        ("logc4", 0.2784),
        ("vlog", 0.4233),
        ("clog3", 0.328),
        ("log3g10", 1 / 3),
        ("acescct", 0.4136),
        ("linear", 0.18),
        ("acescg", 0.18),
    ],
)
def test_a_grey_card_in_log_footage_is_a_grey_card_for_the_network(light, signal):
    card = torch.full((3, 1, 1), signal)
    assert CURVES[LIGHTS[light].transfer](card).flatten().tolist() == pytest.approx([0.18] * 3, abs=2e-4)
    assert LIGHTS[light].to_srgb(card).flatten().tolist() == pytest.approx([0.4614] * 3, abs=4e-4)


@pytest.mark.parametrize("light", LIGHTS)
def test_every_light_rises_to_white_and_keeps_white_white(light):
    ramp = torch.linspace(0, 1, 500).view(1, 1, -1).expand(3, 1, -1)
    shown = LIGHTS[light].to_srgb(ramp)
    assert (shown.diff(dim=2) > -1e-4).all() and shown.min() >= 0 and shown.max() <= 1
    assert (shown[0] - shown[2]).abs().max() < 2e-3, "grey stays grey"


def test_the_colours_of_bt2020_become_those_of_bt709_as_the_standard_says():
    wanted = torch.tensor([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
    assert (conversion(BT2020, BT709) - wanted).abs().max() < 1e-4, "ITU-R BT.2087"


@pytest.mark.parametrize(("codec", "own"), [("libvpx-vp9", "vp9"), ("libvpx", "vp8")])
def test_the_alpha_of_webm_is_read(tmp_path, codec, own):
    alpha = torch.zeros(32, 48)
    alpha[:, :24] = 1
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"auto-alt-ref": "0"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        levels = torch.cat([torch.full((32, 48, 3), 200.0), alpha[..., None] * 255], -1).byte().numpy()
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="rgba").reformat(format="yuva420p")))
        container.mux(stream.encode(None))
    found = read(tmp_path / "a.webm", alpha=True)
    assert found.shape == (4, 4, 32, 48)
    assert (found[2, 3] - alpha).abs().mean() < 0.03
    assert torch.equal(read(tmp_path / "a.webm", first=2, alpha=True), found[2:])


def test_a_name_with_a_colon_and_an_old_title_are_read(tmp_path, monkeypatch):
    write_video(tmp_path / "v.mp4", moving_clip(2, 32, 48))
    content = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "take:1.mp4").write_bytes(content.replace(b"Lavf", b"caf\xe9", 1))
    monkeypatch.chdir(tmp_path)
    assert len(read(Path("take:1.mp4"))) == 2


@pytest.mark.parametrize("number", [11, 14])
def test_colours_that_cannot_be_read_are_refused_in_a_sentence(tmp_path, number):
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv444p"
        stream.codec_context.colorspace = number
        container.mux(stream.encode(av.VideoFrame(48, 32, "yuv444p")))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="convert it to"):
        read(tmp_path / "v.mkv")
