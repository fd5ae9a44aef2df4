"""What users install: git's files, and the Comfy Registry's archive, which lacks those that ``.comfyignore`` names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).absolute().parents[1]


def packed_files() -> list[str]:
    """The files of the archive, relative to the pack's folder, sorted. Skips the test outside a git checkout."""
    return sorted(set(git("ls-files")) - set(git("ls-files", "--cached", "--ignored", "--exclude-from=.comfyignore")))


def unpack(folder: Path) -> Path:
    """Put the files of the archive into a new folder, as the Manager unpacks them."""
    return copy(packed_files(), folder)


def commit(folder: Path) -> Path:
    """Put the files of this checkout, as they are now, into a new git repository with one commit."""
    copy(git("ls-files"), folder)
    command = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for step in (["init", "--quiet", "-b", "main"], ["add", "--all", "--force"], ["commit", "--quiet", "-m", "one"]):
        subprocess.check_call([*command, *step], env=outside_git())
    return folder


def copy(names: list[str], folder: Path) -> Path:
    """Copy files of the pack into a folder, each to its place."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def git(*arguments: str) -> list[str]:
    """What git prints of this checkout, line by line."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("NO GIT CHECKOUT: what the Registry and the Manager install was NOT tested.")
    command = ["git", "-c", "core.quotePath=false", *arguments]
    return subprocess.check_output(command, cwd=ROOT, env=outside_git(), text=True, encoding="utf-8").splitlines()


def outside_git() -> dict[str, str]:
    """The environment without git's own variables: in a hook, they name another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
