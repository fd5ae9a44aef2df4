"""Composite a subject over another background."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError
from .color import linear_to_srgb, srgb_to_linear


def over(foreground: Tensor, alpha: Tensor, background: Tensor, *, linear_light: bool = False) -> Tensor:
    """Composite a straight-alpha foreground over a background: ``F * a + B * (1 - a)`` (Porter and Duff, 1984).

    Args:
        foreground: ``[..., 3, H, W]``, straight (not premultiplied), any range.
        alpha: ``[..., 1, H, W]`` in 0..1, 1 = foreground.
        background: ``[..., 3, H, W]``, in the same light as ``foreground``.
        linear_light: Treat both pictures as sRGB and mix them in linear light, as a camera would.

    Returns:
        Composite ``[..., 3, H, W]``, in the light of the inputs.

    Example:
        >>> over(torch.ones(3, 1, 1), torch.tensor([[[0.25]]]), torch.zeros(3, 1, 1)).flatten().tolist()
        [0.25, 0.25, 0.25]
    """
    if linear_light:
        return linear_to_srgb(over(srgb_to_linear(foreground), alpha, srgb_to_linear(background)))
    return foreground * alpha + background * (1 - alpha)


def unpremultiply(colour: Tensor, alpha: Tensor) -> Tensor:
    """Straight colour from premultiplied colour ``[..., 3, H, W]`` and alpha ``[..., 1, H, W]``; 0 where alpha is 0.

    Example:
        >>> unpremultiply(torch.full((3, 1, 2), 0.25), torch.tensor([[[0.5, 0.0]]]))[0].tolist()
        [[0.5, 0.0]]
    """
    return torch.where(alpha > 0, colour / alpha.clamp(min=1e-6), 0.0)


def checker(height: int, width: int, square: int = 16) -> Tensor:
    """The grey checkerboard that shows transparency, ``[3, height, width]``, sRGB.

    Example:
        >>> checker(2, 4, square=2)[0, 0].tolist()
        [0.6000000238418579, 0.6000000238418579, 0.4000000059604645, 0.4000000059604645]
    """
    rows = torch.arange(height)[:, None] // square
    columns = torch.arange(width)[None] // square
    return torch.where((rows + columns) % 2 == 0, 0.6, 0.4).expand(3, -1, -1)


def parse_color(text: str) -> Tensor:
    """``#rgb`` or ``#rrggbb`` to ``[3]``, sRGB 0..1.

    Raises:
        InputError: For anything else.

    Example:
        >>> parse_color("#ff0033").tolist()
        [1.0, 0.0, 0.20000000298023224]
    """
    digits = text.strip().removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    try:
        levels = bytes.fromhex(digits)
    except ValueError:
        levels = b""
    if len(levels) != 3:
        raise InputError(f"{text!r} is not a colour; write #rrggbb, for example #00b140")
    return torch.tensor(list(levels), dtype=torch.float32) / 255
