"""Installing the pack: what a user loses here is a ComfyUI that starts.

Environments as ComfyUI allows them, without a ComfyUI: pip is asked what it would do in them, and the core is tried on
the oldest versions that the pack states. They are built once, in this repository's ``.cache``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from comfy_env import OLDEST_LIBRARIES

from gvm_core import __version__

ROOT = Path(__file__).parents[2]
REQUIREMENTS = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.strip()]
OURS = "generative-video-matting"
WORLDS = {
    "oldest": f"{OLDEST_LIBRARIES} numpy==1.25.0",
    "newest": "transformers huggingface_hub av numpy safetensors einops",
}
"""What of ComfyUI's own requirements decides what our requirements would bring."""
STATED = (
    "av==14.2.0 numpy==1.25.0 safetensors==0.4.2 einops==0.3.0 filelock==3.13.0 huggingface_hub==0.26.0 tqdm==4.60.0"
)
"""The oldest versions that our requirements allow; of einops, which they leave open, one of the year 2020."""

pytestmark = pytest.mark.slow


def oldest_python() -> str:
    """Python 3.10 where there is one, else this one."""
    tried = ["python3.10", *map(str, Path.home().glob(".pyenv/versions/3.10.*/bin/python")), sys.executable]
    return next(python for python in tried if shutil.which(python) and answers(python))


def answers(python: str) -> bool:
    """Whether a python can be run: some are only a notice that one could be installed."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True).returncode == 0


def world(name: str, packages: str, python: str = sys.executable, edition: str = "") -> Path:
    """The python of a virtual environment with ``packages``, built once for each ``edition``.

    A stamp that is written last says that it is whole.
    """
    folder = ROOT / ".cache" / "worlds" / name
    made = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, digest = folder / "complete.txt", hashlib.sha256(f"{python} {packages} {edition}".encode()).hexdigest()
    if not (stamp.is_file() and stamp.read_text() == digest):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", folder], check=True)
        pip(made, "install", "pip>=23.1")
        pip(made, "install", *packages.split())
        stamp.write_text(digest)
    return made


def pip(python: Path, *arguments: str | Path) -> str:
    """What pip prints; fails with all of it."""
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode and "connection broken" in done.stderr:  # pip's words before it tries again
        pytest.skip("NO PACKAGE INDEX CAN BE REACHED: what installing changes was NOT tested.")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def would_install(python: Path, *arguments: str | Path) -> list[str]:
    """What pip would install, upgrade or downgrade, as ``name version``."""
    report = json.loads(pip(python, "install", "--dry-run", "--report", "-", *arguments))
    return [f"{each['metadata']['name']} {each['metadata']['version']}" for each in report["install"]]


def source(folder: Path) -> Path:
    """A copy of what is packed, to build from: a build writes beside what it reads."""
    shutil.copytree(ROOT / "gvm_core", folder / "gvm_core", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def oldest():
    return world("oldest", WORLDS["oldest"], oldest_python())


@pytest.fixture(scope="module")
def newest():
    return world("newest", WORLDS["newest"], edition=f"{date.today():%Y-%m}")


@pytest.mark.parametrize("name", WORLDS)
def test_the_requirements_change_nothing_that_comfyui_has(name, request):
    python = request.getfixturevalue(name)
    assert would_install(python, "-r", "requirements.txt") == []
    for line in REQUIREMENTS:  # as ComfyUI-Manager installs them
        assert would_install(python, line) == []


def test_a_requirement_that_breaks_comfyui_would_be_seen(oldest):
    """diffusers brings a huggingface_hub beside which that transformers, and so ComfyUI, does not start."""
    assert any(each.startswith(("huggingface", "diffusers")) for each in would_install(oldest, "diffusers>=0.32"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the oldest versions that we state and this package in it, as ``pip install .`` does it."""
    torch = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("demo = "))
    python = world("stated", f"{torch.split(chr(34))[1]} {STATED} pillow pytest hypothesis", oldest_python())
    here = source(tmp_path_factory.mktemp("source"))
    assert [each.partition(" ")[0] for each in would_install(python, "--force-reinstall", "--no-deps", here)] == [OURS]
    assert set(would_install(python, here)) <= set(would_install(python, "--no-deps", here))
    pip(python, "install", "--force-reinstall", "--no-deps", here)
    return python


def test_pip_install_brings_a_gvm_command_that_mattes_without_diffusers(installed, tmp_path):
    gvm = installed.parent / ("gvm.exe" if os.name == "nt" else "gvm")
    sample, matte = ROOT / "web" / "samples" / "gvm_sample_walker.mp4", tmp_path / "matte.mkv"
    command = [gvm, "matte", sample, matte, "--frames", "0-7", "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert matte.stat().st_size > 1000
    assert subprocess.run([installed, "-c", "import diffusers"], capture_output=True).returncode != 0
    asked = [installed, "-c", "import gvm_core; print(gvm_core.__version__)"]
    assert subprocess.check_output(asked, cwd=tmp_path, text=True).strip() == __version__


def test_the_version_is_written_down_once():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{__version__}"\n' in text
    modules = [*(ROOT / "gvm_core").rglob("*.py"), *(ROOT / "nodes").rglob("*.py"), ROOT / "__init__.py"]
    assert not [path for path in modules if f'"{__version__}"' in path.read_text(encoding="utf-8")]


EVERY_CODEC = "test_sound_of_every_codec_in_every_container_is_heard_at_its_time_and_costs_no_matte"


def test_the_core_works_with_the_oldest_versions_that_we_state(installed, tmp_path):
    files = ["lock", "progress", "download", "pipeline", "windows", "media", "resize", "models", "savings", "lora"]
    files += ["golden", "small_model", "picture", "labels", "plan"]
    command = [installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not compiled and not sigmas"]
    command += [*(f"tests/unit/test_{name}.py" for name in files), f"tests/unit/test_sound.py::{EVERY_CODEC}[vob]"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
