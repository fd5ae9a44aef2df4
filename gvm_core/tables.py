"""Tables in Markdown that are also easy to read as plain text."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a Markdown table, with columns as wide as they need to be. The first row is the header.

    Example:
        >>> print(markdown_table([("clip", "MAD"), ("a", "12.5")]))
        | clip | MAD  |
        |------|------|
        | a    | 12.5 |
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
