"""Draw the background of the template replace_background: lights of a city at dusk, out of focus.

    python demos/sample_background.py [FILE]

Without FILE, it goes to web/samples/gvm_sample_background.jpg.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from gvm_core.post.light import LIGHTS

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, WIDTH = 360, 640
HORIZON = 0.62
"""Where the glow of the sky is brightest, as a share of the height."""
SKY = (0.012, 0.03, 0.1), (0.55, 0.22, 0.12), (0.012, 0.014, 0.03)
"""Linear light of the sky above, of its glow, and of the ground."""
LIGHTS_IN_VIEW, SEED = 46, 5
COLOURS = torch.tensor([[1.0, 0.75, 0.4], [1.0, 0.5, 0.2], [0.6, 0.75, 1.0], [1.0, 0.3, 0.25], [0.95, 0.9, 0.8]])


def main() -> None:
    """Draw the picture in linear light, and write it as sRGB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "web" / "samples" / "gvm_sample_background.jpg")
    file = parser.parse_args().file
    random = torch.Generator().manual_seed(SEED)
    y, x = torch.meshgrid(torch.linspace(0, 1, HEIGHT), torch.linspace(0, WIDTH / HEIGHT, WIDTH), indexing="ij")
    top, middle, ground = (torch.tensor(colour)[:, None, None] for colour in SKY)
    glow = (-((y - HORIZON) / 0.22).square()).exp()
    picture = top + (middle - top) * glow
    below = ((y - HORIZON) / 0.06).clamp(0, 1)
    picture = picture * (1 - below) + ground * below
    for _ in range(LIGHTS_IN_VIEW):
        across, down, wide, bright = torch.rand(4, generator=random).tolist()
        colour = COLOURS[torch.randint(len(COLOURS), (), generator=random)][:, None, None]
        radius = 0.02 + 0.05 * wide**2
        away = ((x - across * WIDTH / HEIGHT).square() + (y - HORIZON - 0.3 * down**1.5 + 0.08).square()).sqrt()
        disc = ((radius - away) * HEIGHT / 3).clamp(0, 1) * (0.7 + 0.3 * (away / radius).clamp(0, 1) ** 4)
        picture = picture + colour * disc * (0.08 + 0.45 * bright**2)
    shown = LIGHTS["linear"].to_srgb(picture).clamp(0, 1)
    Image.fromarray((shown * 255).round().byte().movedim(0, -1).numpy()).save(file, quality=88, optimize=True)
    print(file)


if __name__ == "__main__":
    main()
