"""Hard negatives: views of places without people in which a network finds somebody all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .arrays import write_arrays
from .backgrounds import SHORT_EDGE, Places
from .sway import Sway

log = logging.getLogger(__name__)

FOUND = 0.01
"""A view whose matte has a higher mean than this is a hard negative."""
TOGETHER = 256
"""Number of views that are searched before their hard negatives are stored in one file."""
BATCH = 16


def read_hard_negatives(
    count: int,
    places: Places,
    size: int,
    matte: Callable[[Tensor], Tensor],
    folder: Path,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, ...]:
    """The hard negatives among ``count`` random views of panoramas: read from ``folder``, or searched the first time.

    A training meets each direction of a panorama so rarely that it does not learn the few that look like somebody.
    (Pictures are few, and all of them are met often, so they are not searched.)

    Args:
        count: How many views to search.
        places: Their panoramas are searched.
        size: Edge of the pictures that ``matte`` gets.
        matte: Returns the mattes ``[N, 1, size, size]`` of pictures ``[N, 3, size, size]``, both 0..1.
        folder: Folder of those that were found. Each file has some, so a search that was stopped goes on.
        progress: Called with the number of views searched so far.

    Returns:
        Pictures ``[3, 384, 384]``, bytes, sRGB.

    Raises:
        InputError: If there is no panorama.
    """
    if not places.panoramas:
        raise InputError("hard negatives are searched in panoramas: name a folder of them with --backgrounds")
    folder.mkdir(parents=True, exist_ok=True)
    paths = {first: folder / f"{count}_{first:06}.npz" for first in range(0, count, TOGETHER)}
    found: list[Tensor] = []
    with ThreadPoolExecutor(1) as ahead:  # views are made while others are matted
        for first, path in paths.items():
            if not path.exists():
                views = search(range(first, min(first + TOGETHER, count)), places, size, matte, ahead)
                write_arrays(path, {"views": views})
                if progress:
                    progress(min(first + TOGETHER, count))
            with np.load(path) as file:
                found += torch.from_numpy(file["views"])
    log.info("%d of %d views of panoramas are hard negatives", len(found), count)
    return tuple(found)


def search(
    numbers: range, places: Places, size: int, matte: Callable[[Tensor], Tensor], ahead: ThreadPoolExecutor
) -> np.ndarray:
    """The hard negatives among the views of these numbers, ``[N, 3, 384, 384]`` bytes."""

    def views(first: int) -> Tensor:
        return torch.cat([view(number, places) for number in numbers[first : first + BATCH]])

    kept = [torch.zeros(0, 3, SHORT_EDGE, SHORT_EDGE)]
    for batch in ahead.map(views, range(0, len(numbers), BATCH)):
        mattes = matte(F.interpolate(batch, (size, size), mode="bilinear", antialias=True))
        kept.append(batch[mattes.mean(dim=(1, 2, 3)).cpu() > FOUND])
    return (torch.cat(kept).clamp(0, 1) * 255).round().byte().numpy()


def view(number: int, places: Places) -> Tensor:
    """View ``number`` of the panoramas, ``[1, 3, 384, 384]``."""
    random = np.random.default_rng([number, 6])
    return places.look_about(SHORT_EDGE, torch.zeros(1), Sway(random, 2, 0.0), random)
