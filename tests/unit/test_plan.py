"""What a run tries before its first frame: what a user loses here is a night of matting that could not be written."""

import os
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from support import moving_clip, own_size, write_picture, write_video

from gvm_core import MattingPipeline, TorchHost, WindowPlan
from gvm_core.atomic import LONGEST_NAME, short_name
from gvm_core.errors import MediaError
from gvm_core.frames import Clip
from gvm_core.media import open_frames
from gvm_core.media.formats import BY_SUFFIX, FORMATS
from gvm_core.runs import plan as plan_module
from gvm_core.runs import write as write_module
from gvm_core.runs.makers import Matting
from gvm_core.runs.matte import matte_shot
from gvm_core.runs.resume import PARTS_FOLDER, adopt, begin, run_key
from gvm_core.runs.shot import Shot, refuse_taken
from gvm_core.runs.write import PartWriter, finish

KEY = "0" * 16
LONG = "素材" * 41  # 246 bytes


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", moving_clip(3, 24, 40))


@pytest.fixture
def pipeline(tiny_model):
    return MattingPipeline(tiny_model, own_size(plan=WindowPlan(5, 2)), TorchHost("cpu"))


def written(shot, key=KEY):
    """The shot from begin to end, with random mattes. Return the number of frames."""
    with begin(shot, key) as parts:
        with open_frames(shot.source) as reader, PartWriter(shot.outputs, parts, reader, 0) as writer:
            for index, frame in enumerate(reader):
                writer.write((Clip(torch.rand(1, 1, *frame.shape[-2:]), index), [frame]))
            writer.keep(last=True)
        return finish(shot, parts)


def refused(shot, sentence, **options):
    """The run is refused with this sentence when it begins, and leaves nothing behind."""
    with pytest.raises(MediaError, match=sentence), begin(shot, KEY, **options):
        pytest.fail("a frame would have been matted")
    assert not (shot.matte.parent / PARTS_FOLDER).exists()


# ---- folders and room ----------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_said_before_the_first_frame(tmp_path, clip):
    (tmp_path / "file").touch()
    for matte, preview in (("file/m.mov", None), ("file/pictures", None), ("m.mov", "file/p.mp4")):
        with (
            pytest.raises(MediaError, match="choose another folder"),
            begin(Shot(clip, tmp_path / matte, preview and tmp_path / preview), KEY),
        ):
            pytest.fail("a frame would have been matted")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="folders that nobody may write to are NOT tested")
def test_a_folder_that_nobody_may_write_to_is_said(clip):
    with (
        pytest.raises(MediaError, match="nothing can be written to the folder"),
        begin(Shot(clip, Path("/proc/nothere/o.mov")), KEY),
    ):
        pytest.fail("a frame would have been matted")


def test_a_folder_where_a_video_should_be_and_the_other_way_round_are_said_although_overwriting_is_allowed(
    tmp_path, clip
):
    (tmp_path / "m.mov").mkdir()
    (tmp_path / "pictures").touch()
    refused(Shot(clip, tmp_path / "m.mov"), "is a folder; a video needs another name", overwrite=True)
    refused(Shot(clip, tmp_path / "pictures"), "a sequence needs a folder", overwrite=True)


def test_a_disk_without_room_is_said_before_it_is_full(tmp_path, monkeypatch):
    source = write_video(tmp_path / "long.mp4", moving_clip(50, 24, 40))
    free, usage = [0], namedtuple("usage", "total used free")
    monkeypatch.setattr(plan_module.shutil, "disk_usage", lambda _: usage(10**12, 0, free[0]))
    for name in ("m.mov", "m.mkv", "pictures"):
        refused(Shot(source, tmp_path / name, tmp_path / "p.mp4"), r"will need about .* GB .* make room")
    free[0] = 10**8
    with begin(Shot(source, tmp_path / "m.mov", tmp_path / "p.mp4"), KEY):
        pass


def test_the_room_of_a_range_is_that_of_its_frames(tmp_path, monkeypatch):
    source = write_video(tmp_path / "long.mp4", moving_clip(50, 24, 40))
    asked = []
    monkeypatch.setattr(plan_module, "refuse_without_room", lambda *facts: asked.append(facts[-1]))
    for first, last in ((0, None), (10, 19), (45, 99)):
        with begin(Shot(source, tmp_path / "m.mkv", first=first, last=last), KEY):
            pass
    assert asked == [50, 10, 5]


# ---- encoders and inputs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_an_encoder_that_this_ffmpeg_does_not_have_is_said_before_the_first_frame(tmp_path, clip, monkeypatch, suffix):
    without = replace(FORMATS[BY_SUFFIX[suffix]], encoder="no_such_encoder")
    monkeypatch.setitem(FORMATS, without.name, without)
    sentence = r"with FFmpeg .* lacks the encoder no_such_encoder.* Choose another format \(.*png16.*pip install"
    refused(Shot(clip, tmp_path / f"m{suffix}"), sentence)


def test_frames_that_an_encoder_refuses_are_said_before_the_first_frame(tmp_path, clip, monkeypatch):
    refusing = replace(FORMATS["h264"], options={"profile": "baseline", "crf": "0"})  # it has no lossless mode
    monkeypatch.setitem(FORMATS, "h264", refusing)
    refused(Shot(clip, tmp_path / "m.mp4"), "cannot be written with libx264")


def test_a_range_after_the_end_is_said_before_the_first_frame(tmp_path, clip):
    refused(Shot(clip, tmp_path / "m.mkv", first=3, last=5), "has 3 frames; there is no frame 3")


def test_a_rehearsal_leaves_nothing(tmp_path, clip):
    with begin(Shot(clip, tmp_path / "m.mov", tmp_path / "p.mp4"), KEY) as parts:
        assert not parts.folder.exists() and parts.finished() == []
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


# ---- names ---------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1), st.integers(10, 40))
@example("素" * 85, 255)
def test_a_short_name_fits_and_says_the_begin_of_the_long_one(name, room):
    short = short_name(name, room)
    assert len(short.encode()) <= room and (short == name) == (len(name.encode()) <= room)
    assert name.startswith(short.rpartition("~")[0]) or short == name
    assert short_name(name + "a" * room, room) != short_name(name + "b" * room, room)


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".mp4", ""])
def test_a_legal_name_is_legal_for_all_that_is_made_of_it(tmp_path, clip, suffix):
    shot = Shot(clip, tmp_path / f"{LONG}{suffix}")
    assert written(shot) == 3
    with open_frames(shot.matte) as reader:
        assert len(list(reader)) == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_pictures_of_a_video_with_a_long_name_get_names_in_order(tmp_path):
    source = write_video(tmp_path / f"{LONG}.mkv", moving_clip(12, 24, 40), "ffv1", "gbrp16le")
    assert written(Shot(source, tmp_path / "pictures")) == 12
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert [name.split(".", 1)[1] for name in names] == [f"{index:06d}.png" for index in range(12)]
    assert len({name.split(".")[0] for name in names}) == 1 and max(len(os.fsencode(name)) for name in names) <= 255
    with pytest.raises(MediaError, match=r"\.000003\.png exists already"):
        refuse_taken(Shot(source, tmp_path / "pictures", first=3, last=5))


@pytest.mark.parametrize("name", ["素" * 84 + ".mov", "素" * 84 + ".png", "素" * 86])
def test_a_name_that_no_disk_takes_is_said(tmp_path, clip, name):
    for files in ({"matte": tmp_path / name}, {"matte": tmp_path / "m.mov", "preview": tmp_path / f"{'素' * 84}.mp4"}):
        with pytest.raises(MediaError, match=f"too long for its disk, which usually takes {LONGEST_NAME} bytes"):
            Shot(clip, **files, first=0, last=0)


def test_a_stopped_run_with_a_long_name_is_gone_on_with(tmp_path, clip, pipeline, monkeypatch):
    stopped, named = (Shot(clip, tmp_path / f"{LONG}_{number}.mkv") for number in (1, 2))

    def full(*_, **__):
        raise MediaError("the disk is full")

    monkeypatch.setattr(write_module, "join_videos", full)
    with pytest.raises(MediaError, match="full"):
        written(stopped, run_key(stopped, Matting(pipeline)))
    monkeypatch.undo()
    assert adopt(named, Matting(pipeline)) == stopped.matte
    with begin(stopped, run_key(stopped, Matting(pipeline))) as parts:
        assert parts.missing() == [] and finish(stopped, parts) == 3


# ---- one file in two roles -----------------------------------------------------------------------------------------


def test_one_file_in_two_roles_is_said(tmp_path, clip):
    (tmp_path / "link.mov").symlink_to(tmp_path / "m.mov")
    frames = tmp_path / "frames"
    frames.mkdir()
    write_picture(frames / "a.1.png", moving_clip(1)[0])
    for source, matte, preview, sentence in (
        (clip, tmp_path / "m.mp4", tmp_path / "m.mp4", "both the matte and the preview"),
        (clip, tmp_path / "m.mov", tmp_path / "link.mov", "both the matte and the preview"),
        (clip, tmp_path / "frames" / ".." / "clip.mp4", None, "both the input and the matte"),
        (clip, tmp_path / "m.mov", clip, "both the input and the preview"),
        (frames, frames, None, "would replace the pictures"),
    ):
        with pytest.raises(MediaError, match=sentence):
            Shot(source, matte, preview)


def test_an_odd_size_is_said_once_by_the_name_of_the_output(tmp_path, pipeline, caplog):
    source = write_video(tmp_path / "odd.mkv", moving_clip(2, 31, 47))
    matte_shot(Shot(source, tmp_path / "m.mp4", tmp_path / "p.mov"), pipeline)
    assert caplog.text.count("m.mp4: odd width or height") == 1 and "p.mov: odd" not in caplog.text
    assert caplog.text.count("odd width or height") == 1
