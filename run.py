#!/usr/bin/env python3
"""Commands for a fresh clone: ``python run.py demo``, ``test``, ``comfy``, and ``python run.py doctor``.

demo makes .venv, installs the packages, mattes a sample clip with the bundled model, and prints where the results are.
test also installs the test tools and runs every test, or with --quick only the quick ones. comfy links this pack into the
ComfyUI that it finds, and starts it. doctor prints one page for a bug report, with that ComfyUI's Python if there is one.
This script needs only the standard library.
"""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
import time
import venv
import webbrowser
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PORT = 8188


def main() -> int:
    """Run the command named on the command line."""
    commands = {"demo": demo, "test": test, "comfy": comfy, "doctor": doctor}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print(__doc__)
        return 2
    return commands[sys.argv[1]](sys.argv[2:])


def demo(arguments: list[str]) -> int:
    """Matte a sample clip and put the results together for viewing."""
    install("demo")
    return subprocess.call([PYTHON, ROOT / "demos" / "demo.py", *arguments], cwd=ROOT)


def test(arguments: list[str]) -> int:
    """Check style and types, then run every test that can run here, or with --quick only the quick ones."""
    install("dev")
    if "--quick" in arguments:
        arguments = [*(each for each in arguments if each != "--quick"), "tests/unit", "-m", "not slow"]
    checks = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["pyright"]]
    for check in checks:
        print("+", *check, flush=True)
        if code := subprocess.call([PYTHON, "-m", *check], cwd=ROOT):
            return code
    hangs = "--timeout=1800"  # then a test that hangs is one that fails
    return subprocess.call([PYTHON, "-m", "pytest", hangs, *shared(arguments), *arguments], cwd=ROOT)


def shared(arguments: list[str]) -> list[str]:
    """Options of pytest that share the tests among the processors: a file's tests stay together."""
    named = any(each.partition("=")[0] in ("-n", "--numprocesses", "--dist", "--pdb") for each in arguments)
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 4)
    return [] if named or workers < 2 else ["-n", f"{workers}"]  # tests/conftest.py says what stays together


def comfy(arguments: list[str]) -> int:
    """Link this pack into ComfyUI's custom_nodes, start ComfyUI, and open the first workflow when it is ready."""
    home = find_comfyui()
    if home is None:
        print(
            "No ComfyUI found at COMFYUI_PATH, in the folder around custom_nodes/, or at ~/comfy/ComfyUI.\n"
            "To install it:  pip install comfy-cli  &&  comfy install\nThen run this again."
        )
        return 1
    python = python_of(home)
    if python is None:
        print(f"ComfyUI is at {home}, but its Python was not found. Set COMFYUI_PYTHON to its path and run this again.")
        return 1
    link = home / "custom_nodes" / "ComfyUI-GVM"
    if ROOT.parent != home / "custom_nodes" and not link.is_dir():
        try:
            link.symlink_to(ROOT, target_is_directory=True)
        except OSError as error:
            print(f"Could not link {link} to {ROOT} ({error}). Copy {ROOT} to {link} and run this again.")
            return 1
        print(f"linked {link} -> {ROOT}")
    rest = [argument for argument in arguments if argument != "--no-browser"]
    server = subprocess.Popen([python, home / "main.py", "--disable-auto-launch", *rest], cwd=home)
    try:
        if "--no-browser" not in arguments and answers("127.0.0.1", PORT, server):
            webbrowser.open(f"http://127.0.0.1:{PORT}/?template=matte_video&source={link.name}")
        return server.wait()
    except KeyboardInterrupt:
        return server.wait()


def doctor(arguments: list[str]) -> int:
    """Run ``gvm doctor`` with ComfyUI's Python if it is found, else with this one, or with that of .venv."""
    try:
        home = find_comfyui()
    except (
        ValueError,
        OSError,
    ):  # COMFYUI_PATH names something else, which the doctor says; or there are no tests here
        home = None
    this = sys.executable if find_spec("torch") else str(PYTHON)
    python = (home and python_of(home)) or this
    start = "import sys; sys.path.insert(0, sys.argv.pop(1))"  # ComfyUI's own Python does not look beside a script
    start += "; from gvm_core.cli import main; sys.exit(main(sys.argv[1:]))"
    if not Path(python).exists():
        print("There is no Python with torch here. Run this with ComfyUI's Python, or make one: python run.py demo")
        return 1
    return subprocess.call([python, "-c", start, str(ROOT), "doctor", *arguments])


def find_comfyui() -> Path | None:
    """The ComfyUI that this pack is in or that is near; see the tests, which look for it, too."""
    return runpy.run_path(str(ROOT / "tests" / "comfy" / "comfy_env.py"))["find_comfyui"]()


def python_of(home: Path) -> str | None:
    """The Python that runs the ComfyUI in ``home``: the one in COMFYUI_PYTHON, or one that is usual there."""
    places = (home / ".venv", home / "venv", home.parent / ".venv", home.parent / "python_embeded")
    pythons = [place / name for place in places for name in ("bin/python", "Scripts/python.exe", "python.exe")]
    return os.environ.get("COMFYUI_PYTHON") or next((str(path) for path in pythons if path.is_file()), None)


def answers(address: str, port: int, server: subprocess.Popen) -> bool:
    """Wait until the server accepts connections. Return False if it ended instead."""
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                return True
        time.sleep(0.5)
    return False


def install(group: str) -> None:
    """Make .venv if it is missing. Install this pack, its requirements and a dependency group of pyproject.toml there.

    A second call does nothing, unless pyproject.toml has changed.
    """
    if not PYTHON.exists():
        print(f"making {VENV}", flush=True)
        venv.create(VENV, with_pip=True)
    project, done = (ROOT / "pyproject.toml").read_bytes(), VENV / f"installed-{group}.toml"
    if done.is_file() and done.read_bytes() == project:
        return
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.check_call([*pip, "pip>=25.1"])  # the first that knows dependency groups
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}  # setuptools warns of every editable installation
    subprocess.check_call([*pip, "--group", group, "-e", "."], cwd=ROOT, env=quiet)
    done.write_bytes(project)


if __name__ == "__main__":
    raise SystemExit(main())
