"""The command line: what a user loses here is an evening."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import moving_clip, own_size, read_levels, write_picture, write_video

from gvm_core import MattingPipeline, TorchHost, load_model
from gvm_core.cli import main
from gvm_core.media import open_frames

ROOT = Path(__file__).parents[2]


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", moving_clip(11, 40, 56))


def test_the_matte_file_is_the_pipelines_matte(tmp_path, tiny_folder, video, capsys):
    out = tmp_path / "matte.mkv"
    code = main(
        ["matte", str(video), str(out), "--model", str(tiny_folder), "--short-edge", "own", "--max-edge", "own"]
    )
    assert code == 0, capsys.readouterr().err
    with open_frames(video) as reader:
        alpha = MattingPipeline(load_model(tiny_folder), own_size(), TorchHost("cpu")).matte(list(reader))
    levels = torch.stack([torch.from_numpy(frame.astype("int32")) for frame in read_levels(out)])
    assert levels.shape == (11, 40, 56)
    assert (levels - (alpha[:, 0] * 65535).round()).abs().max() <= 1
    assert "11/11" in capsys.readouterr().err


def test_a_sequence_keeps_its_frame_names(tmp_path, tiny_folder):
    (tmp_path / "in").mkdir()
    for number, picture in enumerate(moving_clip(3, 16, 16), start=1001):
        write_picture(tmp_path / "in" / f"shot.{number}.png", picture)
    assert (
        main(["matte", str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(tiny_folder), "--max-edge", "32"])
        == 0
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"shot.{n}.png" for n in (1001, 1002, 1003)]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "last"), [(0, 3), (10, 19), (17, 17), (33, 39), (38, 60)])
def test_a_frame_range_gives_the_same_mattes_as_the_whole_run(tmp_path, tiny_folder, first, last):
    video = write_video(tmp_path / "clip.mp4", moving_clip(40, 32, 32))
    common = ["--model", str(tiny_folder), "--max-edge", "32"]
    assert main(["matte", str(video), str(tmp_path / "whole"), *common]) == 0
    part = ["--frames", f"{first}-{last}"]
    assert main(["matte", str(video), str(tmp_path / "part"), *common, *part]) == 0
    names = sorted(p.name for p in (tmp_path / "part").iterdir())
    assert names == [f"clip_matte.{n:06d}.png" for n in range(first, min(last, 39) + 1)]
    for name in names:
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.mp4", "o.mp4"], "there is no file or folder"),
        (["{video}", "o.mp4", "--overlap", "8"], "smaller than the window"),
        (["{video}", "o.gif"], ".gif is not written; use"),
        (["{video}", "o.mp4", "--model", "nowhere"], "there is no model folder"),
        (["{video}", "{video}"], "cannot be both the input and the matte"),
        (["{video}", "o.mp4", "--lora", "nowhere.safetensors"], "there is no LoRA file"),
        (["{video}", "o.mp4", "--frames", "99-"], "there is no frame"),
        (["{video}", "o.mp4", "--frames", "5-2"], "not a range"),
    ],
)
def test_mistakes_end_in_one_sentence_and_no_file(
    tmp_path, tiny_folder, video, arguments, sentence, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    filled = [a.format(video=video) for a in arguments]
    if "--model" not in filled:
        filled += ["--model", str(tiny_folder)]
    before = set(tmp_path.iterdir())
    assert main(["matte", *filled]) == 1
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "sentence", "command"),
    [
        (["matte", "clip.mp4"], "required: output", "gvm matte"),
        (["matte", "clip.mp4", "o.mov", "--nope"], "unrecognized arguments: --nope", "gvm"),
        (["evaluate", "synthetic", "--clips", "many"], "invalid int value: 'many'", "gvm evaluate synthetic"),
        (["mate", "clip.mp4", "o.mov"], "choose from 'matte'", "gvm"),
    ],
)
def test_a_wrong_command_is_answered_in_two_lines_not_under_a_page_of_options(arguments, sentence, command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    first, second = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert first.startswith("error: ") and sentence in first and second == f"all options: {command} --help"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as SIGINT")
def test_ctrl_c_stops_within_a_window_and_leaves_no_half_file(tmp_path, tiny_folder):
    video = write_video(tmp_path / "long.mp4", moving_clip(400, 64, 64))
    command = [
        sys.executable,
        "-m",
        "gvm_core",
        "matte",
        str(video),
        str(tmp_path / "m.mp4"),
        "--model",
        str(tiny_folder),
    ]
    listen = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background is born deaf to it
    process = subprocess.Popen([*command, "--max-edge", "64"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, listen)
    while not list(tmp_path.glob(".gvm-parts/*/0*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped" in error and "Traceback" not in error
    assert sorted(p.name for p in tmp_path.iterdir()) == [".gvm-parts", "long.mp4"]
