"""Regions of shots, file to files: what a user loses here is finished work, a frame of a farm, or a word on what is wrong."""

from dataclasses import replace

import pytest
import torch
from support import moving_clip, own_size, read_levels, write_picture, write_video

from gvm_core import MattingPipeline, TorchHost, WindowPlan
from gvm_core.cli import main
from gvm_core.errors import MediaError
from gvm_core.region import RegionSettings
from gvm_core.runs import parts as parts_module
from gvm_core.runs.look import masked
from gvm_core.runs.makers import Matting
from gvm_core.runs.matte import matte_shot
from gvm_core.runs.resume import PARTS_FOLDER, run_key
from gvm_core.runs.shot import Shot

FRAMES, HEIGHT, WIDTH = 20, 24, 40


def write_masks(path, frames=FRAMES, size=(HEIGHT, WIDTH), value=1.0):
    """A box that moves to the right, as a lossless video."""
    masks = torch.zeros(frames, 3, *size)
    for index in range(frames):
        left = size[1] // 5 + index * size[1] // 80
        masks[index, :, size[0] // 4 : size[0] // 2, left : left + size[1] // 5] = value
    return write_video(path, masks, "ffv1", "gbrp16le", level="3")


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", moving_clip(FRAMES, HEIGHT, WIDTH))


@pytest.fixture
def masks(tmp_path):
    return write_masks(tmp_path / "masks.mkv")


@pytest.fixture
def pipeline(tiny_model):
    settings = own_size(plan=WindowPlan(3, 1), pad_multiple=8, refine=1, region=RegionSettings(radius=1))
    return MattingPipeline(tiny_model, settings, TorchHost("cpu"))


@pytest.fixture(params=["region", "follow"])
def look(request, masks):
    """The two ways of looking at a part of the frames."""
    return {"region": masks} if request.param == "region" else {"follow": True}


def pictures(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Stopped(Exception):
    """Someone pressed stop."""


def test_a_stopped_run_and_a_range_give_the_bytes_of_the_whole_run(tmp_path, video, pipeline, look, monkeypatch):
    monkeypatch.setattr(parts_module, "FRAMES", 8)
    assert matte_shot(Shot(video, tmp_path / "whole", **look), pipeline) == FRAMES
    assert matte_shot(Shot(video, tmp_path / "part", first=12, last=13, **look), pipeline) == 2
    whole = pictures(tmp_path / "whole")
    assert pictures(tmp_path / "part") == {name: whole[name] for name in sorted(whole)[12:14]}

    def stop(frames, alpha=None, *, resumed=False):
        if alpha is not None and alpha.stop > 10:
            raise Stopped

    shot = Shot(video, tmp_path / "stopped", **look)
    with pytest.raises(Stopped):
        matte_shot(shot, pipeline, stop)
    before = []
    matte_shot(shot, pipeline, lambda frames, alpha=None, *, resumed=False: before.append(frames * resumed))
    assert sum(before) == 8 and pictures(shot.matte) == whole


def test_alpha_is_nothing_far_from_masks_of_any_size(tmp_path, video, pipeline):
    folders = []
    for name, size in (("own", (HEIGHT, WIDTH)), ("large", (10 * HEIGHT, 10 * WIDTH))):
        shot = Shot(video, tmp_path / name, last=3, region=write_masks(tmp_path / f"{name}.mkv", 4, size))
        matte_shot(shot, pipeline)
        folders.append(
            [torch.from_numpy(read_levels(path)[0].astype("int32")) for path in sorted(shot.matte.iterdir())]
        )
    for own, large in zip(*folders, strict=True):
        assert own[6:12, 8:16].any() and not own[20:].any() and not own[:, 32:].any() and not own[:, :2].any()
        assert (own - large).abs().float().mean() < 2000  # of 65535


def test_one_picture_is_the_region_of_all_frames(tmp_path, video, masks, pipeline):
    picture = torch.zeros(3, HEIGHT, WIDTH)
    picture[:, 6:12, 8:16] = 1
    one = write_picture(tmp_path / "mask.png", picture)
    clip = write_video(tmp_path / "same.mkv", picture.expand(FRAMES, -1, -1, -1), "ffv1", "gbrp16le", level="3")
    shots = [Shot(video, tmp_path / region.stem, first=5, last=8, region=region) for region in (one, clip)]
    for shot in shots:
        matte_shot(shot, pipeline)
    assert pictures(shots[0].matte) == pictures(shots[1].matte)


def test_masks_that_begin_later_belong_to_later_frames(tmp_path, video, masks, pipeline):
    """As for a trimmed clip: the windows at its ends see frames that have no mask."""
    late = write_masks(tmp_path / "late.mkv", FRAMES)
    shot = Shot(video, tmp_path / "m", first=6, last=9, region=late, region_start=6)
    settings = pipeline.settings.region
    regions = [region for region, _ in zip(masked(shot, settings, 3, 13), range(11), strict=False)]
    there = [region for region, _ in zip(masked(replace(shot, region_start=0), settings, 0, 7), range(8), strict=False)]
    assert [region.box for region in regions[3:]] == [region.box for region in there]
    assert [region.box for region in regions[:3]] == [there[0].box] * 3
    assert matte_shot(shot, pipeline) == 4
    short = Shot(video, tmp_path / "n", first=6, last=9, region=write_masks(tmp_path / "4.mkv", 4), region_start=6)
    assert matte_shot(short, pipeline) == 4


def test_other_masks_or_another_way_of_looking_never_go_on_from_old_parts(tmp_path, video, masks, pipeline):
    shot = Shot(video, tmp_path / "m.mkv")
    shots = [shot, replace(shot, follow=True), replace(shot, region=masks), replace(shot, region=masks, region_start=1)]
    keys = [run_key(each, Matting(pipeline)) for each in shots]
    write_masks(masks, value=0.9)
    assert len({*keys, run_key(shots[2], Matting(pipeline))}) == 5


def test_a_region_that_cannot_be_used_is_refused_before_the_first_frame(tmp_path, video, masks, pipeline):
    short, empty = write_masks(tmp_path / "short.mkv", 12), write_masks(tmp_path / "empty.mkv", value=0.0)
    for region, sentence in (
        (short, r"short\.mkv has 12 frames, fewer than .*clip\.mp4: give a mask for every frame, or a single picture"),
        (empty, r"empty\.mkv is empty in every frame.*white"),
        (tmp_path / "gone.png", r"there is no file or folder .*gone\.png"),
    ):
        with pytest.raises(MediaError, match=sentence):
            matte_shot(Shot(video, tmp_path / "m.mkv", region=region), pipeline)
    assert not (tmp_path / PARTS_FOLDER).exists() and not (tmp_path / "m.mkv").exists()
    assert matte_shot(Shot(video, tmp_path / "m.mkv", first=9, last=11, region=short), pipeline) == 3
    with pytest.raises(MediaError, match="fewer than"):
        matte_shot(Shot(video, tmp_path / "n.mkv", first=15, last=16, region=short), pipeline)
    with pytest.raises(MediaError, match="choose one of them"):
        Shot(video, tmp_path / "n.mkv", region=masks, follow=True)
    with pytest.raises(MediaError, match="cannot be both the region and the matte"):
        Shot(video, masks, region=masks)
    (tmp_path / "folder").mkdir()
    write_picture(tmp_path / "folder" / "mask.1.png", torch.ones(3, 8, 8))
    with pytest.raises(MediaError, match="among the masks"):
        Shot(video, tmp_path / "folder", region=tmp_path / "folder")


@pytest.mark.parametrize("arguments", [["--region", "{masks}"], ["--follow"]])
def test_the_command_looks_where_it_is_told(tmp_path, tiny_folder, video, masks, capsys, arguments):
    chosen = [argument.format(masks=masks) for argument in arguments]
    own = [
        "--model",
        str(tiny_folder),
        "--short-edge",
        "own",
        "--max-edge",
        "own",
        "--frames",
        "0-2",
        "--device",
        "cpu",
    ]
    assert main(["matte", str(video), str(tmp_path / "m.mkv"), *own, *chosen]) == 0, capsys.readouterr().err
    assert main(["matte", str(video), str(tmp_path / "n.mkv"), *own, "--region", str(masks), "--follow"]) == 1
    assert "choose one of them" in capsys.readouterr().err
    empty = (read_levels(tmp_path / "m.mkv")[0] == 0).mean()
    assert empty > 0.4 if "--region" in arguments else empty < 1
