"""Makes the soft colours of a clip steady: means over frames that look alike. `foreground` uses it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .guided import local_mean
from .multilevel import halved, put, taken

MIDDLE = 0.789
"""Median of a sum of three squared normal numbers, over its mean."""
ALIKE = 1e-3
"""Squared difference of colour between two frames, summed over channels, beyond what noise explains, at which one
frame's weight in the other's colours is 1/e. It is 0.018 a channel: finer motion is not seen, and hardly matters."""
SLACK = 1.5
"""Differences up to this many times the expected noise are noise."""
NOISIEST = 0.05
"""Noise is never taken to be stronger than this standard deviation of a pixel. More could be a texture that moves."""
SAME_ALPHA = 0.25
"""Difference of alpha at which a neighbouring frame's weight is 1/e. The plate may stand still while the matte errs."""


class Found(NamedTuple):
    """What is kept of a frame to make its soft colours steady.

    Attributes:
        alpha: ``[H, W]``.
        places: Places in the flat frame, ``[N]``, that include all soft pixels.
        plate: Means of 2x2 pixels of the plate, ``[3, h, w]``. Values beyond 1 are compressed.
        noise: Squared difference that noise makes between two such means, summed over channels.
    """

    alpha: Tensor
    places: Tensor
    plate: Tensor
    noise: Tensor


def compressed(colour: Tensor, limits: Tensor) -> Tensor:
    """A copy of ``[3, h, w]`` in which differences of bright values count as ratios; ``limits`` are its range."""
    if limits.abs().amax() <= 1:
        return colour.clone()
    size = colour.abs()
    return torch.where(size > 1, colour.sign() * (1 + size.clamp(min=1).log()), colour)


def noise(plate: Tensor) -> Tensor:
    """Squared difference, summed over channels, that a frame's noise makes to another frame with the same noise.

    It is measured on every fourth row of ``[3, h, w]``: most neighbours differ by noise alone, once a steady slope is
    taken away.
    """
    some = plate[:, ::4]
    bend = some[..., :-2] - 2 * some[..., 1:-1] + some[..., 2:]  # its variance is 6 times that of a value
    return usual(bend.square().sum(dim=0) / 3)


def usual(squares: Tensor) -> Tensor:
    """Mean of those sums of three squares that come from noise, if they are more than half; 0 of none."""
    some = squares.flatten()[::7]
    return some.median() / MIDDLE if len(some) else squares.new_zeros(())


def likeness(one: Found, other: Found) -> Tensor:
    """How much two frames look alike, for each square of 4x4 pixels, ``[N]``, 0..1.

    `guided.likeness` compares the mean colours of neighbourhoods: a fit may be shared even where a texture moves. Here
    single pixels are mixed. So small squares are compared, and what noise explains is taken away.
    """
    change = (one.plate - other.plate).square().sum(dim=0, keepdim=True)
    expected = torch.stack([usual(change), one.noise, other.noise]).amin().clamp(max=1.5 * NOISIEST**2)
    near = local_mean(halved(change, torch.add)[None] / 4, 1)
    return torch.exp((SLACK * expected - near).clamp(max=0) / ALIKE).flatten()


def steady(found: list[Found], colour: Tensor, margin: int) -> None:
    """Replace soft colours in ``colour`` ``[T, 3, H, W]`` by their means over ``margin`` frames before and after.

    A frame counts as far as it looks like the frame in question, and the frames between them do too: nothing is taken
    from beyond a cut, or from what has moved.
    """
    alike: dict[tuple[int, int], Tensor] = {}
    for step in range(1, margin + 1):
        for first in range(len(found) - step):
            last = first + step
            alike[first, last] = likeness(found[first], found[last])
            if step > 1:
                links = torch.minimum(alike[first, last - 1], alike[first + 1, last])
                alike[first, last] = torch.minimum(alike[first, last], links)
    means = []
    for index, own in enumerate(found):
        place, square = soft_places(own)
        share, total = taken(own.alpha.flatten(), place), taken(colour[index].flatten(1), place)
        weights = torch.ones_like(share)
        for other in range(max(index - margin, 0), min(index + margin + 1, len(found))):
            if other != index:
                weight = taken(alike[min(index, other), max(index, other)], square)
                weight *= torch.exp(-((taken(found[other].alpha.flatten(), place) - share) / SAME_ALPHA).square())
                total += weight * taken(colour[other].flatten(1), place)
                weights += weight
        means.append((place, total.div_(weights)))
    for (place, mean), into in zip(means, colour, strict=True):
        put(into.flatten(1), place, mean)


def soft_places(found: Found) -> tuple[Tensor, Tensor]:
    """Places of a frame's soft pixels in the flat frame, and of the 4x4 pixels around each in the flat `likeness`."""
    width = found.alpha.shape[1]
    share = taken(found.alpha.flatten(), found.places)
    place = found.places[(share > 0) & (share < 1)]
    y = torch.div(place, width, rounding_mode="floor")
    return place, (y >> 2) * (width // 4) + ((place - y * width) >> 2)
