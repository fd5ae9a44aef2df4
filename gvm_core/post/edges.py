"""Refining a window of mattes by its frames, band by band: `guided` applied with the memory that there is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..execution import Variant
from . import guided

PIXELS_AT_ONCE = 2**18
"""So many rows of a window are computed at once that they are this many pixels."""
BYTES_A_PIXEL = 640
"""Peak of memory for each pixel: some eighty numbers."""


def variants(
    shape: torch.Size, radius: int, *, neighbours: bool, device: torch.device, between: Callable[[], None]
) -> list[Variant]:
    """Exact ways to find alpha as a function of colour: frames and their alpha ``[T, 4, H, W]`` to ``[T, 4, H, W]``.

    Args:
        shape: Of the frames and their alpha.
        radius: As for `guided.alpha_by_colour`, likewise ``neighbours``.
        neighbours: Whether frames look at each other.
        device: Where to compute if it has float64, which few but CUDA do.
        between: Called before every band; raising from it stops.
    """
    frames, _, height, width = shape
    processor = torch.device("cpu")
    quickest = device if device.type == "cuda" else processor

    def banded(name: str, pixels: int, device: torch.device) -> Variant:
        rows = max(1, pixels // (frames * width))

        def run(data: Tensor) -> Tensor:
            bands = []
            for top in range(0, height, rows):
                between()
                first = max(top - 2 * radius, 0)
                band = data[:, :, first : top + rows + 2 * radius].to(device)
                found = guided.alpha_by_colour(band[:, :3], band[:, 3:], radius, neighbours=neighbours)
                bands.append(found[:, :, top - first : top - first + rows].cpu())
            return torch.cat(bands, dim=2)

        return Variant(name, frames * width * min(rows + 4 * radius, height) * BYTES_A_PIXEL, run)

    return [
        banded("as planned", PIXELS_AT_ONCE, quickest),
        banded("in thin bands", PIXELS_AT_ONCE // 16, quickest),
        banded("in thin bands on the processor", PIXELS_AT_ONCE // 16, processor),
    ]
