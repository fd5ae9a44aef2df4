#!/usr/bin/env python3
"""Three commands for a fresh clone: ``python run.py demo``, ``python run.py test``, ``python run.py comfy``.

demo makes .venv, installs what is needed, mattes the drawn and the photographed sample with the bundled model and says
where to look. test installs the test tools too and runs every test, with --quick those that take moments. comfy starts the ComfyUI it finds with this pack
linked in. Standard library only.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PORT = 8188


def main() -> int:
    """Run the command named on the command line."""
    commands = {"demo": demo, "test": test, "comfy": comfy}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print(__doc__)
        return 2
    return commands[sys.argv[1]](sys.argv[2:])


def demo(arguments: list[str]) -> int:
    """Matte the sample clips and lay the results out to be looked at."""
    install("demo")
    return subprocess.call([PYTHON, ROOT / "demos" / "demo.py", *arguments], cwd=ROOT)


def test(arguments: list[str]) -> int:
    """Check style and types, then run every test that can run here; with --quick only those that take moments."""
    install("dev")
    if "--quick" in arguments:
        arguments = [*(each for each in arguments if each != "--quick"), "tests/unit", "-m", "not slow"]
    checks = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["pyright"]]
    for check in checks:
        print("+", *check, flush=True)
        if code := subprocess.call([PYTHON, "-m", *check], cwd=ROOT):
            return code
    return subprocess.call([PYTHON, "-m", "pytest", *arguments], cwd=ROOT)


def comfy(arguments: list[str]) -> int:
    """Start ComfyUI with this pack linked into its custom_nodes, and open the first workflow once it answers."""
    home = runpy.run_path(str(ROOT / "tests" / "comfy" / "comfy_env.py"))["find_comfyui"]()
    if home is None:
        print(
            "No ComfyUI found (COMFYUI_PATH, the folder around custom_nodes/, ~/comfy/ComfyUI).\n"
            "To get one:  pip install comfy-cli  &&  comfy install\nThen run this again."
        )
        return 1
    places = (home / ".venv", home / "venv", home.parent / ".venv", home.parent / "python_embeded")
    pythons = [place / name for place in places for name in ("bin/python", "Scripts/python.exe", "python.exe")]
    python = os.environ.get("COMFYUI_PYTHON") or next((str(path) for path in pythons if path.is_file()), None)
    if python is None:
        print(f"ComfyUI is at {home}, but which Python runs it? Set COMFYUI_PYTHON to that and run this again.")
        return 1
    link = home / "custom_nodes" / "ComfyUI-GVM"
    if ROOT.parent != home / "custom_nodes" and not link.is_dir():
        try:
            link.symlink_to(ROOT, target_is_directory=True)
        except OSError as error:
            print(f"Could not link {link} to {ROOT} ({error}); copy this folder there and run this again.")
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


def answers(address: str, port: int, server: subprocess.Popen) -> bool:
    """Wait until the server takes connections; False if it ended instead."""
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                return True
        time.sleep(0.5)
    return False


def install(group: str) -> None:
    """Make .venv if there is none, and install this pack, what it needs and a dependency group of pyproject.toml there."""
    if not PYTHON.exists():
        print(f"making {VENV}", flush=True)
        venv.create(VENV, with_pip=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.check_call([*pip, "pip>=25.1"])  # the first that knows dependency groups
    subprocess.check_call([*pip, "--group", group, "-e", "."], cwd=ROOT)


if __name__ == "__main__":
    raise SystemExit(main())
