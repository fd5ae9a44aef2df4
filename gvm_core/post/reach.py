"""Where alpha may be: near a mask and inside the box, and how it fades to 0 at the rim."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..region import Region, RegionSettings
from .resize import Fit

FINEST = 256
"""Distances to a mask are computed with this many pixels on the longer side of the crop, or fewer."""
FAINT = 0.01
"""The smallest share of such a pixel that a mask must cover to count: thin parts of it are not lost."""


def weights(region: Region, view: Fit, settings: RegionSettings) -> Tensor:
    """What alpha is multiplied with in the pixels of a crop: 1 in most of it, 0 at its rim and far from the mask.

    An edge of the crop that is the frame's edge has no rim.

    Args:
        region: Where alpha may be.
        view: How the network sees the frame, at this region.
        settings: How far around a mask alpha may be, and how it fades.

    Returns:
        ``[1, 1, h, w]``, 0..1, for the pixels ``view.place``.
    """
    rows, columns = (rim(view, axis, settings.feather * min(view.scaled)) for axis in (0, 1))
    weight = (rows[:, None] * columns)[None, None]
    if region.mask is None:
        return weight
    share = min(1.0, FINEST / max(view.scaled))
    height, width = (max(round(edge * share), 1) for edge in view.scaled)
    small = replace(view, scaled=(height, width), padded=(height, width))
    inside = (
        replace(small, source=(region.mask.shape[0], region.mask.shape[1])).fit(region.mask[None, None].float())[0, 0]
        > FAINT
    )
    side = min(height, width)
    near = grown(inside, settings.grown * side, settings.feather * side)
    return weight * small.inside(near[None, None])


def rim(view: Fit, axis: int, feather: float) -> Tensor:
    """Weights of the rows (axis 0) or columns (axis 1) in ``view.place``. ``feather`` is in pixels of the network.

    Where the crop is nearer to the frame's edge than ``feather``, it fades over this shorter distance, or not at all. So
    nothing jumps when a crop comes to the frame's edge.
    """
    (begin, length), place = view.sides[axis], view.place[axis]
    source, scaled = view.source[axis], view.scaled[axis]
    step = scaled / length
    at = (torch.arange(place.start, place.stop, dtype=torch.float64) + 0.5 - begin) * step
    weight = torch.ones_like(at)
    for inward, outside in ((at, begin), (scaled - at, source - begin - length)):
        if (fade := min(feather, outside * step)) > 0:
            weight = weight * (inward / fade).clamp(0, 1)
    return weight.float()


def grown(mask: Tensor, reach: float, feather: float) -> Tensor:
    """1 in and near ``mask`` ``[H, W]`` (bool), falling over the last ``feather`` pixels to 0 at ``reach`` pixels from it.

    Example:
        >>> line = torch.tensor([[True, False, False, False, False, False]])
        >>> grown(line, 4, 2).tolist()
        [[1.0, 1.0, 1.0, 0.5, 0.0, 0.0]]
    """
    return ((reach - distance(mask, math.ceil(reach))) / feather).clamp(0, 1)


def distance(mask: Tensor, limit: int) -> Tensor:
    """The distance of each pixel to ``mask`` ``[H, W]`` (bool), where it is at most ``limit``; elsewhere it is larger.

    First along columns, then the nearest of these along rows: exact (Felzenszwalb and Huttenlocher, 2012), by trying all
    steps, as ``limit`` is small.
    """
    far = float((limit + 1) ** 2)
    squared = torch.where(mask, 0.0, far)
    for axis in (0, 1):
        nearest, size = squared.clone(), squared.shape[axis]
        for step in range(1, min(limit, size - 1) + 1):
            ahead = squared.narrow(axis, step, size - step) + step**2
            behind = squared.narrow(axis, 0, size - step) + step**2
            for part, other in (
                (nearest.narrow(axis, 0, size - step), ahead),
                (nearest.narrow(axis, step, size - step), behind),
            ):
                torch.minimum(part, other, out=part)
        squared = nearest
    return squared.sqrt()
