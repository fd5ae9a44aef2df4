"""All checks, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .comfyui import PACK, find_comfyui
from .devices import devices
from .formats import formats
from .models import models
from .page import Finding, Found, Section
from .privacy import hider, words_of
from .trial import trial
from .versions import versions


def examine(model: str = "small", *, matte: bool = True, every_precision: bool = False) -> Iterator[Section]:
    """Examine this machine, section by section. Folders and names of the user are replaced (see `privacy`).

    Args:
        model: The model to try: "small", "gvm", or a folder.
        matte: Make a matte in each precision. It takes most of the time.
        every_precision: Also in those that this device computes slowly.
    """
    comfy = find_comfyui()
    hide = hider(comfy.folder if comfy else None, PACK)
    checks: dict[str, Callable[[], Found]] = {
        "Versions": lambda: versions(comfy),
        "Devices": lambda: devices(model),
        "Models": lambda: models(comfy, model),
        "Formats": formats,
    }
    if matte:
        checks["One matte"] = lambda: trial(model, every_precision=every_precision)
    for title, check in checks.items():
        yield checked(title, check).hidden(hide)


def checked(title: str, check: Callable[[], Found]) -> Section:
    """The section of a check. A check that fails costs only its own section."""
    try:
        facts, findings = check()
    except Exception as error:  # noqa: BLE001  what is broken on this machine may raise anything
        what = f"The section {title} could not be made: {words_of(error)}."
        return Section(title, {"failed": words_of(error)}, (Finding(what, "Please report this, too."),))
    return Section(title, facts, tuple(findings))
