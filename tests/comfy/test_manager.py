"""The real ComfyUI-Manager installs, updates and removes the pack: what a user loses here is a ComfyUI that starts.

Each release has an environment of its own in ``.cache``: a copy of the one that all tests share, with the Manager in it.
The oldest release has the Manager and the libraries of its time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from archive import ROOT, commit, outside_git, unpack
from comfy_env import OLDEST, OLDEST_LIBRARIES, RefusedError, Server, variables

URL = "https://github.com/ComfyUI-GVM/ComfyUI-GVM"
NAME = "generative-video-matting"
VERSION = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
NODES = set(json.loads((ROOT / "node_list.json").read_text(encoding="utf-8")))
FLAGS = ("--enable-manager", "--enable-manager-legacy-ui")  # the page that has "Install via Git URL"
SETTINGS = "[default]\nnetwork_mode = offline\nsecurity_level = normal-\nallow_git_url_install = true\nuse_uv = {}\n"
"""The Manager's settings. Since 4.2, a git URL needs allow_git_url_install; before that, security_level normal- or weak."""

pytestmark = [pytest.mark.comfy, pytest.mark.slow]


# ------------------------------------------------------------------------------------------------ its environment


@pytest.fixture(scope="module")
def python(comfyui, comfy_python):
    """A python that has the Manager, and that installing the pack may change."""
    old = f'"{OLDEST}"' in (comfyui / "comfyui_version.py").read_text(encoding="utf-8")
    if old and sys.version_info >= (3, 14):
        pytest.skip("PYTHON IS TOO NEW FOR OLD LIBRARIES: installing beside them was NOT tested.")
    packages = [*pinned(comfyui), *OLDEST_LIBRARIES.split()] if old else ["comfyui-manager"]
    shared, folder = comfy_python.parents[1], ROOT / ".cache" / "manager" / ("oldest" if old else "newest")
    what = [(shared / "complete.txt").read_text(), *packages, *([] if old else [f"{date.today():%Y-%m}"])]
    made, stamp = folder / comfy_python.relative_to(shared), folder / "manager.json"
    recipe = hashlib.sha256("\n".join(what).encode()).hexdigest()
    if not (stamp.is_file() and json.loads(stamp.read_text()) == [recipe, freeze(made)]):  # or a failed test changed it
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(
            shared, folder, symlinks=True, copy_function=os.link
        )  # pip replaces files, and writes into none
        pip(made, "install", "--quiet", *packages)
        stamp.write_text(json.dumps([recipe, freeze(made)]))
    return made


def pinned(comfyui: Path) -> list[str]:
    """The versions that a release names exactly, the Manager's among them."""
    files = (comfyui / "requirements.txt", comfyui / "manager_requirements.txt")
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "==" in line and "workflow-templates" not in line]


def pip(python: Path, *arguments: str) -> str:
    """What pip prints; fails with all of it."""
    command = [python, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, env=variables(), capture_output=True, text=True)
    if done.returncode and "connection broken" in done.stderr:
        pytest.skip("NO PACKAGE INDEX CAN BE REACHED: installing with ComfyUI-Manager was NOT tested.")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def freeze(python: Path) -> str:
    """Every package with its version."""
    return pip(python, "freeze", "--all")


# ------------------------------------------------------------------------------------------------ its server


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A git repository with this checkout, which git takes in place of the one at GitHub."""
    for name in set(os.environ) - set(outside_git()):
        monkeypatch.delenv(name)
    repository = commit(tmp_path / "published")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{repository.as_posix()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", URL)
    return repository


@pytest.fixture
def start(comfyui, python, tmp_path):
    """Starts ComfyUI with its Manager, which installs with uv or with pip; the packs stay from start to start."""
    base = tmp_path / "base"

    def started(uv: bool = True) -> Server:
        (base / "user" / "__manager").mkdir(parents=True, exist_ok=True)
        (base / "user" / "__manager" / "config.ini").write_text(SETTINGS.format(str(uv).lower()))
        return Server(comfyui, python, base, {}, FLAGS)

    return started


def ask(server: Server, what: str, pack: dict) -> str:
    """Have the Manager update or uninstall a pack, as its page asks for it; what came of it."""

    def answer() -> dict | None:
        try:
            return server.get(f"/v2/manager/queue/history?id={what}")
        except RefusedError:
            return None  # not done yet

    server.post("/v2/manager/queue/batch", {"batch_id": what, what: [{"ui_id": "ours", **pack}]})
    return server.wait_for(answer, 300, what)["nodepack_result"]["ours"]


def installed(server: Server) -> dict:
    """What the Manager says of the packs that it sees, without its own."""
    return server.get("/v2/customnode/installed")


def assert_all_is_well(server: Server) -> None:
    assert set(server.get("/object_info")) >= NODES
    assert not re.search(r"IMPORT FAILED|Cannot import|Traceback", server.log)


# ------------------------------------------------------------------------------------------------ what users do


def test_the_manager_installs_updates_and_removes_a_git_url_and_changes_no_package(start, python, published):
    before = freeze(python)
    assert "manager" in before
    pack = {"id": "ComfyUI-GVM", "version": "unknown", "files": [URL]}

    with start() as server:
        server.post("/v2/customnode/install/git_url", URL.encode())
        assert installed(server)["ComfyUI-GVM"]["enabled"], server.log
        log = " ".join(server.log.split())  # the Manager wraps its lines
        assert "'uv', 'pip', 'install', 'av>=" in log, "it was to install the requirements"
    assert freeze(python) == before

    release(published, "GVM Synthetic Clip", "GVM Drawn Clip")
    with start(uv=False) as server:
        assert_all_is_well(server)
        assert server.get("/object_info")["GVMSyntheticClip"]["display_name"] == "GVM Synthetic Clip"
        assert ask(server, "update", pack) == "success"
    assert freeze(python) == before

    with start() as server:
        assert_all_is_well(server)
        assert server.get("/object_info")["GVMSyntheticClip"]["display_name"] == "GVM Drawn Clip"
        assert ask(server, "uninstall", pack) == "success"
        assert installed(server) == {} and not list((server.base / "custom_nodes").iterdir())
    assert freeze(python) == before

    with start() as server:
        assert not set(server.get("/object_info")) & NODES


def release(repository: Path, old: str, new: str) -> None:
    """Commit a change of the pack."""
    module = repository / "nodes" / "measure.py"
    module.write_text(module.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.check_call(["git", *who, "commit", "--quiet", "--all", "-m", "two"], cwd=repository)


def test_the_manager_knows_the_registrys_archive_with_its_version_and_removes_it(start):
    with start() as server:
        folder = unpack(server.base / "custom_nodes" / NAME)
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        (folder / ".tracking").write_text("\n".join(files))  # as the Manager does when it has unpacked an archive
        found = installed(server)[NAME]
        assert (found["cnr_id"], found["ver"], found["enabled"]) == (NAME, VERSION, True)
        assert ask(server, "uninstall", {"id": NAME, "version": VERSION}) == "success"
        assert not folder.exists()
