"""Finds a ComfyUI and reads what its files say. ComfyUI itself is not imported."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import cause, optional
from ..version import installed
from .page import Finding

PACK = Path(__file__).absolute().parents[2]
"""This pack's folder; the folder of installed packages if only the core is installed."""
VARIABLE = "COMFYUI_PATH"
OLDEST = "0.8.0"
"""The oldest ComfyUI that is supported."""
FRONTEND = "comfyui-frontend-package"
EXTRA_PATHS = "extra_model_paths.yaml"
KIND = "gvm"
"""What models of this pack are called in ComfyUI's folders and in its list of extra paths."""


@dataclass(frozen=True)
class ComfyUI:
    """A ComfyUI.

    Attributes:
        folder: Holds ``models/`` and ``custom_nodes/``. It may lack ComfyUI's code, if the user keeps both apart.
    """

    folder: Path

    @property
    def has_code(self) -> bool:
        """Whether ComfyUI's code is there, too."""
        return (self.folder / "main.py").is_file()

    @property
    def version(self) -> str | None:
        """Its version, if it says one."""
        return found_in(self.folder / "comfyui_version.py", r"""^__version__\s*=\s*["'](.+)["']""")

    @property
    def wanted_frontend(self) -> str | None:
        """The version of the frontend that it asks for."""
        return found_in(self.folder / "requirements.txt", rf"^{FRONTEND}==(\S+)")

    @property
    def packs(self) -> list[Path]:
        """The folders in ``custom_nodes/`` that hold this pack."""
        places = (self.folder / "custom_nodes").glob("*/gvm_core/version.py")
        return sorted(place.parents[1] for place in places if place.parents[1].suffix != ".disabled")


def found_in(file: Path, pattern: str) -> str | None:
    """What the group of ``pattern`` matches in a text file; None if there is no file or no match."""
    try:
        found = re.search(pattern, file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None


def find_comfyui() -> ComfyUI | None:
    """The ComfyUI that COMFYUI_PATH names, the one this pack is installed in, or the one where comfy-cli puts it."""
    if named := os.environ.get(VARIABLE):
        return ComfyUI(Path(named).expanduser().absolute())
    if PACK.parent.name == "custom_nodes":
        return ComfyUI(PACK.parents[1])
    usual = ComfyUI(Path.home() / "comfy" / "ComfyUI")
    return usual if usual.has_code else None


def comfyui_findings(comfy: ComfyUI | None) -> list[Finding]:
    """What is wrong with a ComfyUI, as far as this pack is concerned."""
    if comfy is None:
        return []
    if not comfy.has_code:
        if not os.environ.get(VARIABLE):
            return []  # its code is elsewhere, as in the desktop application
        what = f"{VARIABLE} names {comfy.folder}, but that is no ComfyUI: it has no main.py."
        return [Finding(what, f"Set {VARIABLE} to the folder that holds ComfyUI's main.py, or unset it.")]
    return [
        *age_findings(comfy.version),
        *frontend_findings(comfy.wanted_frontend, installed(FRONTEND)),
        *pack_findings(comfy),
    ]


def age_findings(version: str | None) -> list[Finding]:
    """Whether a ComfyUI of this version is too old. One that does not say its version is older than all that do."""
    if version is not None and not older(version, OLDEST):
        return []
    which = "is too old to say its version" if version is None else f"is {version}"
    what = f"ComfyUI {which}, but the nodes of this pack need {OLDEST} or later."
    return [Finding(what, "Update ComfyUI, and then its Python packages (requirements.txt).", "stops")]


def frontend_findings(wanted: str | None, there: str | None) -> list[Finding]:
    """Whether the frontend package is the one that ComfyUI asks for. Without one, this Python is not ComfyUI's."""
    if wanted is None:
        return []
    if there is None:
        what = "This Python has no ComfyUI frontend, so it is not the one that runs ComfyUI. The facts above are about this one."
        return [Finding(what, "For a report about the nodes, run the doctor with ComfyUI's Python.", "note")]
    if not older(there, wanted):
        return []
    what = f"ComfyUI asks for the frontend {wanted}, but {there} is installed."
    return [Finding(what, "Install ComfyUI's packages again: pip install -r requirements.txt, in ComfyUI's folder.")]


def pack_findings(comfy: ComfyUI) -> list[Finding]:
    """Whether this pack is in ``custom_nodes/``, and only once."""
    if len(comfy.packs) > 1:
        names = ", ".join(folder.name for folder in comfy.packs)
        what = f"This pack is in custom_nodes more than once: {names}. ComfyUI takes the nodes of one of them."
        return [Finding(what, "Delete all but one, and start ComfyUI again.")]
    if not comfy.packs:
        what = f"This pack is not in {comfy.folder / 'custom_nodes'}, so that ComfyUI does not have its nodes."
        return [Finding(what, "Clone it there if you want to use the nodes.", "note")]
    return []


def extra_folders(comfy: ComfyUI) -> tuple[list[Path], list[Finding]]:
    """The folders that ``extra_model_paths.yaml`` names for this pack's models, as ComfyUI understands them."""
    file = comfy.folder / EXTRA_PATHS
    if not file.is_file():
        return [], []
    yaml = optional("yaml", "PyYAML")
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        sections = [section for section in config.values() if section]
        return [folder for section in sections for folder in folders_of(section, file.parent)], []
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        what = f"{file} cannot be read: {' '.join(cause(error).split())}. ComfyUI does not start with such a file."
        return [], [Finding(what, "Correct it; extra_model_paths.yaml.example shows how it is written.")]


def folders_of(section: dict[str, str], beside: Path) -> list[Path]:
    """The folders for this pack in one section. They are relative to its ``base_path``, or to the file's folder."""
    base = beside / Path(os.path.expandvars(section.get("base_path", ""))).expanduser()
    return [Path(os.path.normpath(base / line)) for line in section.get(KIND, "").split("\n") if line]


def older(version: str, other: str) -> bool:
    """Whether ``version`` comes before ``other``, by their first three numbers.

    Example:
        >>> older("0.7.9", "0.8.0"), older("0.33.0", "0.8.0"), older("2.13.0+cpu", "2.13")
        (True, False, False)
    """
    mine, theirs = ([int(number) for number in re.findall(r"\d+", each)[:3]] for each in (version, other))
    return mine + [0] * (3 - len(mine)) < theirs + [0] * (3 - len(theirs))
