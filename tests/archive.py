"""The archive that the Comfy Registry serves: git's files without those that ``.comfyignore`` names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).absolute().parents[1]
NO_GIT = "NO GIT CHECKOUT: what the Registry's archive holds was NOT tested."


def packed_files() -> list[str]:
    """The files of the archive, relative to the pack's folder, sorted. Skips the test outside a git checkout."""
    return sorted(set(git("ls-files")) - set(git("ls-files", "--cached", "--ignored", "--exclude-from=.comfyignore")))


def unpack(folder: Path) -> Path:
    """Put the files of the archive into a new folder, as the Manager unpacks them."""
    for name in packed_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def git(*arguments: str) -> list[str]:
    """What git prints of this checkout, line by line."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip(NO_GIT)
    command = ["git", "-c", "core.quotePath=false", *arguments]
    return subprocess.check_output(command, cwd=ROOT, env=outside_git(), text=True, encoding="utf-8").splitlines()


def outside_git() -> dict[str, str]:
    """The environment without git's own variables: in a hook, they name another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
