"""The version, which is written only in pyproject.toml, and the versions of other packages."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "generative-video-matting"


def own_version() -> str:
    """The version in pyproject.toml, if that is beside this package (as in ComfyUI); else the installed version."""
    beside = Path(__file__).parents[1] / "pyproject.toml"
    text = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    found = re.search(rf'^name = "{DISTRIBUTION}"\nversion = "(.+)"$', text, re.MULTILINE)
    return found[1] if found else version(DISTRIBUTION)


__version__ = own_version()


def installed(package: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
