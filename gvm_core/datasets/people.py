"""Batches of people cut out of pictures and composed before other places, with exact alpha.

Before camera noise and compression ``image = colour + background * (1 - alpha)``, with ``colour`` premultiplied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..synthesis.backdrop import blur
from ..synthesis.degrade import Degradation
from .backgrounds import Places
from .batch import Batch
from .clothes import dye, enlarge, find_shoulders
from .cutouts import Cutout, clear_borders
from .occluders import behind, occluder
from .placing import Placing, grids, place
from .sway import FPS, Sway

NOBODY = 0.1
"""Share of clips with nobody in them."""
CHIMERAS, MOVING = 0.25, 0.06
"""Shares of chimeras, if there are any, and of subjects with several frames."""
CROWD = (0.78, 0.17, 0.05)
"""Shares of one, two and three people."""


class Composition(NamedTuple):
    """A clip in layers, before any camera faults.

    Attributes:
        image: ``[T, 3, H, W]``, sRGB 0..1.
        alpha: ``[T, 1, H, W]``, 0..1.
        colour: ``[T, 3, H, W]``, of the people, premultiplied.
        background: ``[T, 3, H, W]``.
    """

    image: Tensor
    alpha: Tensor
    colour: Tensor
    background: Tensor


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How often a composed clip has what; each 0..1.

    Attributes:
        nobody: Clips with nobody in them. More of them teach a network to find no people where there are none.
        drawn_bodies: Chimeras among the people, if there are any.
        dyed: Portraits whose clothes get another colour, of those that show shoulders.
        patterned: Dyed clothes that get a pattern, too, cut from the pictures of the places.
        enlarged: Portraits whose bodies become larger, as if more of them were in the picture, of those that show shoulders.
        occluded: Clips with people in which a thing, such as a rail or a table, is before them.
    """

    nobody: float = NOBODY
    drawn_bodies: float = CHIMERAS
    dyed: float = 0.0
    patterned: float = 0.0
    enlarged: float = 0.0
    occluded: float = 0.0


class PeopleSource:
    """Batches of people composed before places.

    Args:
        cutouts: The people.
        places: The places.
        chimeras: More people, see `read_chimeras`.
        degrade: The largest strength of `Degradation`.
        shares: How often there is nobody, a drawn body, other clothes, a thing before people.

    Raises:
        InputError: If there are no people or no places.
    """

    def __init__(
        self,
        cutouts: list[Cutout],
        places: Places,
        chimeras: list[Cutout] | None = None,
        degrade: float = 0.8,
        shares: Shares = Shares(),
    ) -> None:
        if not cutouts:
            raise InputError("there is no subject to learn from: name a folder of them with --subjects")
        if not places.panoramas and not places.pictures:
            raise InputError("subjects need backgrounds: name a folder of pictures or panoramas with --backgrounds")
        self.cutouts, self.places, self.degrade, self.shares = cutouts, places, degrade, shares
        self.chimeras = chimeras or []
        found = {each: find_shoulders(each) for each in cutouts} if shares.dyed or shares.enlarged else {}
        self.shoulders = {each: row for each, row in found.items() if row is not None}
        self.clips = [each for each in cutouts if len(each.layers) > 1]
        self.pictures = [each for each in cutouts if len(each.layers) == 1]

    def batch(self, count: int, size: int, frames: int, random: np.random.Generator) -> Batch:
        """``count`` clips of ``frames`` frames."""
        clips = [self.filmed(size, frames, random) for _ in range(count)]
        images, alpha = (torch.stack(each) for each in zip(*clips, strict=True))
        return Batch(images, alpha, torch.ones_like(alpha))

    def filmed(self, size: int, frames: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A composition with camera faults: images ``[T, 3, size, size]`` and alpha."""
        made = self.compose(size, frames, random)
        camera = Degradation(random, float(random.uniform(0, self.degrade)))
        return torch.stack([camera(frame, index) for index, frame in enumerate(made.image)]), made.alpha

    def compose(self, size: int, frames: int, random: np.random.Generator) -> Composition:
        """One to three people or nobody before one place."""
        times = float(random.uniform(0, 100)) + torch.arange(frames) / FPS
        shake = Sway(random, 2, float(random.choice([0, random.uniform(0, 0.02)])), 3)
        background = self.places.view(size, times, shake, random)
        if random.uniform() < 0.45:
            background = blur(background.flatten(0, 1), size * random.uniform(0, 0.025)).view_as(background)
        colour, alpha = torch.zeros(frames, 3, size, size), torch.zeros(frames, 1, size, size)
        if random.uniform() >= self.shares.nobody:
            for _ in range(1 + random.choice(len(CROWD), p=CROWD)):
                front, cover = self.person(size, times, shake, random)
                colour, alpha = front + colour * (1 - cover), cover + alpha * (1 - cover)
            if random.uniform() < 0.12:
                background = in_the_colours_of(colour, alpha, background, random)
            if self.shares.occluded and random.uniform() < self.shares.occluded:
                cover = occluder(size, times, shake, random)
                colour, alpha, background = behind(
                    cover, self.places.front(size, times, shake, random), colour, alpha, background
                )
        light = Sway(random, 1, float(random.choice([0, random.uniform(0, 0.2)])), 2).at(times).exp()[..., None, None]
        colour = (colour * light).minimum(alpha)
        background = (background * light).clamp(0, 1)
        image = (colour + background * (1 - alpha)).clamp(0, 1)
        return Composition(image, alpha, colour, background)

    def person(self, size: int, times: Tensor, shake: Sway, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Colour ``[T, 3, size, size]``, premultiplied, and alpha of a random person who moves."""
        among = self.clips if self.clips and (not self.pictures or random.uniform() < MOVING) else self.pictures
        if self.chimeras and random.uniform() < self.shares.drawn_bodies:
            among = self.chimeras
        cut = among[random.integers(len(among))]
        shoulders = self.shoulders.get(cut)
        if shoulders is not None and self.shares.enlarged and random.uniform() < self.shares.enlarged:
            cut = enlarge(cut, shoulders, random)
        lively = float(random.choice([0.2, 1.0, random.uniform(1, 3)]))
        placing = place(cut, times, shake, lively, random)
        first = int(random.integers(max(len(cut.layers) - len(times), 0) + 1))
        layers = torch.from_numpy(cut.layers[first : first + len(times), :, : placing.rows].copy()).float() / 255
        if shoulders is not None and self.shares.dyed and random.uniform() < self.shares.dyed:
            layers = dye(layers, shoulders, random, self.pattern(random))
        layers = relit(layers, random)
        shape = (layers.shape[-2], layers.shape[-1])
        scale = size / (2 * float(placing.half.mean()))
        if scale < 0.8:
            smaller = [max(round(scale * edge), 2) for edge in shape]
            layers = F.interpolate(layers, smaller, mode="bilinear", antialias=True)
        clear_borders(layers, placing.cut)
        layers = layers[[min(index, len(layers) - 1) for index in range(len(times))]]
        grid = grids(placing, size, shape) + bend(size, times, placing, shape, random)
        seen = torch.zeros(len(times), 4, size, size)
        ways = motion_blur_offsets(placing, shape, random)
        for way in ways:
            seen += F.grid_sample(layers, grid + way, padding_mode="border", align_corners=False) / len(ways)
        if random.uniform() < 0.35:
            seen = blur(seen.flatten(0, 1), size * random.uniform(0, 0.006)).view_as(seen)
        if random.uniform() < 0.5:
            seen = seen.flip(-1)
        alpha = seen[:, 3:].clamp(0, 1)
        return seen[:, :3].clamp(min=0).minimum(alpha), alpha

    def pattern(self, random: np.random.Generator) -> Tensor | None:
        """A picture to cut a pattern for clothes from, ``[3, h, w]`` bytes; None for plain clothes."""
        if not self.shares.patterned or not self.places.has_pictures or random.uniform() >= self.shares.patterned:
            return None
        return self.places.some_picture(random)


def relit(layers: Tensor, random: np.random.Generator) -> Tensor:
    """Layers ``[T, 4, H, W]`` of a subject in other light: brightness, contrast, saturation and cast."""
    if random.uniform() < 0.15:
        return layers
    alpha = layers[:, 3:]
    straight = layers[:, :3] / alpha.clamp(min=1 / 255)
    straight = straight.clamp(0, 1) ** math.exp(random.normal(0, 0.25))
    grey = straight.mean(dim=1, keepdim=True)
    straight = grey + (straight - grey) * float(random.uniform(0.5, 1.3))
    gain = np.exp(random.normal(0, 0.1, (3, 1, 1)) + random.normal(0, 0.2)).astype(np.float32)
    return torch.cat([(straight * torch.from_numpy(gain)).clamp(0, 1) * alpha, alpha], dim=1)


def bend(size: int, times: Tensor, placing: Placing, shape: tuple[int, int], random: np.random.Generator) -> Tensor:
    """A smooth deformation over time, as if body parts moved, in units of `grids`: ``[T, size, size, 2]``."""
    most = float(random.choice([0.0, 0.02, random.uniform(0.02, 0.05)]))
    swing = Sway(random, 2 * 16, most).at(times).view(len(times), 2, 4, 4)
    field = F.interpolate(swing, (size, size), mode="bicubic", align_corners=True).movedim(1, -1)
    return field * float(placing.half.mean()) * (2 / torch.tensor([shape[1], shape[0]]))


def motion_blur_offsets(placing: Placing, shape: tuple[int, int], random: np.random.Generator) -> list[Tensor | float]:
    """Offsets over which a pixel is averaged for motion blur, in units of `grids`."""
    if random.uniform() >= 0.2:
        return [0.0]
    length, angle = random.uniform(0, 0.06) * float(placing.half.mean()), random.uniform(0, math.pi)
    way = torch.tensor([math.cos(angle), math.sin(angle)]) * length * (2 / torch.tensor([shape[1], shape[0]]))
    return [way * share for share in (-0.5, -0.17, 0.17, 0.5)]


def in_the_colours_of(colour: Tensor, alpha: Tensor, background: Tensor, random: np.random.Generator) -> Tensor:
    """``background`` shifted towards the mean colour of the people, so that colour does not give them away."""
    own = colour.sum(dim=(0, 2, 3)) / alpha.sum().clamp(min=1)
    shift = (own - background.mean(dim=(0, 2, 3)))[:, None, None] * float(random.uniform(0.5, 1))
    return (background + shift).clamp(0, 1)
