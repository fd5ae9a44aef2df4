"""Drawn backgrounds: rooms, streets, nature, studios, blur; with clutter, passing things and shapes like people.

Each is painted once on a canvas larger than the frame, and the camera shows a part of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .canvas import splat
from .surface import linear, noise, random_colour, soft_step

Generator = np.random.Generator
MARGIN = 1.5
KINDS = ("room", "street", "nature", "studio", "blur")


def blur(layer: Tensor, sigma: float) -> Tensor:
    """``[C, H, W]`` blurred by a Gaussian of ``sigma`` pixels, borders replicated."""
    if sigma < 0.2:
        return layer
    if sigma > 6:  # coarse first, at half the size
        half = F.interpolate(layer[None], scale_factor=0.5, mode="area", recompute_scale_factor=True)[0]
        return F.interpolate(blur(half, sigma / 2)[None], layer.shape[-2:], mode="bilinear", align_corners=False)[0]
    reach = min(math.ceil(3 * sigma), min(layer.shape[-2:]) - 1)
    taps = torch.exp(-torch.arange(-reach, reach + 1, dtype=torch.float32).square() / (2 * sigma * sigma))
    taps = (taps / taps.sum()).view(1, 1, 1, -1)
    padded = F.pad(layer[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, taps), taps.transpose(2, 3))[:, 0]


@dataclass(frozen=True)
class Passer:
    """Something that crosses the background: a car, a ball, a bird.

    Attributes:
        start: Down and right at time 0, in frame heights.
        speed: Down and right a second.
        size: Half height and half width.
        colour: ``[3, 1, 1]``, linear.
    """

    start: np.ndarray
    speed: np.ndarray
    size: np.ndarray
    colour: Tensor


class Backdrop:
    """The background of a drawn clip.

    Args:
        random: Decides all of it.
        size: The frame's height and width in pixels.
        clutter: 0 is bare, 1 is full.
        palette: Colours ``[N, 3]`` (sRGB) for the clutter, or None for any.
        lookalikes: How many human-like shapes stand about.
        passers: How many things cross.
        soft: Blur of the far, in frame heights.
    """

    def __init__(
        self,
        random: Generator,
        size: tuple[int, int],
        clutter: float,
        palette: np.ndarray | None,
        lookalikes: int,
        passers: int,
        soft: float,
    ) -> None:
        self.size = size
        self.palette = palette
        height, width = (math.ceil(MARGIN * edge / 4) * 4 for edge in size)
        unit = height / MARGIN  # pixels in one frame height
        self.shape = (height, width)
        self.y = ((torch.arange(height) + 0.5 - height / 2) / unit)[:, None]
        self.x = ((torch.arange(width) + 0.5 - width / 2) / unit)[None]
        self.far = torch.zeros(3, height, width)
        getattr(self, str(random.choice(KINDS)))(random)
        for _ in range(int(random.poisson(14 * clutter))):
            self.thing(random)
        for _ in range(lookalikes):
            self.lookalike(random)
        light = 1 + 0.25 * noise(random, self.shape, 1, 2)
        grain = 1 + random.uniform(0, 0.06) * noise(random, self.shape, max(height // 8, 2), 3, 0.9)
        self.far = blur((self.far * light.clamp(0.3, 2) * grain).clamp(0, 1.5), soft * unit)
        self.passers = [self.passer(random) for _ in range(passers)]

    def colour(self, random: Generator) -> Tensor:
        """Some colour, from the palette if there is one."""
        if self.palette is not None and random.uniform() < 0.8:
            return linear(self.palette[random.integers(len(self.palette))] + random.normal(0, 0.03, 3))
        return linear(random_colour(random))

    def lay(self, inside: Tensor, colour: Tensor) -> None:
        """Put ``colour`` where ``inside`` ``[H, W]`` says, by its share."""
        self.far += inside * (colour - self.far)

    def slope(self, random: Generator) -> Tensor:
        """From one colour to another, in some direction."""
        angle = random.uniform(0, 2 * math.pi)
        mix = (0.5 + 0.7 * (math.cos(angle) * self.y + math.sin(angle) * self.x)).clamp(0, 1)
        a, b = self.colour(random), self.colour(random)
        return a + (b - a) * mix

    def tiles(self, random: Generator, colour: Tensor) -> Tensor:
        """``colour`` as bricks, boards, tiles or panels."""
        rows = float(np.exp(random.uniform(math.log(0.02), math.log(0.25))))
        columns = rows * float(random.choice([0.3, 1.0, 2.5, 12.0]))
        down = self.y / rows
        along = self.x / columns + 0.5 * (down.floor() % 2) * float(random.integers(0, 2))
        joint = torch.minimum((down - down.round()).abs() * rows, (along - along.round()).abs() * columns)
        shade = torch.sin(down.floor() * 12.9 + along.floor() * 78.2) * 43758.5
        shade = 1 + 0.25 * (shade - shade.floor() - 0.5)
        worn = 1 + 0.12 * noise(random, self.shape, 12, 4, 0.7)
        return colour * shade * worn * (0.55 + 0.45 * (joint / (0.06 * rows)).clamp(0, 1))

    def room(self, random: Generator) -> None:
        """A wall, a floor, perhaps a window."""
        wall = self.colour(random) * (1 + 0.05 * noise(random, self.shape, 6, 5, 0.8))
        self.far = (
            self.tiles(random, self.colour(random)) if random.uniform() < 0.5 else wall + torch.zeros_like(self.far)
        )
        floor = soft_step((self.y - random.uniform(0.2, 0.5)) * 60)
        self.lay(floor, self.tiles(random, self.colour(random) * 0.6))
        if random.uniform() < 0.5:
            self.panes(random)

    def panes(self, random: Generator) -> None:
        """A bright window with bars."""
        cy, cx, h, w = (
            random.uniform(-0.4, 0),
            random.uniform(-0.6, 0.6),
            random.uniform(0.15, 0.4),
            random.uniform(0.1, 0.35),
        )
        inside = soft_step((h - (self.y - cy).abs()) * 80) * soft_step((w - (self.x - cx).abs()) * 80)
        bars = torch.minimum(((self.y - cy) % (h * 0.66) - 0.33 * h).abs(), ((self.x - cx) % w - 0.5 * w).abs())
        sky = self.slope(random) * 0.5 + 0.6
        self.lay(inside, sky * (0.25 + 0.75 * soft_step((bars - 0.012) * 80)))

    def street(self, random: Generator) -> None:
        """Sky, houses with rows of windows, road."""
        self.far = self.slope(random) * 0.4 + linear([0.6, 0.72, 0.88]) * 0.6 + torch.zeros_like(self.far)
        at = -1.2
        while at < 1.2:
            wide, roof = random.uniform(0.15, 0.5), random.uniform(-0.7, 0.15)
            inside = soft_step((self.y - roof) * 80) * soft_step((wide / 2 - (self.x - at - wide / 2).abs()) * 80)
            self.lay(inside, self.tiles(random, self.colour(random)))
            step = random.uniform(0.04, 0.12)
            pane = torch.cos(self.y * 2 * math.pi / step).clamp(max=torch.inf) + torch.cos(self.x * 2 * math.pi / step)
            self.lay(inside * soft_step((pane - 0.7) * 4) * 0.8, self.colour(random))
            at += wide
        road = soft_step((self.y - random.uniform(0.15, 0.4)) * 60)
        self.lay(road, linear([0.35, 0.35, 0.36]) * (1 + 0.2 * noise(random, self.shape, 30, 3, 0.8)))

    def nature(self, random: Generator) -> None:
        """Sky, hills, leaves."""
        sky = linear([0.55, 0.7, 0.9]) * (1 + 0.15 * noise(random, self.shape, 3, 5)) + 0.05
        self.far = sky + torch.zeros_like(self.far)
        green = np.array([random.uniform(0.15, 0.5), random.uniform(0.3, 0.6), random.uniform(0.05, 0.3)])
        for step in range(3):
            line = random.uniform(-0.3, 0.2) + 0.12 * step + 0.08 * noise(random, self.shape, 2, 5)[:1]
            self.lay(
                soft_step((self.y - line) * 60),
                linear(green * (1 - 0.2 * step)) * (1 + 0.25 * noise(random, self.shape, 20, 4, 0.8)),
            )
        if random.uniform() < 0.7:
            self.leaves(random, green)

    def leaves(self, random: Generator, green: np.ndarray) -> None:
        """Thousands of little spots of one hue, in clumps."""
        count = int(random.integers(2000, 9000))
        clumps = random.normal(0, 0.6, (12, 2))
        places = clumps[random.integers(0, 12, count)] + random.normal(0, 0.13, (count, 2))
        tone = torch.from_numpy(np.exp(random.normal(-0.2, 0.5, count)).astype(np.float32))
        pixels = torch.from_numpy((places * (self.shape[0] / MARGIN) + np.array(self.shape) / 2).astype(np.float32))
        weight, lit = blur(splat(self.shape, pixels, torch.stack([torch.ones(count), tone])), 0.005 * self.shape[0])
        dense = 1.6 * weight * (0.005 * self.shape[0]) ** 2
        self.lay(1 - torch.exp(-3 * dense), linear(green) * (lit / weight.clamp(min=1e-6)))

    def studio(self, random: Generator) -> None:
        """Paper: one colour with soft light."""
        glow = 0.75 + 0.5 * torch.exp(
            -3 * ((self.y - random.uniform(-0.4, 0.2)) ** 2 + (self.x - random.uniform(-0.4, 0.4)) ** 2)
        )
        self.far = self.colour(random) * glow

    def blur(self, random: Generator) -> None:
        """Out of focus: clouds of colour and discs of light."""
        self.far = self.slope(random)
        for _ in range(3):
            mix = soft_step(0.4 * noise(random, self.shape, 2, 3, 0.6))
            self.lay(mix, self.colour(random))
        for _ in range(int(random.integers(0, 40))):
            cy, cx, r = random.uniform(-0.7, 0.7), random.uniform(-1, 1), random.uniform(0.01, 0.07)
            away = ((self.y - cy) ** 2 + (self.x - cx) ** 2).sqrt()
            self.far += 0.4 * soft_step((r - away) * 60) * self.colour(random)

    def thing(self, random: Generator) -> None:
        """One piece of clutter: a slab, a disc, a pole, a shelf, a picture, a lamp."""
        cy, cx = random.uniform(-0.6, 0.7), random.uniform(-1, 1)
        angle = random.normal(0, 0.15)
        y = math.cos(angle) * (self.y - cy) - math.sin(angle) * (self.x - cx)
        x = math.sin(angle) * (self.y - cy) + math.cos(angle) * (self.x - cx)
        h, w = np.exp(random.uniform(math.log(0.02), math.log(0.3), 2)).tolist()
        kind, colour = int(random.integers(0, 6)), self.colour(random)
        slab = soft_step((h - y.abs()) * 100) * soft_step((w - x.abs()) * 100)
        if kind == 0:
            self.lay(slab, colour * (1 - 0.8 * y).clamp(0.3, 1.6))
        elif kind == 1:
            away = (y * y + x * x).sqrt() / h
            self.lay(soft_step((1 - away) * 100 * h), colour * (1.1 - 0.7 * away * away).clamp(min=0.1))
        elif kind == 2:
            self.lay(soft_step((0.15 * w - x.abs()) * 100), colour * (1 - (x / (0.15 * w)) ** 2 * 0.6).clamp(min=0.1))
        elif kind == 3:
            stripes = torch.sin((x * 19.0 / w).floor() * 91.7)
            self.lay(slab, colour * (0.7 + 0.5 * stripes))
        elif kind == 4:
            self.lay(slab, self.tiles(random, colour))
        else:
            self.lay(slab, self.slope(random) * (1 + 0.3 * noise(random, self.shape, 10, 4, 0.8)))

    def lookalike(self, random: Generator) -> None:
        """A coat on a stand, a statue, a poster: a head and shoulders that nobody should matte."""
        cy, cx, s = random.uniform(-0.2, 0.3), random.uniform(-0.9, 0.9), random.uniform(0.15, 0.5)
        y, x = (self.y - cy) / s, (self.x - cx) / s
        head = soft_step((0.28 - ((y + 0.75) ** 2 * 0.7 + x**2).sqrt()) * 100 * s)
        shoulders = 0.55 - 0.5 * (-(y + 0.35)).clamp(min=0) * 4
        trunk = (
            soft_step((shoulders - x.abs()) * 100 * s)
            * soft_step((y + 0.48) * 100 * s)
            * soft_step((1.2 - y) * 100 * s)
        )
        round_ = (1.15 - 0.9 * (x / 0.6) ** 2).clamp(min=0.25)
        skin = (
            linear(np.array([0.8, 0.6, 0.5]) * random.uniform(0.4, 1.1))
            if random.uniform() < 0.5
            else self.colour(random)
        )
        self.lay(trunk, self.colour(random) * round_ * (1 + 0.2 * noise(random, self.shape, 8, 4)))
        self.lay(head, skin * round_)

    def passer(self, random: Generator) -> Passer:
        """Something that will cross the picture within seconds."""
        side = float(random.choice([-1, 1]))
        start = np.array([random.uniform(-0.4, 0.4), -side * random.uniform(0.2, 1.2)])
        speed = np.array([random.normal(0, 0.05), side * random.uniform(0.2, 1.2)])
        return Passer(start, speed, np.exp(random.uniform(math.log(0.02), math.log(0.15), 2)), self.colour(random))

    def view(self, camera: tuple[float, float, float, float], time: float) -> Tensor:
        """What the camera sees at ``time`` seconds, ``[3, H, W]``, linear light."""
        down, right, zoom, roll = camera
        height, width = self.size
        aspect = width / height
        scale = 1 / (MARGIN * zoom)
        c, s = math.cos(roll) * scale, math.sin(roll) * scale
        theta = torch.tensor([[[c, -s / aspect, 2 * right / (MARGIN * aspect)], [s * aspect, c, 2 * down / MARGIN]]])
        grid = F.affine_grid(theta, [1, 3, height, width], align_corners=False)
        seen = F.grid_sample(self.far[None], grid, padding_mode="reflection", align_corners=False)[0]
        rows = ((torch.arange(height) + 0.5) / height - 0.5)[:, None]
        columns = ((torch.arange(width) + 0.5) / height - 0.5 * aspect)[None]
        for passer in self.passers:
            at = passer.start + passer.speed * time - [down, right]
            y, x = (rows - at[0]) / passer.size[0], (columns - at[1]) / passer.size[1]
            away = (y * y * y * y + x * x * x * x).sqrt().sqrt()
            inside = soft_step((1 - away) * float(passer.size.min()) * 40)
            seen = seen + inside * (passer.colour * (1.1 - 0.3 * y).clamp(0.3, 1.5) - seen)
        return seen
