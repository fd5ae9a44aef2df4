"""Converts sRGB to linear light and back (IEC 61966-2-1), without clamping."""

from __future__ import annotations

import torch
from torch import Tensor


def srgb_to_linear(srgb: Tensor) -> Tensor:
    """Decode sRGB values to linear light. Values above 1 follow the same curve; values below 0 follow it mirrored.

    Example:
        >>> round(srgb_to_linear(torch.tensor([0.5])).item(), 4)
        0.214
    """
    size = srgb.abs()
    return srgb.sign() * torch.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Encode linear light as sRGB; the inverse of `srgb_to_linear`.

    Example:
        >>> round(linear_to_srgb(torch.tensor([0.214])).item(), 3)
        0.5
    """
    size = linear.abs()
    return linear.sign() * torch.where(size <= 0.0031308, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
