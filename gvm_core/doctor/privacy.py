"""Keeps names and folders of the user out of what is printed."""

from __future__ import annotations

import getpass
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import GVMError

PUBLIC = {"root", "user", "admin", "administrator", "runner", "ubuntu", "docker", "comfy", "comfyui", "gvm", "python"}
"""Names of users that tell nothing, but are words that the page needs."""


def hider(comfy: Path | None = None, pack: Path | None = None) -> Callable[[str], str]:
    """A function that replaces personal folders and names in a text.

    Args:
        comfy: ComfyUI's folder, which becomes ``<ComfyUI>``.
        pack: This pack's folder, which becomes ``<pack>`` if it is not in ComfyUI's.
    """
    home, user = home_and_user()
    folders = [(comfy, "<ComfyUI>"), (pack, "<pack>"), (home, "~"), (Path(tempfile.gettempdir()), "<temp>")]
    if pack and comfy and pack.is_relative_to(comfy):
        folders.remove((pack, "<pack>"))
    rules = [*folder_rules((folder, name) for folder, name in folders if folder is not None), *user_rules(home, user)]

    def hide(text: str) -> str:
        for pattern, name in rules:
            text = pattern.sub(lambda _, name=name: name, text)
        return text

    return hide


def home_and_user() -> tuple[Path | None, str]:
    """The home folder and the name of the user, as far as the system knows them."""
    try:
        home = Path.home()
    except RuntimeError:
        home = None
    try:
        return home, getpass.getuser()
    except (OSError, KeyError, ImportError):  # which one depends on the version of Python
        return home, ""


def folder_rules(folders: Iterable[tuple[Path, str]]) -> list[tuple[re.Pattern[str], str]]:
    r"""What finds each folder in a text, the longest first: with either slash, also doubled as in ``'C:\\Users'``."""
    spelled: dict[str, str] = {}
    for folder, name in folders:
        for path in (folder.absolute(), folder.resolve()):
            if path != path.parent:  # the root of a disk is a part of every path
                spelled.setdefault(str(path), name)
    return [(folder_pattern(path), spelled[path]) for path in sorted(spelled, key=len, reverse=True)]


def folder_pattern(path: str) -> re.Pattern[str]:
    r"""What finds ``path`` and what is in it, but no other folder whose name begins alike.

    Example:
        >>> folder_pattern("C:\\Users\\Ann").sub("~", r"in 'c:\\users\\ann\\clips', not C:/Users/Anna")
        "in '~\\\\clips', not C:/Users/Anna"
    """
    parts = [re.escape(part) for part in re.split(r"[\\/]+", path) if part]
    begin = r"(?<![\w.])[\\/]+" if path[0] in "\\/" else r"(?<!\w)"
    return re.compile(begin + r"[\\/]+".join(parts) + r"(?![\w-])", re.IGNORECASE if ":" in parts[0] else 0)


def user_rules(home: Path | None, user: str) -> list[tuple[re.Pattern[str], str]]:
    """What finds the user's name in a text: alone, and as the last part of the home folder."""
    names = {user, home.name if home else ""}
    return [
        (re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", re.IGNORECASE), "<user>")
        for name in sorted(names, key=len, reverse=True)
        if len(name) > 1 and name.lower() not in PUBLIC
    ]


def words_of(error: Exception) -> str:
    """An error in words: what this package says of it, or its kind and its text."""
    return str(error) if isinstance(error, GVMError) else f"{type(error).__name__}: {error}".strip(": ")
