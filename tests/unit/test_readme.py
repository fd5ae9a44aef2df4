"""The README: whatever it says, a fresh clone does."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
from support import moving_clip, write_picture, write_video

from gvm_core.cli import main, parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def commands():
    """Every ``gvm`` command of the README, once without and once with what stands in brackets."""
    for kind, block in BLOCKS:
        if kind:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            command = line.partition("  #")[0].strip()
            if command.startswith("gvm "):
                yield re.sub(r"\[[^\]]*\]", "", command)
                if "[" in command:
                    yield command.replace("[", "").replace("]", "")


def test_the_python_of_the_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    write_video(tmp_path / "clip.mp4", moving_clip(3, 40, 56))
    monkeypatch.chdir(tmp_path)
    code = [block for kind, block in BLOCKS if kind == "python"]
    assert code
    for block in code:
        Path("example.py").write_text(block, encoding="utf-8")
        runpy.run_path("example.py")
    assert capsys.readouterr().out.startswith("0 tensor(")


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_of_the_readme_is_understood(command):
    options = parser().parse_args(shlex.split(command)[1:])
    assert callable(options.run)


@pytest.mark.slow
def test_the_first_commands_of_the_readme_make_mattes(tmp_path, monkeypatch):
    write_video(tmp_path / "IN.mp4", moving_clip(3, 40, 56))
    write_picture(tmp_path / "face.jpg", moving_clip(1, 40, 56)[0], "yuvj444p")
    monkeypatch.chdir(tmp_path)
    assert main(["matte", "IN.mp4", "OUT.mov", "--preview", "OVER.mp4"]) == 0
    assert main(["matte", "face.jpg", "face.png", "--preview", "over.png"]) == 0
    assert {"OUT.mov", "OVER.mp4", "face.png", "over.png"} <= {path.name for path in tmp_path.iterdir()}


def test_the_file_tree_names_what_is_there():
    tree = next(block for kind, block in BLOCKS if "← start here" in block)
    for line in tree.splitlines():
        if line.startswith("    "):  # goes on with what the line before says
            continue
        column = re.split(r"\s{2,}", line.strip())[0]
        for each in re.findall(r"[\w.]+(?:\.py|/)", column):
            assert any((ROOT / folder / each).exists() for folder in ("", "gvm_core")), each
