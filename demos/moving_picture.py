"""Make the README's moving picture: a wipe goes over the sample, from the plate to its subject before a checkerboard.

    python demos/moving_picture.py [FILE]

Without FILE, it goes to docs/bridge.webp.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gvm_core import MattingPipeline, TorchHost, load_model
from gvm_core.media import open_frames
from gvm_core.post.composite import checker, over
from gvm_core.post.foreground import estimate_foreground
from gvm_core.post.resize import resize

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "web" / "samples" / "gvm_sample_bridge.mp4"
SIZE = (216, 384)
LINE = 2
EVERY = 2
"""Of so many frames one is shown: the file is half as large."""


def main() -> None:
    """Matte the sample, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "docs" / "bridge.webp")
    file = parser.parse_args().file
    with open_frames(SAMPLE) as reader:
        frames = torch.stack(list(reader))
        rate = float(reader.rate)
    alpha = MattingPipeline(load_model(), host=TorchHost("cpu")).matte(frames)
    cut = over(estimate_foreground(frames, alpha), alpha, checker(*frames.shape[-2:], square=16))
    plates, subjects = (resize(each[::EVERY], SIZE).clamp(0, 1) for each in (frames, cut))
    pictures = [
        wiped(*pair, 2 * EVERY * index / len(frames)) for index, pair in enumerate(zip(plates, subjects, strict=True))
    ]
    first, *others = (Image.fromarray((each * 255).round().byte().movedim(0, -1).numpy()) for each in pictures)
    # There and back again: the picture begins anew without a jump.
    first.save(
        file,
        save_all=True,
        append_images=[*others, *reversed(others)],
        duration=round(1000 * EVERY / rate),
        loop=0,
        quality=70,
        method=6,
    )
    print(file)


def wiped(left: Tensor, right: Tensor, time: float) -> Tensor:
    """``left`` and ``right``, ``[3, H, W]``, on two sides of a line that goes to the left and back in ``time`` 0 to 2."""
    width = left.shape[-1]
    column = round(width * (0.5 + 0.45 * math.cos(math.pi * time)))
    picture = torch.cat([left[..., :column], right[..., column:]], dim=-1)
    picture[..., max(column - LINE, 0) : column + LINE] = 1
    return picture


if __name__ == "__main__":
    main()
