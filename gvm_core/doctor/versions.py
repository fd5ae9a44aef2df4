"""Which versions of everything are installed, and whether they fit together."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec

import torch

from ..version import DISTRIBUTION, __version__, installed
from .comfyui import EXTRA_PATHS, FRONTEND, PACK, ComfyUI, comfyui_findings, older
from .page import Facts, Finding, Found
from .privacy import words_of

REQUIRED = ("torch", "safetensors", "av", "einops", "numpy", "filelock", "huggingface_hub", "tqdm")
OPTIONAL = ("diffusers", "OpenEXR", "ray", "pymatting", "scipy", "scikit-image", "matplotlib", "pillow", "accelerate")
BESIDE = ("transformers", "torchvision", "torchaudio", "xformers", "triton", "psutil", "pyyaml")
"""Packages that this pack does not use, or only here, but whose versions explain faults."""
VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION", "PYTORCH_CUDA_ALLOC_CONF"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_ENABLE_MPS_FALLBACK", "HF_HUB_OFFLINE", "GVM_HOME", "COMFYUI_PATH"),
)
"""Environment variables that change what is computed where, or where models are."""


def versions(comfy: ComfyUI | None) -> Found:
    """The versions of this pack, Python, the system, packages and ComfyUI."""
    facts: Facts = {
        "ComfyUI-GVM": f"{__version__}, in {PACK}",
        "Python": f"{platform.python_version()} in {sys.prefix}",
        "system": platform.platform(),
        "torch": f"{torch.__version__} ({', '.join(torch_builds())})",
        "PyAV": libraries(),
        "packages": listed(name for name in REQUIRED if name not in ("torch", "av")),
        "optional packages": listed(OPTIONAL),
        "other packages": listed(BESIDE),
        "ComfyUI": described(comfy),
    }
    if set_here := [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]:
        facts["environment"] = ", ".join(set_here)
    findings = [*broken(REQUIRED), *outdated(stated()), *conflicts([*REQUIRED, *OPTIONAL, *BESIDE])]
    return facts, [*findings, *comfyui_findings(comfy)]


def torch_builds() -> list[str]:
    """What this torch is built for."""
    named = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip, "XPU": getattr(torch.version, "xpu", None)}
    builds = [f"{name} {version}" for name, version in named.items() if version]
    if torch.backends.cudnn.is_available():
        builds.append(f"cuDNN {torch.backends.cudnn.version()}")
    if torch.backends.mps.is_built():
        builds.append("MPS")
    return builds or ["CPU only"]


def libraries() -> str:
    """The version of PyAV, and of FFmpeg's libraries in it."""
    if (version := installed("av")) is None:
        return "not installed"
    try:
        import av
    except Exception as error:  # noqa: BLE001  a broken package may raise anything
        return f"{version}, which cannot be imported: {words_of(error)}"
    parts = [f"{name} {'.'.join(map(str, number))}" for name, number in av.library_versions.items()]
    return f"{version} with FFmpeg {av.ffmpeg_version_info} ({', '.join(parts)})"


def listed(packages: Iterable[str]) -> str:
    """The packages that are installed, with their versions."""
    known = {name: installed(name) for name in packages}
    return ", ".join(f"{name} {version}" for name, version in known.items() if version) or "none"


def described(comfy: ComfyUI | None) -> str:
    """ComfyUI's version, its frontend, and which of its files matter here."""
    if comfy is None:
        return "not found (looked at COMFYUI_PATH, the folder around custom_nodes, and ~/comfy/ComfyUI)"
    parts = [f"{comfy.version or 'version not known'} in {comfy.folder}"]
    if comfy.wanted_frontend:
        parts.append(f"frontend {installed(FRONTEND) or 'not in this Python'} ({comfy.wanted_frontend} wanted)")
    parts += [f"this pack as custom_nodes/{folder.name}" for folder in comfy.packs]
    parts += [f"has {EXTRA_PATHS}"] if (comfy.folder / EXTRA_PATHS).is_file() else []
    return ", ".join(parts)


def stated() -> dict[str, str]:
    """The lowest version of each package that this pack states: in pyproject.toml beside it, else where it is installed."""
    file = PACK / "pyproject.toml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if DISTRIBUTION in text:
        text = text.partition("[project]")[2].partition("[dependency-groups]")[0]
    else:
        try:
            text = "\n".join(requires(DISTRIBUTION) or [])
        except PackageNotFoundError:
            text = ""
    return dict(re.findall(r"([A-Za-z][\w-]*)>=([\d.]+)", text))


def broken(packages: Iterable[str]) -> Iterator[Finding]:
    """Packages that this pack cannot do without, and that are missing or cannot be imported."""
    for name in packages:
        if find_spec(name) is None:
            what = f"The package {name} is not installed in this Python."
            yield Finding(what, "pip install -r requirements.txt, with this Python, in this pack's folder.", "stops")
            continue
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001  a broken package may raise anything
            what = f"The package {name} is installed, but cannot be imported: {words_of(error)}."
            yield Finding(what, f"Install it again: pip install --force-reinstall --no-deps {name}", "stops")


def outdated(lowest: Mapping[str, str]) -> Iterator[Finding]:
    """Installed packages that are older than this pack allows."""
    for name, bound in lowest.items():
        if (there := installed(name)) and older(there, bound):
            what = f"{name} {there} is too old; this pack needs {bound} or later."
            yield Finding(
                what, f"pip install --upgrade '{name}>={bound}'. Look first with --dry-run what else it changes."
            )


def conflicts(packages: Iterable[str]) -> Iterator[Finding]:
    """Installed packages that ask for another version of one of the others: then ComfyUI may not start."""
    if find_spec("packaging") is None:
        return
    from packaging.requirements import Requirement

    for name in packages:
        for line in (requires(name) if installed(name) else None) or ():
            wanted = Requirement(line)
            there = installed(wanted.name)
            if there is None or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
                continue
            if not wanted.specifier.contains(there, prereleases=True):
                what = f"{name} {installed(name)} asks for {wanted.name}{wanted.specifier}, but {there} is installed."
                remedy = f"pip install '{wanted.name}{wanted.specifier}'. ComfyUI may not start with versions that do not fit."
                yield Finding(what, remedy)
