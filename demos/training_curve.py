"""Draw the curve of a training: what each stage minimised, over the time that it took.

    python demos/training_curve.py [LOSSES] [FILE]

LOSSES is the `losses.csv` of a training; without it, that of the bundled model is drawn to docs/small_training.png.
"""

from __future__ import annotations

import argparse
import csv
import json
import textwrap
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHOWN = ("rgb", "latent", "l1", "soft")
"""Losses worth a curve: colours of the VAE, latents, all pixels of mattes, their soft pixels."""
COLUMNS = 7


def main() -> None:
    """Draw one panel for each stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("losses", type=Path, nargs="?", default=DOCS / "small_training.csv")
    parser.add_argument("file", type=Path, nargs="?", default=DOCS / "small_training.png")
    options = parser.parse_args()
    with options.losses.open(newline="") as file:
        stages = [(name, [*rows]) for name, rows in groupby(csv.DictReader(file), lambda row: row["stage"])]
    columns = min(COLUMNS, len(stages))
    lines = -(-len(stages) // columns)
    figure = Figure(figsize=(1.6 * columns, 3 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for panel in panels[len(stages) :]:
        panel.remove()
    for panel, (name, rows) in zip(panels, stages, strict=False):
        losses = [json.loads(row["losses"]) for row in rows]
        seconds = [float(row["seconds"]) for row in rows]
        for colour, loss in enumerate(SHOWN):
            if loss in losses[0]:
                panel.plot(seconds, [each[loss] for each in losses], color=f"C{colour}", label=loss)
        panel.set(title=textwrap.fill(name, 18), xlabel="seconds", yscale="log")
        panel.title.set_fontsize(9)
        panel.legend(fontsize=7)
    figure.savefig(options.file, dpi=100)


if __name__ == "__main__":
    main()
