"""Remove islands and fill holes that are smaller than a number of pixels.

Connected components are found on the processor, row by row as runs of pixels, which NumPy joins all at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .expand import check_range

LARGEST = 100_000
"""Pixels of the largest islands and holes that can be asked for."""
FAINT = 0.05
"""Alpha up to this connects nothing, and no pixel with it counts. It is above the traces that networks leave."""
RIM = 8
"""Pixels around an island in which its even fainter rim goes with it."""


class Runs(NamedTuple):
    """The pixels of a mask as runs: pixels side by side in a row, in the order of rows.

    Attributes:
        starts: Index of every run's first pixel, counted row by row.
        ends: Index after its last pixel.
        groups: To which group of connected pixels it belongs, 0 to the number of groups - 1.
    """

    starts: np.ndarray
    ends: np.ndarray
    groups: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        """Pixels of every group."""
        return np.bincount(self.groups, weights=self.ends - self.starts).astype(np.int64)

    def pixels(self, chosen: np.ndarray) -> np.ndarray:
        """Indices of the pixels of the ``chosen`` runs."""
        return spread(self.starts[chosen], self.ends[chosen])


def despeckle(alpha: Tensor, islands: int, holes: int = 0) -> Tensor:
    """Make small islands transparent and small holes solid, with their soft rims. Everything else stays to the bit.

    An island is a group of pixels above `FAINT` that touch each other along a side or at a corner, a hole likewise a
    group of pixels below 1 - `FAINT`. Corners count for both: a diagonal strand of hair is one thing, and so is a
    diagonal gap between two. Their sizes are counted inside the frame. Where the background is not that near to 0, or
    the subject to 1, clean the matte first (`levels`).

    Args:
        alpha: ``[T, 1, H, W]``, 0..1; frames are independent.
        islands: Islands of fewer pixels than this vanish; 0 and 1 keep all.
        holes: Holes of fewer pixels than this are filled; 0 and 1 keep all.

    Returns:
        ``[T, 1, H, W]``.

    Raises:
        InputError: If a size is out of range.

    Example:
        >>> matte = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0.0]])
        >>> despeckle(matte[None, None], 2, 2)[0, 0].int().tolist()
        [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    """
    check_despeckle(islands, holes)
    if islands <= 1 and holes <= 1:
        return alpha
    result = torch.empty_like(alpha, device="cpu").copy_(alpha)
    for frame in result[:, 0]:
        pixels = frame.numpy()
        pixels.flat[small_groups(pixels, islands)] = 0
        pixels.flat[small_groups(1 - pixels, holes)] = 1
    return result.to(alpha.device)


def check_despeckle(islands: int, holes: int) -> None:
    """Refuse sizes that `despeckle` cannot use."""
    check_range("despeckle", islands, 0, LARGEST, "pixels of area")
    check_range("fill_holes", holes, 0, LARGEST, "pixels of area")


def small_groups(values: np.ndarray, size: int) -> np.ndarray:
    """Indices of the pixels of ``[H, W]`` in groups above `FAINT` of fewer than ``size`` pixels, and of their rims."""
    if size <= 1:
        return np.zeros(0, np.int64)
    runs = connected(values > FAINT)
    return with_rims(values, runs.pixels((runs.areas < size)[runs.groups]))


def connected(mask: np.ndarray) -> Runs:
    """Find the groups of connected pixels in ``mask`` ``[H, W]`` bool; corners connect.

    Runs that touch in neighbouring rows are found by bisection. Then, until nothing changes, every group joins the
    first of the groups that it touches.

    Example:
        >>> connected(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]], bool)).groups.tolist()
        [0, 0, 0, 1]
    """
    height, width = mask.shape
    stride = width + 1
    apart = np.zeros(height * stride + 1, bool)  # an empty column keeps rows apart
    apart[:-1].reshape(height, stride)[:, 1:] = mask
    turns = np.flatnonzero(apart[1:] != apart[:-1]) + 1
    starts, ends = turns[0::2], turns[1::2]
    first = np.searchsorted(ends + stride, starts, side="left")  # runs in the row above that touch, corners included
    last = np.searchsorted(starts + stride, ends, side="right")
    last = np.maximum(first, last)
    groups = joined(len(starts), np.repeat(np.arange(len(starts)), last - first), spread(first, last))
    return Runs(starts - starts // stride - 1, ends - starts // stride - 1, groups)


def joined(count: int, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Number the groups of ``count`` things, of which each of ``some`` belongs together with the one in ``others``."""
    parent = np.arange(count)
    while len(some):
        some, others = parent[some], parent[others]
        apart = some != others
        some, others = some[apart], others[apart]
        np.minimum.at(parent, np.maximum(some, others), np.minimum(some, others))
        while (parent[parent] != parent).any():
            parent = parent[parent]
    return np.unique(parent, return_inverse=True)[1].reshape(-1)


def spread(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """All numbers from every start to before its end.

    Example:
        >>> spread(np.array([3, 8]), np.array([5, 9])).tolist()
        [3, 4, 8]
    """
    counts = ends - starts
    return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


def with_rims(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Add the rims of removed groups: paths from their pixels on which faint values never rise, up to `RIM` long."""
    height, width = values.shape
    flat, taken = values.ravel(), np.zeros(values.size, bool)
    taken[pixels] = True
    parts = [pixels]
    steps = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
    for _ in range(RIM):
        found, (rows, columns) = [], np.divmod(parts[-1], width)
        for down, right in steps:
            row, column = rows + down, columns + right
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            here, there = parts[-1][inside], (row * width + column)[inside]
            falls = (flat[there] > 0) & (flat[there] <= np.minimum(flat[here], FAINT)) & ~taken[there]
            found.append(there[falls])
        parts.append(np.unique(np.concatenate(found)))
        taken[parts[-1]] = True
    return np.concatenate(parts)
