#!/usr/bin/env python3
"""Three commands for a fresh clone: ``python run.py demo``, ``python run.py test``, ``python run.py comfy``.

demo makes .venv, installs what is needed, mattes the drawn and the photographed sample with the bundled model and says
where to look. test installs the test tools too and runs every test. comfy starts the ComfyUI it finds with this pack
linked in. Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import webbrowser
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
TORCH = "torch==2.13.0"
DEV = ["pytest>=8", "hypothesis>=6.100", "ruff>=0.15", "pyright>=1.1.400", "pillow", "websocket-client"]


def main() -> int:
    """Run the command named on the command line."""
    commands = {"demo": demo, "test": test, "comfy": comfy}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print(__doc__)
        return 2
    return commands[sys.argv[1]](sys.argv[2:])


def demo(arguments: list[str]) -> int:
    """Matte the sample clips and lay the results out to be looked at."""
    install()
    return subprocess.call([PYTHON, ROOT / "tests" / "demo.py", *arguments], cwd=ROOT)


def test(arguments: list[str]) -> int:
    """Check style and types, then run every test that can run here."""
    install(DEV)
    checks = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["pyright"]]
    for check in checks:
        print("+", *check, flush=True)
        if code := subprocess.call([PYTHON, "-m", *check], cwd=ROOT):
            return code
    return subprocess.call([PYTHON, "-m", "pytest", *arguments], cwd=ROOT)


def comfy(arguments: list[str]) -> int:
    """Start ComfyUI with this pack linked into its custom_nodes and the first workflow's sample in its input folder."""
    sys.path.insert(0, str(ROOT / "tests" / "comfy"))
    from comfy_env import find_comfyui

    home = find_comfyui()
    if home is None:
        print(
            "No ComfyUI found (COMFYUI_PATH, the folder around custom_nodes/, ~/comfy/ComfyUI).\n"
            "To get one:  pip install comfy-cli  &&  comfy install\nThen run this again."
        )
        return 1
    link = home / "custom_nodes" / "ComfyUI-GVM"
    if not link.exists() and ROOT.parent != home / "custom_nodes":
        link.symlink_to(ROOT, target_is_directory=True)
        print(f"linked {link} -> {ROOT}")
    own = next((p for p in (home / ".venv", home / "venv", home.parent / ".venv") if p.is_dir()), None)
    python = own / PYTHON.relative_to(VENV) if own else Path(sys.executable)
    subprocess.check_call([python, "-m", "pip", "install", "-q", "-r", ROOT / "requirements.txt"])
    print("ComfyUI will be at http://127.0.0.1:8188 - open Templates > ComfyUI-GVM > matte_video")
    if "--no-browser" not in arguments:
        webbrowser.open("http://127.0.0.1:8188/?template=matte_video&source=ComfyUI-GVM")
    rest = [argument for argument in arguments if argument != "--no-browser"]
    return subprocess.call([python, home / "main.py", "--disable-auto-launch", *rest], cwd=home)


def install(more: list[str] | None = None) -> None:
    """Make .venv if there is none, and install what this pack needs into it."""
    if not PYTHON.exists():
        print(f"making {VENV}", flush=True)
        venv.create(VENV, with_pip=True)
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # torch by itself first: whatever else asks for it is then content with this one.
    subprocess.check_call([*pip, TORCH])
    subprocess.check_call([*pip, *requirements, "pillow", *(more or [])])


if __name__ == "__main__":
    raise SystemExit(main())
