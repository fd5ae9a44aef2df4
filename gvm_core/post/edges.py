"""Refine a window of mattes by its frames with `guided`, band by band, in the memory that is free."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..execution import Variant
from . import guided

PIXELS_AT_ONCE = 2**18
"""Rows of a window's frames are computed at once up to about this many pixels."""
BYTES_A_PIXEL = 640
"""Peak memory for each pixel: about eighty float64 numbers."""


def variants(
    shape: torch.Size, radius: int, *, neighbours: bool, device: torch.device, between: Callable[[], None]
) -> list[Variant]:
    """Exact variants of `guided.alpha_by_colour`: frames with their alpha ``[T, 4, H, W]`` to ``[T, 4, H, W]``.

    Args:
        shape: Shape of the frames with their alpha.
        radius: As in `guided.alpha_by_colour`.
        neighbours: As in `guided.alpha_by_colour`.
        device: Used if it is a CUDA device. Otherwise the CPU computes, as few other devices have float64.
        between: Called before every band. It may raise to stop.
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
        banded("in thin bands on the CPU", PIXELS_AT_ONCE // 16, processor),
    ]
