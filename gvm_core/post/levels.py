"""Clean the black and the white of a matte, bring back the detail that cleaning cost, and make soft edges thicker."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from .expand import Disc, busy, check_range, extent, feather, over_segments

MOST_CLEANED = 0.5
"""The largest `clean_black` and `clean_white`."""
FARTHEST_ROLLBACK = 64
"""The largest `rollback`, in pixels."""
CLEARLY = 0.1
"""Alpha of an edge's soft pixels for `rollback` to count in full, and of how far below 1 they are."""
STEEPEST = 1e-4
"""Alpha between black and white at least, for a slope that is finite."""


def levels(
    alpha: Tensor, *, clean_black: float = 0.0, clean_white: float = 0.0, gamma: float = 1.0, rollback: float = 0.0
) -> Tensor:
    """Stretch alpha so that faint background becomes 0 and an almost solid subject 1, except near edges.

    With ``black`` and ``white`` as `clean_black` and `clean_white`, alpha becomes ``((alpha - black) / (1 - black -
    white)) ** (1 / gamma)``, clamped to 0..1 before the power: clip black, clip white and gamma of a keyer. Cleaning
    also cuts the faint ends of hair. `rollback` returns them: near the edges of the cleaned matte, alpha is what it was
    (the clip rollback of keyers such as Keylight).

    Args:
        alpha: ``[T, 1, H, W]``; values outside 0..1 are clamped.
        clean_black: 0 to 0.5. Alpha at or below this becomes 0.
        clean_white: 0 to 0.5. Alpha at or above 1 minus this becomes 1. If both are 0.5, edges are hard.
        gamma: Above 0; 1 changes nothing. Above 1 makes soft edges thicker, below 1 thinner.
        rollback: 0 to 64 pixels. Nearer than half of this to an edge, cleaning counts nothing. From there on it counts
            more and more, and from about this distance on in full.

    Returns:
        ``[T, 1, H, W]``, 0..1. Without any change, ``alpha`` itself, unclamped.

    Raises:
        InputError: If a value is out of range.

    Example:
        >>> levels(torch.tensor([0.05, 0.1, 0.5, 0.9]).view(1, 1, 1, 4), clean_black=0.1, clean_white=0.1).flatten()
        tensor([0.0000, 0.0000, 0.5000, 1.0000])
    """
    check_levels(clean_black, clean_white, gamma, rollback)
    if not (clean_black or clean_white) and gamma == 1:
        return alpha
    unclean = alpha.clamp(0, 1)
    result = cleaned(unclean, clean_black, clean_white)
    for frame, before in zip(result[:, 0], unclean[:, 0], strict=True):
        part = busy(frame, math.ceil(rollback) + 2) if rollback and (clean_black or clean_white) else None
        if part is not None:
            frame[part].lerp_(before[part], near_edges(frame[part], rollback))
        part = extent((frame > 0) & (frame < 1), 0) if gamma != 1 else None
        if part is not None:  # powers of 0 and 1 are themselves, and take long
            frame[part].pow_(1 / gamma)
    return result


def check_levels(clean_black: float, clean_white: float, gamma: float, rollback: float) -> None:
    """Refuse values that `levels` cannot use; for the arguments see there."""
    check_range("clean_black", clean_black, 0, MOST_CLEANED)
    check_range("clean_white", clean_white, 0, MOST_CLEANED)
    check_range("rollback", rollback, 0, FARTHEST_ROLLBACK, "pixels")
    if not (isinstance(gamma, (int, float)) and 0 < gamma < math.inf):
        raise InputError(f"gamma must be above 0 (1 changes nothing), got {gamma!r}")


def cleaned(alpha: Tensor, black: float, white: float) -> Tensor:
    """Alpha with everything up to ``black`` at 0 and all from ``1 - white`` on at exactly 1, linear in between."""
    if not (black or white):
        return alpha.clone()
    scale = 1 / max(1 - black - white, STEEPEST)
    return (alpha - black).mul_(scale * (1 + 2**-21)).clamp_(0, 1)  # a little steeper, or rounding might miss 1


def near_edges(alpha: Tensor, pixels: float) -> Tensor:
    """How near the edges of a matte are: 1 up to half of ``pixels`` from them, and 0 from about ``pixels`` on.

    A pixel belongs to an edge if it and its eight neighbours differ and hold some subject and some background.

    Args:
        alpha: ``[H, W]``, 0..1.
        pixels: Above 0.

    Returns:
        ``[H, W]``, 0..1. Edges of less than `CLEARLY` count less, so that traces of noise stay cleaned.
    """
    most, least = (over_segments(alpha, Disc(straight=2), 0, pick) for pick in (torch.maximum, torch.minimum))
    edge = torch.minimum(most, 1 - least).div_(CLEARLY).clamp_(max=min(pixels, 1)) * (most > least)
    half = round(0.414 * 0.75 * pixels)
    if half:
        edge = over_segments(edge, Disc(2 * half, round(0.586 * 0.75 * pixels)), 0, torch.maximum)
    return feather(edge[None, None], pixels / 6)[0, 0]
