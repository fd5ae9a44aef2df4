"""Make the pictures of the bundled model's card: people it never saw, cut out, from the best to the four worst.

    python demos/card_pictures.py SUBJECTS [FILE]

SUBJECTS is a folder of pictures of people and their mattes, as `gvm evaluate folder` takes it. Without FILE, the pictures
go to docs/small_model.jpg. Each is labelled with its MAD. The first two rows are spread over all but the four worst, which
are the last row.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gvm_core import MattingPipeline, TorchHost, load_model
from gvm_core.datasets.cutouts import single_frames
from gvm_core.datasets.pairs import LabelledClip, find_labelled
from gvm_core.metrics import mad
from gvm_core.post.composite import over
from gvm_core.post.foreground import estimate_foreground
from gvm_core.post.resize import resize

ROOT = Path(__file__).resolve().parents[1]
ROWS, COLUMNS, WORST = 3, 4, 4
BOX = (176, 144)
"""Height and width of the room for a picture, and for its cut-out beside it."""
LABEL, GAP = 16, 8
BEHIND = torch.tensor([0.16, 0.45, 0.5])[:, None, None]


class Scored(NamedTuple):
    """A picture, its matte by the bundled model, and the error of that."""

    error: float
    image: Tensor
    alpha: Tensor


def main() -> None:
    """Matte all pictures, choose twelve, and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", type=Path)
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "docs" / "small_model.jpg")
    options = parser.parse_args()
    pipeline = MattingPipeline(load_model("small"), host=TorchHost())
    pictures = [picture for clip in find_labelled(options.subjects) for picture in single_frames(clip)]
    ranked = sorted((scored(pipeline, picture) for picture in pictures), key=lambda each: each.error)
    print(f"{len(ranked)} pictures, MAD {sum(each.error for each in ranked) / len(ranked):.1f}")
    sheet(chosen(ranked)).save(options.file, quality=85, optimize=True)
    print(options.file)


def scored(pipeline: MattingPipeline, picture: LabelledClip) -> Scored:
    """Matte a picture, and compare with its given matte."""
    image, truth = picture.read(0)
    alpha = pipeline.matte(image[None])
    return Scored(float(mad(alpha, truth[None])), image, alpha[0])


def chosen(ranked: list[Scored]) -> list[Scored]:
    """Twelve of at least twelve: at even distances from the best to before the worst, then the worst."""
    usual = ranked[:-WORST]
    places = torch.linspace(0, len(usual) - 1, ROWS * COLUMNS - WORST).round().long().tolist()
    return [*(usual[place] for place in places), *ranked[-WORST:]]


def sheet(tiles: list[Scored]) -> Image.Image:
    """All tiles in rows, each a picture, its subject before a plain colour, and its error below."""
    height, width = BOX[0] + LABEL + GAP, 2 * BOX[1] + 2 * GAP
    whole = Image.new("RGB", (COLUMNS * width - GAP, ROWS * height), "white")
    writing = ImageDraw.Draw(whole)
    for number, (error, image, alpha) in enumerate(tiles):
        left, top = number % COLUMNS * width, number // COLUMNS * height
        cut = over(estimate_foreground(image[None], alpha[None])[0], alpha, BEHIND)
        for place, picture in enumerate((image, cut)):
            whole.paste(fitted(picture), (left + place * BOX[1], top))
        writing.text((left, top + BOX[0] + 2), f"MAD {error:.1f}", fill="black")
    return whole


def fitted(picture: Tensor) -> Image.Image:
    """A picture ``[3, H, W]`` scaled to cover its room: what is too wide or too high is left out at both sides."""
    factor = max(room / side for room, side in zip(BOX, picture.shape[1:], strict=True))
    height, width = (round(side * factor) for side in picture.shape[1:])
    scaled = resize(picture[None], (height, width))[0].clamp(0, 1)
    top, left = (height - BOX[0]) // 2, (width - BOX[1]) // 2
    scaled = scaled[:, top : top + BOX[0], left : left + BOX[1]]
    return Image.fromarray((scaled * 255).round().byte().movedim(0, -1).numpy())


if __name__ == "__main__":
    main()
