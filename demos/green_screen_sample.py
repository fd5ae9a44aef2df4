"""Put a matted person before a green screen: the sample of the templates that remove spill.

    python demos/green_screen_sample.py FRAMES MATTES [FILE]

FRAMES and MATTES are videos or folders of pictures, of one size. The subject keeps its own colours. The screen is lit
unevenly, and shines on the subject: most where it is soft, as on hair. Without FILE, the clip goes to
web/samples/gvm_sample_green.mp4.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gvm_core.media import open_frames
from gvm_core.media.formats import FORMATS
from gvm_core.media.video_writer import VideoWriter
from gvm_core.post.color import linear_to_srgb, srgb_to_linear
from gvm_core.post.composite import over
from gvm_core.post.foreground import estimate_foreground
from gvm_core.post.resize import resize

ROOT = Path(__file__).resolve().parents[1]
SCREEN = torch.tensor([0.04, 0.36, 0.07])[:, None, None]
"""Linear light of the screen where the lamp is brightest."""
SPILL, EVERYWHERE = 0.25, 0.02
"""Shares of the screen's light on the subject: at its edge, and all over it."""
REACH = 9
"""Pixels from the edge to which the screen shines."""
GRAIN, SEED = 0.001, 3


def main() -> None:
    """Compose frame by frame in linear light, and write sRGB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("mattes", type=Path)
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "web" / "samples" / "gvm_sample_green.mp4")
    parser.add_argument("--count", type=int, default=16, help="of frames")
    parser.add_argument("--edge", type=int, default=320, help="the shorter side, in pixels")
    parser.add_argument("--fps", type=Fraction, default=Fraction(10))
    options = parser.parse_args()
    random = torch.Generator().manual_seed(SEED)
    with (
        open_frames(options.frames) as frames,
        open_frames(options.mattes) as mattes,
        VideoWriter(options.file, FORMATS["h264"], options.fps) as writer,
    ):
        for index, (frame, matte) in enumerate(zip(frames, mattes, strict=False)):
            if index == options.count:
                break
            picture = before_screen(scaled(frame, options.edge), scaled(matte[:1], options.edge))
            grain = GRAIN * torch.randn(picture.shape, generator=random)
            writer.write((picture + grain).clamp(0, 1))


def scaled(picture: Tensor, edge: int) -> Tensor:
    """A picture with the shorter side ``edge``, even on both sides."""
    scale = edge / min(picture.shape[-2:])
    height, width = (2 * round(scale * side / 2) for side in picture.shape[-2:])
    return resize(picture[None], (height, width))[0]


def before_screen(frame: Tensor, alpha: Tensor) -> Tensor:
    """The subject of one frame ``[3, H, W]``, sRGB, before the screen."""
    own = srgb_to_linear(estimate_foreground(frame[None], alpha[None])[0])
    height, width = frame.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    screen = SCREEN * (1 - 0.35 * ((x + 0.3).square() + (y + 0.2).square()).clamp(0, 1.5))
    inside = F.avg_pool2d(alpha[None], 2 * REACH + 1, 1, REACH, count_include_pad=False)[0]
    lit = own + (EVERYWHERE + SPILL * (1 - inside).clamp(0, 1)) * screen
    return linear_to_srgb(over(lit, alpha, screen))


if __name__ == "__main__":
    main()
