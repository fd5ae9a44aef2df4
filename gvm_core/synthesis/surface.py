"""Surfaces and light: noise, cloth, skin, lamps. Colours are linear light."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Generator = np.random.Generator
GRAIN = 256


def noise(random: Generator, size: tuple[int, int], cells: int, octaves: int, decay: float = 0.5) -> Tensor:
    """Smooth noise ``[H, W]``, mean 0 and deviation about 1, with ``cells`` blobs over its height in the first octave."""
    height, width = size
    total, power = torch.zeros(size), 0.0
    for octave in range(octaves):
        rows = cells * 2**octave
        columns = max(round(rows * width / height), 1)
        if rows > 2 * height:
            break
        grid = torch.from_numpy(random.standard_normal((1, 1, rows + 1, columns + 1), dtype=np.float32))
        total += decay**octave * F.interpolate(grid, size, mode="bicubic", align_corners=True)[0, 0]
        power += decay ** (2 * octave)
    return total / math.sqrt(0.5 * power)


def tiled(values: Tensor) -> Tensor:
    """``[H, W]`` noise made to repeat without seams: its middle is faded in at its borders."""
    for axis in (0, 1):
        shape = [1, 1]
        shape[axis] = -1
        weight = (1 - torch.linspace(-1, 1, values.shape[axis]).abs()).view(shape)
        values = values * weight + values.roll(values.shape[axis] // 2, axis) * (1 - weight)
    return values


def read(texture: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """``texture`` ``[H, W]`` at ``u``, ``v``; one unit is its whole height and width, and it repeats."""
    rows = (u * texture.shape[0]).long() % texture.shape[0]
    columns = (v * texture.shape[1]).long() % texture.shape[1]
    return texture[rows, columns]


def random_colour(random: Generator) -> np.ndarray:
    """A random sRGB colour of any brightness, seldom saturated."""
    grey = random.uniform(0.04, 0.96)
    garish = random.beta(1.2, 2.5)
    return np.clip(grey + (random.uniform(0, 1, 3) - 0.5) * 1.6 * garish * (1 - abs(grey - 0.5)), 0.02, 0.98)


def linear(colour: np.ndarray | list[float]) -> Tensor:
    """An sRGB colour as linear light, ``[3, 1, 1]``, by squaring: fast, and near enough for all drawing here."""
    return torch.from_numpy(np.clip(np.asarray(colour, np.float32), 0, 1) ** 2)[:, None, None]


@dataclass(frozen=True)
class Light:
    """A lamp and ambient light.

    Attributes:
        direction: From the surface to the lamp: down, right, towards the camera; length 1.
        lamp: Colour of the lamp, ``[3, 1, 1]``, linear.
        above: Light from the sky or ceiling, ``[3, 1, 1]``.
        below: Light reflected by the ground, ``[3, 1, 1]``.
    """

    direction: tuple[float, float, float]
    lamp: Tensor
    above: Tensor
    below: Tensor

    def on(self, down: Tensor, right: Tensor, facing: Tensor) -> tuple[Tensor, Tensor]:
        """Light ``[3, h, w]`` on a surface with this normal, and the share of the lamp's reflection ``[h, w]``."""
        toward = down * self.direction[0] + right * self.direction[1] + facing * self.direction[2]
        mix = (0.5 - 0.5 * down).clamp(0, 1)
        ambient = self.below + (self.above - self.below) * mix
        light = ambient * (0.55 + 0.45 * facing) + self.lamp * (0.15 + 0.85 * toward).clamp(min=0)
        gloss = (2 * toward * facing - self.direction[2]).clamp(0, 1)
        return light, gloss


def random_light(random: Generator) -> Light:
    """A random light: daylight, a window, a lamp."""
    angle, height = random.uniform(-1.3, 1.3), random.uniform(-1.0, 0.1)
    direction = np.array([height, math.sin(angle), random.uniform(0.2, 1.0) * math.cos(angle)])
    direction = direction / np.linalg.norm(direction)
    warm = random.normal(0, 0.12)
    tint = np.array([1 + warm, 1.0, 1 - warm])
    power = random.uniform(0.35, 1.3)
    ambient = random.uniform(0.25, 0.85)

    def glow(strength: float, cast: np.ndarray) -> Tensor:
        return torch.from_numpy((strength * cast).astype(np.float32))[:, None, None]

    above = glow(ambient, 2 - tint + random.normal(0, 0.05, 3))
    below = glow(ambient * random.uniform(0.3, 0.8), tint + random.normal(0, 0.08, 3))
    return Light((float(direction[0]), float(direction[1]), float(direction[2])), glow(power, tint), above, below)


class Cloth:
    """A material: a colour or a pattern, folds or pores, more or less gloss.

    Args:
        random: Decides the pattern and its scale.
        colour: sRGB, 0..1.
        pattern: How likely it is patterned at all.
        folds: Depth of its relief.
        gloss: Strength of its highlight.
    """

    KINDS = ("stripes", "rings", "plaid", "dots", "camouflage", "speckle")

    def __init__(
        self, random: Generator, colour: np.ndarray, pattern: float = 0.0, folds: float = 0.5, gloss: float = 0.05
    ) -> None:
        self.base = linear(colour)
        self.other = linear(np.clip(colour + random.normal(0, 0.3, 3), 0, 1))
        self.kind = str(random.choice(self.KINDS)) if random.uniform() < pattern else ""
        self.period = float(np.exp(random.uniform(math.log(0.012), math.log(0.07))))
        self.gloss = gloss
        relief = tiled(noise(random, (GRAIN, GRAIN), 3, 5, 0.45))
        self.relief = folds * 0.11 * torch.stack([relief.roll(-1, d) - relief.roll(1, d) for d in (0, 1)]) * GRAIN / 16
        self.mottle = (1 + 0.07 * tiled(noise(random, (GRAIN, GRAIN), 8, 5, 0.8))).clamp(0.5, 1.5)
        self.stretch = float(random.uniform(2.0, 4.0))
        self.shift = random.uniform(0, 1, 2).tolist()

    def pattern(self, u: Tensor, v: Tensor) -> Tensor:
        """Share of the second colour at ``u`` along and ``v`` across, ``[h, w]``."""
        a, b = u / self.period, v / self.period
        if self.kind == "stripes":
            return soft_step(torch.cos(math.pi * b) - 0.2)
        if self.kind == "rings":
            return soft_step(torch.cos(math.pi * a))
        if self.kind == "plaid":
            return 0.5 * soft_step(torch.cos(math.pi * a) - 0.4) + 0.5 * soft_step(torch.cos(math.pi * b) - 0.4)
        if self.kind == "dots":
            return soft_step(torch.cos(math.pi * a) * torch.cos(math.pi * b) - 0.6)
        mottle = read(self.mottle, 0.05 * a + self.shift[0], 0.05 * b + self.shift[1])
        return soft_step((mottle - 1) * 14) if self.kind == "camouflage" else soft_step((mottle - 1.06) * 14)

    def surface(self, u: Tensor, v: Tensor) -> Tensor:
        """The unlit colour at ``u`` along and ``v`` across, ``[3, h, w]`` or ``[3, 1, 1]``, linear."""
        return self.base + (self.other - self.base) * self.pattern(u, v) if self.kind else self.base

    def lit(self, u: Tensor, v: Tensor, normal: tuple[Tensor, Tensor, Tensor], light: Light) -> Tensor:
        """Colour ``[3, h, w]``, linear, at ``u`` along and ``v`` across a limb whose smooth normal is given."""
        place = self.shift[0] + u * self.stretch * 0.6, self.shift[1] + v * self.stretch
        down = normal[0] + read(self.relief[0], *place)
        right = normal[1] + read(self.relief[1], *place)
        length = (down.square() + right.square() + normal[2].square() + 1e-4).rsqrt()
        shine, mirrored = light.on(down * length, right * length, normal[2] * length)
        surface = self.surface(u, v) * read(self.mottle, *place)
        return surface * shine + self.gloss * light.lamp * mirrored.square().square().square()


def soft_step(x: Tensor) -> Tensor:
    """0 below zero, 1 above, with a short slope between."""
    return (x * 4 + 0.5).clamp(0, 1)
