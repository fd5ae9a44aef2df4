"""Clips from the user's own footage: what a user loses here is the use of what they shot."""

import json

import pytest
import torch
from PIL import Image

from gvm_core.cli import main
from gvm_core.datasets.footage import background_frames, composite_frames, cover, find_subjects, media_in, pair_up
from gvm_core.errors import GVMError, InputError
from gvm_core.media import open_frames
from gvm_core.media.sequence import png16


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png16(picture))
    return path


def shape(t, height=20, width=24):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((6 - ((y - 10) ** 2 + (x - 8 - t) ** 2).sqrt()) / 3 + 0.5).clamp(0, 1)[None]


COLOUR = torch.tensor([0.9, 0.3, 0.1])[:, None, None]


@pytest.fixture
def pairs_folder(tmp_path):
    """VideoMatte240K's layout, with sequences."""
    for name in ("one", "two"):
        for t in range(3):
            save(tmp_path / "train" / "fgr" / name / f"{t:04}.png", COLOUR.expand(3, 20, 24))
            save(tmp_path / "train" / "pha" / name / f"{t:04}.png", shape(t))
    return tmp_path


@pytest.fixture
def background(tmp_path):
    for t in range(2):
        save(tmp_path / "back" / "street" / f"{t}.png", torch.full((3, 40, 40), 0.2 + 0.2 * t))
    return tmp_path / "back"


def test_foregrounds_beside_their_alphas_are_found_and_composited(pairs_folder, background):
    subjects = find_subjects(pairs_folder / "train")
    assert [subject.name for subject in subjects] == ["one", "two"]
    frames = list(composite_frames(subjects[0], media_in(background)[0], None, 99))
    assert len(frames) == 3
    for t, frame in enumerate(frames):
        wanted = COLOUR * shape(t) + (0.2 + 0.2 * (t % 2)) * (1 - shape(t))
        assert (frame.image - wanted).abs().max() < 1e-3
        assert (frame.alpha - shape(t)).abs().max() < 1e-4
        assert (
            frame.image - (frame.foreground * frame.alpha + frame.background * (1 - frame.alpha))
        ).abs().max() < 1e-6


def test_pictures_with_an_alpha_channel_need_no_second_folder(tmp_path, background):
    for t in range(2):
        both = torch.cat([COLOUR.expand(3, 20, 24), shape(t)])
        path = tmp_path / "keyed" / f"shot.{t}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((both * 255).round().byte().movedim(0, -1).numpy(), "RGBA").save(path)
    (subject,) = find_subjects(tmp_path / "keyed")
    frames = list(composite_frames(subject, media_in(background)[0], (10, 12), 99))
    assert len(frames) == 2 and frames[0].image.shape == (3, 10, 12)
    inside = frames[0].alpha[0] > 0.99
    assert (frames[0].foreground[:, inside] - COLOUR[:, 0]).abs().max() < 0.01


def test_a_video_with_alpha_is_a_subject(tmp_path):
    import av

    path = tmp_path / "keyed.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("prores_ks", rate=24, options={"profile": "4444"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuva444p10le"
        both = torch.cat([COLOUR.expand(3, 32, 48), shape(0, 32, 48)])
        levels = (both * 65535).round().movedim(0, -1).contiguous().numpy().astype("uint16")
        frame = av.VideoFrame.from_ndarray(levels, format="rgba64le").reformat(format="yuva444p10le")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    (subject,) = find_subjects(tmp_path)
    ((colour, alpha),) = list(subject.frames())
    assert (alpha - shape(0, 32, 48)).abs().max() < 0.02 and (colour - COLOUR).abs().mean() < 0.03


def test_exr_colours_are_divided_by_their_alpha(tmp_path):
    import av

    path = tmp_path / "a.exr"
    alpha = torch.full((1, 8, 8), 0.5)
    linear = torch.full((3, 8, 8), 0.2) * alpha
    encoder = av.CodecContext.create("exr", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 8, 8, "gbrapf32le", 1
    frame = av.VideoFrame(8, 8, "gbrapf32le")
    for plane, values in zip(frame.planes, torch.cat([linear[[1, 2, 0]], alpha]), strict=True):
        row = torch.zeros(8, plane.line_size // 4)
        row[:, :8] = values
        plane.update(row.numpy().tobytes())
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))
    with open_frames(path, alpha=True) as reader:
        (picture,) = list(reader)
    assert torch.allclose(picture[3], alpha[0]) and (picture[:3] - 0.2).abs().max() < 1e-3, "still linear light"


def test_soft_edges_keep_their_colour_when_scaled(tmp_path, background):
    alpha = (torch.arange(24) < 12).float().expand(1, 20, 24)
    garbage = COLOUR * alpha + torch.tensor([0.0, 1.0, 0.0])[:, None, None] * (1 - alpha)  # green where nothing is
    save(tmp_path / "s" / "fgr" / "a.png", garbage)
    save(tmp_path / "s" / "pha" / "a.png", alpha.clone())
    (subject,) = find_subjects(tmp_path / "s")
    (frame,) = list(composite_frames(subject, media_in(background)[0], (10, 10), 9))
    soft = (frame.alpha[0] > 0.02) & (frame.alpha[0] < 0.98)
    assert soft.any() and (frame.foreground[:, soft] - COLOUR[:, 0]).abs().max() < 0.02


def test_a_background_covers_any_size_and_starts_over(background):
    frames = background_frames(media_in(background)[0], (30, 70))
    seen = [next(frames) for _ in range(5)]
    assert all(frame.shape == (3, 30, 70) for frame in seen)
    assert [round(float(frame.mean()), 1) for frame in seen] == [0.2, 0.4, 0.2, 0.4, 0.2]
    assert cover(torch.rand(3, 7, 5), (64, 3)).shape == (3, 64, 3)


def test_every_subject_serves_before_any_serves_twice(pairs_folder, background):
    subjects, backs = find_subjects(pairs_folder / "train"), media_in(background)
    chosen = pair_up(subjects, backs, 4, 1)
    assert {subject.name for subject, _ in chosen[:2]} == {"one", "two"} and len(chosen) == 4
    assert chosen == pair_up(subjects, backs, 4, 1)


def test_what_is_missing_is_said(tmp_path, pairs_folder):
    with pytest.raises(InputError, match="there is no folder"):
        find_subjects(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither fgr"):
        find_subjects(tmp_path / "empty")
    save(pairs_folder / "train" / "fgr" / "three" / "0.png", torch.zeros(3, 8, 8))
    with pytest.raises(InputError, match="no alpha for three"):
        find_subjects(pairs_folder / "train")
    save(tmp_path / "flat" / "a.png", torch.zeros(3, 8, 8))
    (subject,) = find_subjects(tmp_path / "flat")
    with pytest.raises(GVMError, match="no alpha channel"):
        list(subject.frames())


def test_the_command_writes_clips_that_evaluate_reads(tmp_path, pairs_folder, background, capsys):
    out = tmp_path / "made"
    assert main(["synthesize", str(out / "drawn"), "--clips", "2", "--frames", "2", "--size", "24", "32"]) == 0
    command = ["synthesize", str(out / "mine"), "--clips", "2", "--foregrounds", str(pairs_folder / "train")]
    assert main([*command, "--backgrounds", str(background), "--degrade", "1"]) == 0
    clips = sorted(path.parent for path in out.rglob("com"))
    assert len(clips) == 4
    assert all({layer.name for layer in clip.iterdir()} == {"com", "pha", "fgr", "bgr"} for clip in clips)
    file = tmp_path / "scores.json"
    assert main(["evaluate", "folder", str(out), "--baseline", "blurred-mask", "--json", str(file)]) == 0
    assert len(json.loads(file.read_text())["clips"]) == 4
    assert main([*command, "--backgrounds", str(background)]) == 1  # nothing is overwritten
    assert main(["synthesize", str(out / "x"), "--foregrounds", str(pairs_folder)]) == 1
    assert "go together" in capsys.readouterr().err
