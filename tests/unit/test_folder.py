"""The clips of a folder, and `gvm matte` on a folder of clips."""

import json

import pytest
import torch
from support import moving_clip, write_video

from gvm_core.cli import main
from gvm_core.errors import MediaError
from gvm_core.media import open_frames
from gvm_core.media.folder import clips_in, is_folder_of_clips
from gvm_core.media.png import png16


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png16(torch.zeros(1, 4, 4)))


def test_every_clip_is_found_in_order_and_nothing_else_is(tmp_path):
    for name in ("shot10.mov", "shot2.MP4", "b.mp4", "b.mov", ".hidden.mp4", "notes.txt"):
        (tmp_path / name).touch()
    picture(tmp_path / "plates" / "a.0001.png")
    picture(tmp_path / ".gvm-parts" / "a.0001.png")
    (tmp_path / "empty").mkdir()
    assert list(clips_in(tmp_path)) == ["b.mov", "b.mp4", "plates", "shot2", "shot10"]
    assert clips_in(tmp_path)["shot2"] == tmp_path / "shot2.MP4" and is_folder_of_clips(tmp_path)


def test_a_folder_of_one_sequence_stays_one_clip(tmp_path):
    picture(tmp_path / "a.0001.png")
    (tmp_path / "making_of.mp4").touch()
    assert not is_folder_of_clips(tmp_path) and not is_folder_of_clips(tmp_path / "a.0001.png")


def test_a_folder_without_clips_is_a_sentence(tmp_path):
    assert not is_folder_of_clips(tmp_path)
    with pytest.raises(MediaError, match="there are no clips in"):
        clips_in(tmp_path)
    with pytest.raises(MediaError, match="there is no folder"):
        clips_in(tmp_path / "nowhere")


def folder_of(tmp_path, *names, frames=4):
    folder = tmp_path / "shots"
    folder.mkdir()
    for name in names:
        write_video(folder / name, moving_clip(frames, 24, 32))
    return folder


@pytest.fixture
def gvm(tiny_folder, tmp_path):
    """Runs ``gvm matte`` with a tiny model, and returns its exit code."""

    def run(*words):
        small = ["--model", str(tiny_folder), "--max-edge", "32", "--device", "cpu"]
        return main(["matte", *(str(word) for word in words), *small])

    return run


def test_one_broken_clip_does_not_stop_the_others_and_a_table_says_which(tmp_path, gvm, capsys):
    folder = folder_of(tmp_path, "a.mp4", "c.mp4")
    (folder / "b.mp4").write_bytes((folder / "a.mp4").read_bytes()[:300])
    assert gvm(folder, tmp_path / "out") == 1
    said = capsys.readouterr()
    rows = [line.split(maxsplit=3) for line in said.out.splitlines() if line[:2] in ("a ", "b ", "c ")][-3:]
    assert [row[:2] for row in rows] == [["a", "4"], ["b", "0"], ["c", "4"]] and "failed: " in rows[1][3]
    assert "1 of 3 clips failed" in said.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mov", "c.mov"]


def test_the_same_command_goes_on_with_the_clips_that_are_missing(tmp_path, gvm, capsys):
    folder, out = folder_of(tmp_path, "a.mp4", "b.mp4"), tmp_path / "out"
    words = (folder, out / "{name}_m.mkv", "--subject", out / "{name}_s.mov")
    assert gvm(*words) == 0
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert len(before) == 4
    for name in ("b_m.mkv", "b_s.mov"):
        (out / name).unlink()
        before.pop(out / name)
    assert gvm(*words) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in before.items()) and (out / "b_s.mov").exists()
    assert capsys.readouterr().out.count("there already") == 1
    (out / "b_s.mov").unlink()
    assert gvm(*words) == 1 and "b_m.mkv exists already" in capsys.readouterr().out


def test_a_clip_has_its_own_options_and_all_have_the_common_ones(tmp_path, gvm, capsys):
    folder = folder_of(tmp_path, "a.mp4", "b.mp4")
    table = {"*": {"frames": "1-2", "strict": True}, "b": {"frames": "0", "format": "png16", "strict": False}}
    (folder / "gvm.json").write_text(json.dumps(table))
    assert gvm(folder, tmp_path / "out") == 0, capsys.readouterr()
    with open_frames(tmp_path / "out" / "a.mov") as reader:
        assert reader.counted() == 2
    assert len(list((tmp_path / "out" / "b").iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "gvm.json cannot be read"),
        ('{"a": 3}', "gvm.json must be a table of clips"),
        ('{"z": {}}', "gvm.json names 'z', but the clips are a"),
        ('{"a": {"colour": 1}}', "unknown option 'colour' for 'a'"),
        ('{"a": {"output": "x.mov"}}', "unknown option 'output' for 'a'"),
        ('{"a": {"window": "many"}}', "gvm.json, 'a': argument --window: invalid int value: 'many'"),
        ('{"a": {"frames": true}}', "gvm.json, 'a': argument --frames: expected one argument"),
    ],
)
def test_a_mistake_in_the_options_is_a_sentence_before_anything_is_matted(tmp_path, gvm, capsys, content, sentence):
    folder = folder_of(tmp_path, "a.mp4")
    (folder / "gvm.json").write_text(content)
    assert gvm(folder, tmp_path / "out") == 1
    assert sentence in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_one_file_for_all_clips_is_refused(tmp_path, gvm, capsys):
    assert gvm(folder_of(tmp_path, "a.mp4", "b.mp4"), tmp_path / "out.mov") == 1
    assert "write {name} where a clip's name goes, as in" in capsys.readouterr().err
