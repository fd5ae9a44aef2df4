"""Other clothes for portraits: any colour, patterns, and more of the body.

Most portraits show dark suits, and end at the chest. A network that learns from nothing else takes a large bright garment for
background.
"""

from __future__ import annotations

from colorsys import hsv_to_rgb

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..synthesis.backdrop import blur
from .cutouts import Cutout, cutout


def find_shoulders(cut: Cutout) -> int | None:
    """The row where the clothes of a portrait begin, a little above its shoulders; None if it shows none."""
    first, last, _, _ = cut.box
    height = last - first
    if len(cut.layers) > 1 or height < 20:
        return None
    wide = (cut.layers[0, 3] > 127).sum(axis=1)
    chin = first + round(0.35 * height)
    rows = np.flatnonzero(wide[chin:last] > 1.35 * np.median(wide[first + round(0.15 * height) : chin]))
    return chin + int(rows[0]) - round(0.04 * height) if len(rows) else None


def dye(layers: Tensor, row: int, random: np.random.Generator, pattern: Tensor | None = None) -> Tensor:
    """A portrait with all that is below a row in one random colour. Folds and seams stay, dark suits become bright.

    Args:
        layers: ``[T, 4, H, W]``: colour premultiplied by alpha, sRGB, and alpha; 0..1.
        row: Where the clothes begin, see `find_shoulders`.
        random: Decides the colour, the contrast of the folds, and the part of ``pattern``.
        pattern: ``[3, h, w]`` bytes, sRGB; a part of it is laid over the colour, more or less strongly.
    """
    alpha = layers[:, 3:]
    straight = (layers[:, :3] / alpha.clamp(min=1 / 255)).clamp(0, 1)
    grey = straight.mean(dim=1, keepdim=True)
    below = ((torch.arange(layers.shape[-2]) - row) / 4).sigmoid()[:, None]
    clothes = (alpha > 0.5) & (below > 0.5)
    if not clothes.any():
        return layers
    weight = alpha * below + 1e-4
    level = (grey + 0.05).log()
    near = blur(torch.cat([level * weight, weight], dim=1).flatten(0, 1), 0.12 * layers.shape[-1]).unflatten(0, (-1, 2))
    around = near[:, :1] / near[:, 1:]  # a shirt is bright, and the suit beside it dark
    usual = 0.8 * around + 0.2 * level[clothes].median()
    folds = 0.85 * ((level - usual) * float(random.uniform(0.5, 1.5))).exp().clamp(0.25, 1.2)
    colour = hsv_to_rgb(random.uniform(), random.uniform(), 1 - 0.7 * random.uniform() ** 2)
    cloth = torch.tensor(colour, dtype=torch.float32)[:, None, None].expand_as(straight)
    if pattern is not None:
        cloth = cloth + (print_of(pattern, straight.shape[-2:], random) - cloth) * float(random.uniform(0.3, 1))
    cloth = (cloth * folds).clamp(0, 1)
    return torch.cat([(straight + (cloth - straight) * below) * alpha, alpha], dim=1)


def print_of(picture: Tensor, shape: tuple[int, ...], random: np.random.Generator) -> Tensor:
    """A random part of ``picture``, ``[3, h, w]`` bytes, scaled to ``shape``: ``[3, *shape]``, 0..1."""
    edges = [max(round(edge * float(random.uniform(0.2, 0.8))), 1) for edge in picture.shape[-2:]]
    top, left = (int(random.integers(whole - part + 1)) for whole, part in zip(picture.shape[-2:], edges, strict=True))
    part = picture[:, top : top + edges[0], left : left + edges[1]].float() / 255
    return F.interpolate(part[None], list(shape), mode="bilinear", antialias=True)[0]


def enlarge(cut: Cutout, row: int, random: np.random.Generator) -> Cutout:
    """A portrait as if it showed more of the body, in thick clothes.

    All below ``row`` becomes up to 2.6 times as tall and 1.8 times as wide. Where a side of the picture cuts the shoulders,
    they get an outline of their own. So the body no longer ends at a side, and can be seen whole. A portrait whose head a side
    cuts, or that ends above the lower border of its picture, stays as it is.

    Args:
        cut: The portrait.
        row: Where the clothes begin, see `find_shoulders`.
        random: Decides the size and the outline.
    """
    alpha = cut.layers[0, 3]
    neck = np.flatnonzero(alpha[row] > 64)
    if not cut.cut[1] or not len(neck) or alpha[: row + 1, [0, -1]].max() > 64:
        return cut
    height, width = alpha.shape
    middle = float(neck.mean()) + 0.5
    tall, wide = float(random.uniform(1.3, 2.6)), float(random.uniform(1.1, 1.8))
    down = torch.arange(row + round((height - row) * tall)) + 0.5
    below = (down - row).clamp(min=0) / tall  # in rows of the portrait
    rows = down.clamp(max=row) + below
    grown = 1 + (wide - 1) * (below / (0.5 * (height - row))).clamp(max=1).square()[:, None]
    shift = round(middle * (wide - 1))  # whole pixels, so that the head stays as it is
    columns = (torch.arange(round(width * wide)) + 0.5 - middle - shift) / grown
    waves = torch.tensor(random.uniform(0, 6.3, 2), dtype=torch.float32) + below[:, None] * 6.3 / (height - row)
    outline = 0.93 + 0.04 * waves.sin()  # of the left and the right side, as a share of what the picture has there
    reach = torch.where(columns < 0, outline[:, :1] * middle, outline[:, 1:] * (width - middle))
    inside = ((reach - columns.abs()) * grown + 0.5).clamp(0, 1)
    inside[:row] = 1
    grid = torch.stack([(columns + middle) / width, (rows[:, None] / height).expand_as(columns)], dim=-1) * 2 - 1
    seen = F.grid_sample(torch.from_numpy(cut.layers).float(), grid[None], padding_mode="border", align_corners=False)
    return cutout((seen * inside).round().byte().numpy()) or cut
