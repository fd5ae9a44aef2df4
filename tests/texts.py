"""What users read of the nodes, as data: the files in ``locales``, and the help pages in ``web/docs``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCALES, PAGES, GUIDE = ROOT / "locales", ROOT / "web" / "docs", ROOT / "docs" / "translating.md"
SCRIPTS = ROOT / "web" / "js"
ENGLISH = "en"
LANGUAGES = sorted(path.name for path in LOCALES.iterdir() if path.is_dir() and path.name != ENGLISH)


@cache
def locale(language: str, name: str = "nodeDefs") -> dict[str, Any]:
    """One file of a language. All callers get the same object."""
    return json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


def written(content: Mapping[str, Any]) -> str:
    """The text of a locale file."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def flat(content: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a locale file with its place, such as ``GVMMatte/inputs/window/name``, in order."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{at}{key}/")
        else:
            yield f"{at}{key}", value


@cache
def words_of_scripts() -> dict[str, dict[str, str]]:
    """What the player and the other parts of the web extension say: ``{language: {key: text}}``."""
    _, _, table = (SCRIPTS / "texts.js").read_text(encoding="utf-8").partition("const TEXTS = ")
    return json.JSONDecoder().raw_decode(table)[0]


def page(node_id: str, language: str = ENGLISH) -> str:
    """A help page, from where ComfyUI's page looks for it."""
    path = PAGES / f"{node_id}.md" if language == ENGLISH else PAGES / node_id / f"{language}.md"
    return path.read_text(encoding="utf-8")


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a page: rows of cells, the head first, without the line below it."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if not line.startswith("|"):
            found.append([])
        elif not re.fullmatch(r"[|-]+", line):
            found[-1].append([cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")])
    return [table for table in found if table]


def table_of(text: str, head: str) -> list[list[str]]:
    """The rows of the one table whose first column has this head."""
    (found,) = [table for table in tables(text) if table[0][0] == head]
    return found[1:]


@cache
def translations(head: str) -> dict[str, dict[str, list[str]]]:
    """A table of the guide for translators: ``{language: {English word: its translations}}``."""
    (found,) = [table for table in tables(GUIDE.read_text(encoding="utf-8")) if table[0][0] == head]
    (_, *languages), *rows = found
    return {
        language: {row[0]: row[column].split(" / ") for row in rows} for column, language in enumerate(languages, 1)
    }
