"""`gvm refine`: what a user loses here is a stored matte, or the minutes that the networks would take again."""

from dataclasses import fields, replace

import pytest
import torch
from support import moving_clip, write_picture, write_video

from gvm_core.cli import main
from gvm_core.cli.refine import OPERATIONS
from gvm_core.errors import MediaError
from gvm_core.media import open_frames
from gvm_core.post.refine import RefineSettings, refine
from gvm_core.runs import parts as parts_module
from gvm_core.runs.makers import Refining
from gvm_core.runs.matte import run_shot
from gvm_core.runs.resume import PARTS_FOLDER, run_key
from gvm_core.runs.shot import Shot

FRAMES, HEIGHT, WIDTH = 20, 24, 40
SETTINGS = RefineSettings(chatter=2, guided=2, expand=0.5, feather=1.0)


def mattes(count=FRAMES, size=(HEIGHT, WIDTH)):
    """A soft disc that moves, ``[T, 1, H, W]``, with some noise where it is soft."""
    rows, columns = torch.arange(size[0])[:, None], torch.arange(size[1])[None]
    noise = torch.rand(count, 1, *size, generator=torch.Generator().manual_seed(0))
    discs = torch.stack([9 - torch.hypot(rows - size[0] / 2, columns - 12 - 0.5 * index) for index in range(count)])
    alpha = (discs[:, None] / 4 + 0.5).clamp(0, 1)
    return (alpha + 0.2 * (noise - 0.5) * (4 * alpha * (1 - alpha))).clamp(0, 1)


def grey(alpha, path):
    return write_video(path, alpha.expand(-1, 3, -1, -1), "ffv1", "gbrp16le", level="3")


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mkv", moving_clip(FRAMES, HEIGHT, WIDTH), "ffv1", "gbrp16le", level="3")


@pytest.fixture
def stored(tmp_path):
    return grey(mattes(), tmp_path / "matte.mkv")


def frames_of(path, **options):
    with open_frames(path, **options) as reader:
        return torch.stack(list(reader))


def pictures(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_refined_file_is_what_refine_gives(tmp_path, video, stored, capsys):
    out = tmp_path / "refined.mkv"
    words = ["--chatter", "2", "--guided", "2", "--expand", "0.5", "--feather", "1", "--device", "cpu"]
    assert main(["refine", str(video), str(stored), str(out), *words]) == 0, capsys.readouterr().err
    wanted = refine(frames_of(stored)[:, :1], frames_of(video), SETTINGS)
    assert (frames_of(out)[:, :1] - wanted).abs().max() < 3e-5
    assert "20 frames refined" in capsys.readouterr().err


def test_every_setting_of_refine_is_an_option_that_changes_nothing_by_default(tmp_path, video, stored):
    assert set(OPERATIONS) == {each.name for each in fields(RefineSettings)}
    assert main(["refine", str(video), str(stored), str(tmp_path / "same"), "--device", "cpu"]) == 0
    assert (frames_of(tmp_path / "same")[:, :1] - frames_of(stored)[:, :1]).abs().max() <= 1 / 65535


def test_a_stopped_run_and_a_range_give_the_bytes_of_the_whole_run(tmp_path, video, stored, monkeypatch):
    monkeypatch.setattr(parts_module, "FRAMES", 8)
    maker = Refining(stored, SETTINGS)
    assert run_shot(Shot(video, tmp_path / "whole"), maker) == FRAMES
    assert run_shot(Shot(video, tmp_path / "part", first=12, last=14), maker) == 3
    whole = pictures(tmp_path / "whole")
    assert pictures(tmp_path / "part") == {name: whole[name] for name in sorted(whole)[12:15]}

    def stop(frames, alpha=None, *, resumed=False):
        if alpha is not None and alpha.stop > 17:
            raise KeyboardInterrupt

    shot = Shot(video, tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        run_shot(shot, maker, stop)
    before = []
    run_shot(shot, maker, lambda frames, alpha=None, *, resumed=False: before.append(frames * resumed))
    assert sum(before) >= 8 and pictures(shot.matte) == whole


def test_other_settings_or_another_matte_never_go_on_from_old_parts(tmp_path, video, stored):
    shot = Shot(video, tmp_path / "m.mkv")
    makers = [Refining(stored, SETTINGS), Refining(stored, RefineSettings()), Refining(stored, SETTINGS, start=1)]
    keys = [run_key(shot, maker) for maker in makers]
    grey(mattes().square(), stored)
    assert len({*keys, run_key(shot, makers[0])}) == 4


def test_mattes_of_a_range_belong_to_its_frames(tmp_path, video):
    part = grey(mattes()[6:12], tmp_path / "part.mkv")
    words = ["--frames", "7-10", "--matte-start", "6", "--expand", "1", "--device", "cpu"]
    assert main(["refine", str(video), str(part), str(tmp_path / "out"), *words]) == 0
    wanted = refine(frames_of(part)[1:5, :1], None, RefineSettings(expand=1.0))
    assert (frames_of(tmp_path / "out")[:, :1] - wanted).abs().max() < 3e-5


def test_the_alpha_of_a_subject_is_its_matte_and_the_subject_is_delivered_again(tmp_path, video, stored):
    film = tmp_path / "subject.mkv"
    assert run_shot(Shot(video, tmp_path / "m.mkv", subject=film), Refining(stored, RefineSettings())) == FRAMES
    shot = Shot(video, tmp_path / "again.mkv", subject=tmp_path / "again_subject.mov", preview=tmp_path / "p.mp4")
    assert run_shot(shot, Refining(film, RefineSettings())) == FRAMES
    assert (frames_of(shot.matte) - frames_of(stored)).abs().max() < 3e-5
    alpha = frames_of(tmp_path / "again_subject.mov", alpha=True)[:, 3:]
    assert (alpha - frames_of(stored)[:, :1]).abs().max() < 2e-3


def test_a_picture_has_its_matte_refined(tmp_path):
    plate = write_picture(tmp_path / "face.png", moving_clip(1, HEIGHT, WIDTH)[0])
    matte = write_picture(tmp_path / "matte.png", mattes(1)[0].expand(3, -1, -1))
    out = tmp_path / "out.png"
    assert main(["refine", str(plate), str(matte), str(out), "--feather", "2", "--device", "cpu"]) == 0
    wanted = refine(frames_of(matte)[:, :1], None, RefineSettings(feather=2.0))
    assert (frames_of(out)[:, :1] - wanted).abs().max() < 3e-5


def test_what_cannot_be_refined_is_a_sentence_before_the_first_frame(tmp_path, video, stored):
    short, small = grey(mattes(12), tmp_path / "short.mkv"), grey(mattes(size=(20, 40)), tmp_path / "small.mkv")
    shot = Shot(video, tmp_path / "m.mkv")
    for maker, sentence in (
        (Refining(short, SETTINGS), r"short\.mkv has 12 mattes, fewer than .*clip\.mkv has frames from 0 on"),
        (Refining(small, SETTINGS), r"clip\.mkv are 40x24, but the mattes in .*small\.mkv are 40x20"),
        (Refining(video, SETTINGS), r"clip\.mkv is no matte: it has colours, and no alpha"),
        (Refining(tmp_path / "gone.mkv", SETTINGS), r"there is no file or folder .*gone\.mkv"),
        (Refining(stored, SETTINGS, start=3), "the first matte is for frame 3, so there is none for frame 0"),
    ):
        with pytest.raises(MediaError, match=sentence):
            run_shot(shot, maker)
    late = replace(shot, first=15, last=16)
    with pytest.raises(MediaError, match="has 12 mattes, fewer than"):
        run_shot(late, Refining(short, SETTINGS))
    assert not (tmp_path / PARTS_FOLDER).exists() and not shot.matte.exists()
    assert main(["refine", str(video), str(stored), str(tmp_path / "x.mkv"), "--mix", "2"]) == 1
