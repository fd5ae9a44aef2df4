"""Draw a clip from a seed: people, backdrop, light, camera and lens, with the exact alpha.

Colour is summed premultiplied in linear light, as in a lens. The returned layers are sRGB, as in a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .backdrop import Backdrop, blur
from .canvas import Canvas
from .figure import Person, random_shot
from .motion import Camera
from .surface import random_colour, random_light

Generator = np.random.Generator
FPS = 24.0
FOLLOWED = 0.5  # share of the camera's motion seen on people; it follows them with the rest
TIERS = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Frame:
    """One drawn frame and the layers it is made of.

    ``image`` equals ``foreground * alpha + background * (1 - alpha)``.

    Attributes:
        image: ``[3, H, W]``, sRGB 0..1, before any degradation.
        alpha: ``[1, H, W]``, 0..1.
        foreground: ``[3, H, W]``, sRGB, straight; 0 where alpha is 0.
        background: ``[3, H, W]``, sRGB, with the shadows that fall on it.
    """

    image: Tensor
    alpha: Tensor
    foreground: Tensor
    background: Tensor


@dataclass(frozen=True)
class Tier:
    """How hard a clip is.

    Attributes:
        clutter: How many things are in the background; 1 is many.
        alike: How likely clothes and background share their colours.
        lookalikes: The most shapes in the background that look like people.
        passers: The most things that cross the background.
        second: How likely there is a second person.
        lively: The least and the most motion of people.
        travel: The most that the camera moves, in frame heights.
        wind: The most wind.
    """

    clutter: float
    alike: float
    lookalikes: int
    passers: int
    second: float
    lively: tuple[float, float]
    travel: float
    wind: float


TIER = {
    "easy": Tier(0.2, 0.0, 0, 0, 0.0, (0.3, 1.0), 0.03, 0.4),
    "medium": Tier(0.7, 0.15, 1, 1, 0.15, (0.5, 1.6), 0.10, 0.8),
    "hard": Tier(1.3, 0.7, 3, 3, 0.3, (1.0, 2.6), 0.18, 1.2),
}


class Scene:
    """A clip, all of it decided by a seed.

    Args:
        seed: The same seed always gives the same clip.
        size: Height and width in pixels.
        tier: ``"easy"``, ``"medium"`` or ``"hard"``.
    """

    def __init__(self, seed: int, size: tuple[int, int], tier: str = "medium") -> None:
        # The backdrop has its own generator: it takes more numbers at larger sizes, and people must not depend on that.
        random, behind = np.random.default_rng([seed, TIERS.index(tier)]).spawn(2)
        kind = TIER[tier]
        self.size = size
        aspect = size[1] / size[0]
        shared = np.stack([random_colour(random) for _ in range(3)]) if random.uniform() < kind.alike else None
        self.light = random_light(random)
        self.camera = Camera(random, kind.travel * random.uniform(), float(random.choice([0, random.uniform(0, 0.02)])))
        clutter, soft = kind.clutter * random.uniform(0.3, 1), float(random.choice([0.0, random.uniform(0.001, 0.02)]))
        lookalikes, passers = (int(random.integers(0, most + 1)) for most in (kind.lookalikes, kind.passers))
        self.backdrop = Backdrop(behind, size, clutter, shared, lookalikes, passers, soft)
        distance = str(random.choice(["far", "middle", "close"], p=[0.3, 0.4, 0.3]))
        wind = kind.wind * float(random.choice([0.1, random.uniform()]))
        strands = int(random.integers(700, 1800))
        self.people = [
            Person(random, random_shot(random, aspect, distance), random.uniform(*kind.lively), strands, wind, shared)
            for _ in range(1 + (random.uniform() < kind.second))
        ]
        self.people.sort(key=lambda person: person.shot.scale)  # the nearest last
        self.shutter = float(random.choice([0.2, 0.5, 0.9]))
        lively = max(kind.lively[1], 1.0)
        self.samples = int(np.clip(round(2 + 2 * self.shutter * lively), 2, 6)) if random.uniform() < 0.75 else 1
        self.softness = float(random.choice([0.0, random.uniform(0.0005, 0.004)])) * size[0]
        self.wrap = random.uniform(0.1, 0.5)
        self.shadow = random.uniform(0, 0.5)
        self.cast = random.uniform(0.0, 0.08, 2) * [1, random.choice([-1, 1])]
        self.exposure = float(np.exp(random.normal(0, 0.15)))

    def frame(self, index: int) -> Frame:
        """Draw frame ``index``: colour and alpha integrate over the open shutter."""
        colour, alpha = torch.zeros(3, *self.size), torch.zeros(1, *self.size)
        background = torch.zeros(3, *self.size)
        for sample in range(self.samples):
            time = (index + self.shutter * (sample + 0.5) / self.samples) / FPS
            camera = self.camera.at(time)
            canvas = Canvas(self.size, (FOLLOWED * camera[0], FOLLOWED * camera[1]))
            for person in self.people:
                person.draw(canvas, self.light, time)
            colour += canvas.colour / self.samples
            alpha += canvas.alpha / self.samples
            background += self.backdrop.view(camera, time) / self.samples
        colour, alpha = blur(colour, self.softness), blur(alpha, self.softness).clamp(0, 1)
        background = self.shade(background, alpha)
        colour = self.spill(colour, alpha, background)
        foreground = (self.exposure * colour / alpha.clamp(min=1e-4)).clamp(0, 1).sqrt() * (alpha > 0)
        background = (self.exposure * background).clamp(0, 1).sqrt()
        return Frame(foreground * alpha + background * (1 - alpha), alpha, foreground, background)

    def shade(self, background: Tensor, alpha: Tensor) -> Tensor:
        """``background`` with the soft shadow of the people in front of it."""
        small = F.interpolate(alpha[None], scale_factor=0.25, mode="area", recompute_scale_factor=True)[0]
        shift = [round(float(c) * small.shape[-2]) for c in self.cast]
        padded = F.pad(small[None], (16, 16, 16, 16), mode="replicate")[0]
        moved = padded.roll(shift, (1, 2))[:, 16:-16, 16:-16]
        shadow = F.interpolate(blur(moved, 0.03 * small.shape[-2])[None], self.size, mode="bilinear")[0]
        return background * (1 - self.shadow * shadow)

    def spill(self, colour: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
        """``colour``, premultiplied, with light of the background on the edges of people (light wrap)."""
        both = torch.cat([background * (1 - alpha), 1 - alpha])
        small = F.interpolate(both[None], scale_factor=0.25, mode="area", recompute_scale_factor=True)[0]
        near = F.interpolate(blur(small, 0.015 * small.shape[-2])[None], self.size, mode="bilinear")[0]
        light, share = near[:3] / near[3:].clamp(min=1e-3), near[3:].clamp(0, 1)
        return colour + self.wrap * share * (light * alpha - colour)


def draw_frames(seed: int, size: tuple[int, int], frames: int, first: int = 0, tier: str = "medium") -> Iterator[Frame]:
    """The frames of a clip, one by one."""
    scene = Scene(seed, size, tier)
    for index in range(first, first + frames):
        yield scene.frame(index)
