"""Align a matte's edges with the edges in its frames: the fast guided filter, over space and time.

A matte is made at the network's size. Around each pixel, alpha is approximated by a linear function of colour. This is
exact where subject and background have one colour each, because of how compositing works. The functions are fitted at
the network's size and applied to the frames at full size. So fine hair that the network never saw appears in the matte.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-4
"""Variance of colour below which an area counts as flat. It is above the noise of clean footage; otherwise that noise
would become grain in the matte."""
ALIKE = 0.07
"""Difference of colour between two frames at which one frame's weight in the other's fit is 1/e. At twice that it is
about 1/50. Larger differences are cuts, or objects that have moved away."""
LEAST_TRUST = 0.03
"""Added to every pixel's weight in a fit. Without it, the weight is 0 at alpha one half and 1 at alpha 0 or 1."""


def alpha_by_colour(frames: Tensor, alpha: Tensor, radius: int, *, neighbours: bool = True) -> Tensor:
    """Fit alpha as a linear function of colour around every pixel.

    This is the guided filter of He, Sun and Tang (Guided Image Filtering, 2013) with a colour guide and two changes. A
    pixel has the weight ``(2 alpha - 1)**2`` in a fit: pixels that are certainly subject or background show the colours
    of both, and alpha of the pixels in between is unknown. Fits also use the frames before and after, as far as they
    look alike, which makes the fits steadier.

    Args:
        frames: ``[T, 3, H, W]``, sRGB; values outside 0..1 are clamped.
        alpha: ``[T, 1, H, W]``, 0..1.
        radius: Radius of the square around a pixel, in pixels: about how far an edge may be off.
        neighbours: Whether to use the frames before and after.

    Returns:
        Three slopes and an offset ``[T, 4, H, W]``, float32. They are computed in float64, because float32 is not
        precise enough where colours lie on a line, as between two colours. They depend on pixels up to twice the radius
        away.

    Example:
        >>> frames = torch.zeros(1, 3, 1, 8)
        >>> frames[..., 4:] = 1  # a sharp edge; the matte below has a soft one
        >>> matte = torch.linspace(0, 1, 8).expand(1, 1, 1, 8)
        >>> sharper = alpha_of(alpha_by_colour(frames, matte, 3), frames)
        >>> [f"{float(value):.2f}" for value in (*matte[0, 0, 0, 3:5], *sharper[0, 0, 0, 3:5])]
        ['0.43', '0.57', '0.18', '0.82']
    """
    frames, alpha = frames.clamp(0, 1).double(), alpha.double()
    trust = (2 * alpha - 1).square() + LEAST_TRUST
    known = torch.cat([frames, alpha, products(frames), frames * alpha, torch.ones_like(alpha)], dim=1) * trust
    alike = likeness(frames, radius) if neighbours else None
    sums = local_mean(known, radius, alike)
    colour, level, square, joint = (sums[:, :-1] / sums[:, -1:]).split((3, 1, 6, 3), dim=1)
    slope = solve_symmetric(square - products(colour), joint - colour * level)
    offset = level - (slope * colour).sum(dim=1, keepdim=True)
    return local_mean(torch.cat([slope, offset], dim=1), radius, alike).float()


def refined(frames: Tensor, alpha: Tensor, radius: int, *, neighbours: bool = True) -> Tensor:
    """Unclamped alpha ``[T, 1, H, W]``, refined by frames of the same size. For the arguments see `alpha_by_colour`."""
    return alpha_of(alpha_by_colour(frames, alpha.clamp(0, 1), radius, neighbours=neighbours), frames)


def alpha_of(functions: Tensor, frames: Tensor) -> Tensor:
    """Unclamped alpha ``[T, 1, H, W]`` that ``functions`` ``[T, 4, H, W]`` give for the colours of ``frames``."""
    slope, offset = functions.split((3, 1), dim=1)
    return (slope * frames.clamp(0, 1)).sum(dim=1, keepdim=True) + offset


def products(colour: Tensor) -> Tensor:
    """The six products of channel pairs of ``[T, 3, H, W]``: the upper triangle of a 3x3 matrix, row by row."""
    red, green, blue = colour.unbind(1)
    pairs = (red, red), (red, green), (red, blue), (green, green), (green, blue), (blue, blue)
    return torch.stack([one * other for one, other in pairs], dim=1)


def likeness(frames: Tensor, radius: int) -> Tensor:
    """How much each frame, except the last, looks like the next frame around each pixel: ``[T - 1, 1, H, W]``, 0..1."""
    change = local_mean(frames, radius).diff(dim=0).square().sum(dim=1, keepdim=True)
    return torch.exp(-change / ALIKE**2)


def local_mean(values: Tensor, radius: int, alike: Tensor | None = None) -> Tensor:
    """Mean of ``[T, C, H, W]`` over squares of ``2 * radius + 1`` pixels; pixels outside the frame are left out.

    With ``alike``, the `likeness` of frames, these means are then averaged with the means of the frames before and
    after, weighted by ``alike``.
    """
    mean = mean_along(mean_along(values, 2, radius), 3, radius)
    if alike is None:
        return mean
    total, weight = mean.clone(), torch.ones_like(mean[:, :1])
    total[:-1] += alike * mean[1:]
    weight[:-1] += alike
    total[1:] += alike * mean[:-1]
    weight[1:] += alike
    return total.div_(weight)


def mean_along(values: Tensor, axis: int, radius: int) -> Tensor:
    """Mean of ``2 * radius + 1`` neighbours along ``axis``; neighbours outside the frame are left out.

    It adds shifted slices, always in the same order, so a part gives exactly the same numbers as the whole. Pooling is
    five times slower on a CPU.
    """
    size = values.shape[axis]
    total = values.clone()
    for step in range(1, min(radius, size - 1) + 1):
        total.narrow(axis, 0, size - step).add_(values.narrow(axis, step, size - step))
        total.narrow(axis, step, size - step).add_(values.narrow(axis, 0, size - step))
    place = torch.arange(size, device=values.device)
    count = place.clamp(max=radius) + place.flip(0).clamp(max=radius) + 1
    return total.div_(count.view([-1 if dim == axis else 1 for dim in range(values.ndim)]))


def solve_symmetric(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve a positive 3x3 system with `EPSILON` added to its diagonal, at every pixel, by Cramer's rule.

    Args:
        matrix: Upper triangles row by row, ``[T, 6, H, W]``.
        right: ``[T, 3, H, W]``.
    """
    a, b, c, d, e, f = matrix.unbind(1)
    a, d, f = a + EPSILON, d + EPSILON, f + EPSILON
    u, v, w = right.unbind(1)
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    middle, cross, last = a * f - c * c, b * c - a * e, a * d - b * b
    rows = [first * u + second * v + third * w, second * u + middle * v + cross * w, third * u + cross * v + last * w]
    return torch.stack(rows, dim=1) / (a * first + b * second + c * third).unsqueeze(1)
