"""The demos: each runs as a user runs it, on a tiny clip."""

import subprocess
import sys
from pathlib import Path

import av
import pytest
import torch
from support import moving_clip, write_picture

from gvm_core.media.sequence import read_picture
from gvm_core.post.color import srgb_to_linear

DEMOS = Path(__file__).parents[2] / "demos"  # ComfyUI would take a folder called examples for templates


def run(name, *arguments):
    command = [sys.executable, str(DEMOS / name), *map(str, arguments)]
    return subprocess.run(command, cwd=DEMOS.parent, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_a_clip_becomes_a_sequence_of_float_mattes(tmp_path):
    (tmp_path / "in").mkdir()
    for number, picture in enumerate(moving_clip(3, 32, 40)):
        write_picture(tmp_path / "in" / f"{number:04}.png", picture)
    assert "3 frames" in run("clip_to_exr.py", tmp_path / "in", tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"matte.{index:06}.exr" for index in range(3)]
    picture = read_picture(files[0])
    assert picture.shape == (3, 32, 40) and 0 <= float(picture.min()) <= float(picture.max()) <= 1.001


@pytest.mark.slow
def test_the_core_runs_inside_a_loop_and_stops_when_asked():
    assert run("inside_a_loop.py").count("the subject covers") == 16
    assert "stopped" in run("inside_a_loop.py", 0)


def test_the_exr_keeps_the_matte_to_half_precision(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DEMOS))
    from clip_to_exr import exr

    alpha = torch.rand(1, 21, 37, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "a.exr"
    file.write_bytes(exr(alpha))
    with av.open(str(file)) as container:
        assert next(container.decode(video=0)).format.name.startswith("gray")  # one channel
    assert (srgb_to_linear(read_picture(file)) - alpha).abs().max() < 6e-4  # reading makes linear light sRGB
