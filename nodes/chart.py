"""Draw a small chart as an IMAGE with Pillow. ComfyUI has no plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

WIDTH, ROW, LEFT, EDGE = 768, 96, 150, 14
BACKGROUND, TEXT, AXIS, LINE = (24, 26, 30), (225, 228, 232), (70, 75, 82), (92, 170, 255)


def chart(curves: Mapping[str, tuple[float, Sequence[float]]]) -> Tensor:
    """Draw one strip for each name: its mean, its maximum, and a curve of its value in every frame, from 0 up.

    Args:
        curves: The mean and the values of each name.

    Returns:
        ``[H, W, 3]``, sRGB 0..1.
    """
    picture = Image.new("RGB", (WIDTH, ROW * len(curves)), BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for row, (name, (mean, values)) in enumerate(curves.items()):
        top, bottom = row * ROW + EDGE, (row + 1) * ROW - EDGE
        highest = max(max(values), 1e-9)
        draw.text((EDGE, top), name, TEXT, font)
        draw.text((EDGE, top + 18), f"mean {mean:.3f}", TEXT, font)
        draw.text((EDGE, top + 36), f"max {max(values):.3f}", TEXT, font)
        draw.line([(LEFT, bottom), (WIDTH - EDGE, bottom)], AXIS)
        wide = (WIDTH - EDGE - LEFT) / max(len(values) - 1, 1)
        points = [(LEFT + i * wide, bottom - (bottom - top) * value / highest) for i, value in enumerate(values)]
        if len(points) > 1:
            draw.line(points, LINE, 2)
        else:
            draw.ellipse([points[0][0] - 3, points[0][1] - 3, points[0][0] + 3, points[0][1] + 3], LINE)
    return torch.from_numpy(np.array(picture)).float() / 255
