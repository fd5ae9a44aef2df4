"""Where the pixels of a frame lie in the next one: dense optical flow, and whether both are of one shot.

Pyramidal Lucas-Kanade (Bouguet, Pyramidal implementation of the Lucas Kanade feature tracker, 2000) at every pixel, with
the gradients of the first picture alone (Baker and Matthews, Lucas-Kanade 20 years on, 2004). There are no weights to
load, and the same pictures always give the same flow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .guided import local_mean

WINDOW = 2
"""Radius of the squares that move as one, in pixels."""
ROUNDS = 3
"""Improvements of the flow at every size."""
STEADY = 1e-4
"""Squared gradient below which an area keeps the motion found at a smaller size; that of grain."""
SMALLEST = 16
"""Pictures are halved while their shorter side keeps this many pixels."""
LONGEST_STEP = 1.0
"""Pixels by which a round may change the flow. Gradients do not tell more."""
CUT_EDGE = 48
"""Shorter side of the pictures that cuts are found on, about."""
UNEXPLAINED = 0.3
"""At a cut, more than this share of a picture's variance remains as a difference after motion. On drawn clips the share
is below 0.06 inside shots, and above 1 at cuts."""
LEAST_VARIANCE = 1e-3
"""Added to that variance, for pictures that are almost flat."""


def flow(here: Tensor, there: Tensor, weights: Sequence[Tensor] = ()) -> Tensor:
    """Find where every pixel of ``here`` lies in ``there``.

    Args:
        here: ``[C, H, W]``, any range.
        there: ``[C, H, W]``, a little earlier or later.
        weights: How much each channel counts, ``[C]``: at full size, at half of it, and so on; 1 at smaller ones. Noise
            in a channel vanishes at small sizes and would be followed at large ones.

    Returns:
        Rows and columns to add, in pixels, ``[2, H, W]``.

    Example:
        >>> picture = torch.sin(torch.arange(40.0) / 3) + torch.cos(torch.arange(32.0) / 4)[:, None]
        >>> found = flow(picture[None, :, 2:], picture[None, :, :-2])  # everything went two columns to the right
        >>> [abs(round(float(value), 1)) for value in found[:, 16, 20]]
        [0.0, 2.0]
    """
    pairs = [torch.stack([here, there])]
    while min(pairs[-1].shape[-2:]) >= 2 * SMALLEST:
        pairs.append(F.avg_pool2d(pairs[-1], 2, ceil_mode=True, count_include_pad=False))
    found = here.new_zeros(1, 2, *pairs[-1].shape[-2:])
    for index, pair in reversed(list(enumerate(pairs))):
        height, width = pair.shape[-2:]
        if found.shape[-2:] != (height, width):
            found = 2 * F.interpolate(found, scale_factor=2, mode="bilinear", align_corners=False)
            found = found[:, :, :height, :width]
        if index < len(weights):
            pair = pair * weights[index].view(-1, 1, 1)
        found = improved(found, pair[:1], pair[1:])
    return found[0]


def improved(found: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """Flow ``[1, 2, H, W]`` after `ROUNDS` rounds, in which it explains more and more of ``[1, C, H, W]``."""
    down, right = slopes(here)
    products = torch.cat(
        [(a * b).sum(dim=1, keepdim=True) for a, b in ((down, down), (right, right), (down, right))], 1
    )
    a, c, b = local_mean(products, WINDOW).split(1, dim=1)
    a, c = a + STEADY, c + STEADY
    scale = 1 / (a * c - b * b)
    for _ in range(ROUNDS):
        left = here - warped(there, found)
        wanted = torch.cat([(slope * left).sum(dim=1, keepdim=True) for slope in (down, right)], dim=1)
        u, v = local_mean(wanted, WINDOW).split(1, dim=1)
        step = torch.cat([c * u - b * v, a * v - b * u], dim=1) * scale
        found = local_mean(found + step.clamp(-LONGEST_STEP, LONGEST_STEP), 1)
    return found


def slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences down and right of ``[1, C, H, W]``; the border is repeated."""
    wide = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    return (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2, (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2


def warped(picture: Tensor, found: Tensor) -> Tensor:
    """Read ``[1, C, H, W]`` at every pixel's place plus flow ``[1, 2, H, W]``; for how, see `read`."""
    rows, columns = (torch.arange(edge, dtype=found.dtype, device=found.device) for edge in found.shape[-2:])
    return read(picture, found + torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None])


def read(picture: Tensor, places: Tensor) -> Tensor:
    """Read ``[1, C, H, W]`` at rows and columns ``[1, 2, h, w]``: ``[1, C, h, w]``, bilinear, the border repeated.

    Example:
        >>> read(torch.tensor([[[[0.0, 1.0, 4.0]]]]), torch.tensor([0.0, 1.5]).view(1, 2, 1, 1)).item()
        2.5
    """
    height, width = picture.shape[-2:]
    grid = torch.stack([(2 * places[:, 1] + 1) / width - 1, (2 * places[:, 0] + 1) / height - 1], dim=-1)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)


def one_shot(here: Tensor, there: Tensor) -> bool:
    """Whether two frames, one after the other, are of one shot: motion explains most of their difference.

    Args:
        here: ``[C, H, W]``, 0..1.
        there: ``[C, H, W]``.

    Example:
        >>> ramp = torch.linspace(0, 1, 64).expand(1, 64, 64)
        >>> one_shot(ramp, ramp.roll(2, 1)), one_shot(ramp, ramp.flip(2))
        (True, False)
    """
    factor = max(round(min(here.shape[-2:]) / CUT_EDGE), 1)
    small = [F.avg_pool2d(frame[None], factor, ceil_mode=True, count_include_pad=False) for frame in (here, there)]
    moved = warped(small[1], flow(small[0][0], small[1][0])[None])
    spread = (small[0] - small[0].mean(dim=(2, 3), keepdim=True)).square().mean()
    return bool((moved - small[0]).square().mean() < UNEXPLAINED * (spread + LEAST_VARIANCE))
