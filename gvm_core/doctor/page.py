"""What a check finds, and how all that was found becomes one page of text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ..tables import markdown_table

Weight = Literal["stops", "wrong", "note"]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that is good to know.

    Attributes:
        what: What was found.
        remedy: What to do about it; empty if ``what`` says it, or there is nothing to do.
        weight: "stops" if no mattes can be made because of it, "wrong" if something else does not work, "note" if
            nothing is wrong.
    """

    what: str
    remedy: str = ""
    weight: Weight = "wrong"


Facts = dict[str, Any]
"""Facts by their names. A fact is a text, more facts, or a list of rows: facts with the same names."""
Found = tuple[Facts, list[Finding]]
"""What a check returns."""


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        title: Its heading.
        facts: What is so.
        findings: What is wrong with it, or good to know.
    """

    title: str
    facts: Facts
    findings: tuple[Finding, ...] = ()

    def hidden(self, hide: Callable[[str], str]) -> Section:
        """The same section, with ``hide`` applied to every text."""
        findings = [replace(each, what=hide(each.what), remedy=hide(each.remedy)) for each in self.findings]
        return Section(self.title, rewritten(self.facts, hide), tuple(findings))

    def __str__(self) -> str:
        rows = {name: fact for name, fact in self.facts.items() if isinstance(fact, list)}
        lines = [f"## {self.title}", "", *listed({name: self.facts[name] for name in self.facts if name not in rows})]
        for each in rows.values():
            lines += ["", markdown_table([[*each[0]], *([marked(cell) for cell in row.values()] for row in each)])]
        return "\n".join(lines)


def rewritten(fact: Any, change: Callable[[str], str]) -> Any:
    """A fact with ``change`` applied to every text in it."""
    if isinstance(fact, dict):
        return {change(name): rewritten(value, change) for name, value in fact.items()}
    return [rewritten(each, change) for each in fact] if isinstance(fact, list) else change(str(fact))


def listed(facts: Facts, indent: str = "") -> Iterator[str]:
    """Facts as the lines of a list, with lists inside.

    Example:
        >>> print(*listed({"small": {"unet": "21 MB", "vae": "3 MB"}}), sep=chr(10))
        - small:
          - unet: 21 MB
          - vae: 3 MB
    """
    for name, fact in facts.items():
        if isinstance(fact, dict):
            yield f"{indent}- {marked(name)}:"
            yield from listed(fact, indent + "  ")
        else:
            yield f"{indent}- {marked(name)}: {marked(fact)}"


def marked(text: str) -> str:
    """``text`` with paths as code, because Markdown would take ``<ComfyUI>`` for a tag and show nothing.

    Example:
        >>> marked("<ComfyUI>/models/gvm holds nothing, ~/.cache/gvm neither")
        '`<ComfyUI>/models/gvm` holds nothing, `~/.cache/gvm` neither'
    """
    return re.sub(r"(?<![\w`])(~[/\\]|[^\s`'\"(]*<[A-Za-z][^<>\n]*>)[^\s`'\",;:)]*", r"`\g<0>`", text)


def verdict(findings: Iterable[Finding]) -> str:
    """The end of the page: what is wrong and what to do about it, and what is good to know."""
    findings = sorted(findings, key=lambda finding: finding.weight != "stops")
    wrong = [finding for finding in findings if finding.weight != "note"]
    notes = [finding for finding in findings if finding.weight == "note"]
    lines = ["## What is wrong", ""]
    for number, finding in enumerate(wrong, 1):
        stops = "(stops mattes) " if finding.weight == "stops" else ""
        lines.append(f"{number}. {stops}{marked(finding.what)}")
        lines += [f"   What to do: {marked(finding.remedy)}"] if finding.remedy else []
    lines += [] if wrong else ["Nothing is wrong."]
    if notes:
        lines += ["", "## Good to know", ""]
        lines += [f"- {marked(f'{note.what} {note.remedy}'.strip())}" for note in notes]
    return "\n".join(lines)


def as_data(sections: Iterable[Section]) -> dict[str, Any]:
    """The same facts and findings, for a JSON file."""
    sections = list(sections)
    findings = [asdict(finding) for section in sections for finding in section.findings]
    return {"facts": {section.title: section.facts for section in sections}, "findings": findings}


def disk_size(size: float) -> str:
    """Bytes of a file or disk, for people.

    Example:
        >>> disk_size(21_049_232), disk_size(6.5e9), disk_size(312)
        ('21.0 MB', '6.5 GB', '312 bytes')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size:.0f} bytes"


def memory_size(size: float) -> str:
    """Bytes of memory, for people.

    Example:
        >>> memory_size(8 * 2**30), memory_size(300 * 2**20)
        ('8.0 GiB', '300 MiB')
    """
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
