"""HDR and wide colours as a screen shows them: PQ and HLG are tone-mapped, BT.2020 becomes BT.709."""

from __future__ import annotations

import torch
from torch import Tensor

from .color import linear_to_srgb

PQ, HLG = 16, 18
"""Transfer characteristics (ITU-T H.273, table 3)."""
BT2020 = 9
WHITE = 203.0
"""Nits of diffuse white in HDR (ITU-R BT.2408)."""
PEAK = 1000.0
"""Nits of the display that HLG is made for (ITU-R BT.2100)."""
KNEE = 0.8
"""Light up to this share of white is not changed by tone mapping."""
TO_BT709 = torch.tensor([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
"""Linear BT.2020 to linear BT.709 (ITU-R BT.2087)."""
LUMA = torch.tensor([0.2627, 0.6780, 0.0593])


def to_srgb(picture: Tensor, transfer: int, primaries: int) -> Tensor:
    """A picture as a screen shows it.

    Args:
        picture: ``[3, H, W]``, or ``[4, H, W]`` with alpha, which is kept; 0..1 in the light of the file.
        transfer: The file's transfer characteristics, by their number in ITU-T H.273. Anything but PQ and HLG counts
            as sRGB already.
        primaries: The file's colour primaries, likewise.

    Returns:
        The picture, sRGB 0..1. What is neither HDR nor BT.2020 is returned as it is.
    """
    if transfer not in (PQ, HLG) and primaries != BT2020:
        return picture
    colour = picture[:3]
    if transfer == PQ:
        light = pq_to_nits(colour) / WHITE
    elif transfer == HLG:
        light = hlg_to_nits(colour) / WHITE
    else:
        light = colour.clamp(min=0) ** 2.4  # what a display makes of SDR (ITU-R BT.1886)
    if primaries == BT2020:
        light = torch.einsum("ij,jhw->ihw", TO_BT709, light).clamp(min=0)
    if transfer in (PQ, HLG):
        light = tone_mapped(light)
        shown = linear_to_srgb(light)
    else:
        shown = light ** (1 / 2.4)
    return torch.cat([shown.clamp(0, 1), picture[3:]])


def pq_to_nits(signal: Tensor) -> Tensor:
    """SMPTE ST 2084's curve: 0..1 to 0..10,000 nits."""
    root = signal.clamp(0, 1) ** (32 / 2523)
    return 10_000 * ((root - 3424 / 4096).clamp(min=0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610)


def hlg_to_nits(signal: Tensor) -> Tensor:
    """ARIB STD-B67's curve ``[3, H, W]``, 0..1, and its display's gamma of 1.2, to 0..`PEAK` nits (ITU-R BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = signal.clamp(0, 1)
    scene = torch.where(signal <= 0.5, signal.square() / 3, (torch.exp((signal - c) / a) + b) / 12)
    luminance = torch.einsum("j,jhw->hw", LUMA, scene).clamp(min=1e-6)
    return PEAK * luminance**0.2 * scene


def tone_mapped(light: Tensor) -> Tensor:
    """Linear light ``[3, H, W]`` with 1 for white, bent below 1 by its strongest channel, so that hues stay.

    Example:
        >>> light = torch.tensor([0.5, 1.0, 5.0]).view(1, 1, 3).expand(3, 1, 3)
        >>> [f"{float(value):.2f}" for value in tone_mapped(light)[0, 0]]
        ['0.50', '0.93', '1.00']
    """
    strongest = light.amax(dim=0, keepdim=True).clamp(min=1e-6)
    bent = KNEE + (1 - KNEE) * (1 - torch.exp((KNEE - strongest) / (1 - KNEE)))
    return light * torch.where(strongest > KNEE, bent / strongest, torch.ones_like(strongest))
