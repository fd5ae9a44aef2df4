"""Strand hair: hundreds to thousands of strands with weight, lag, wind and curl, some thinner than a pixel."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .canvas import Canvas, splat
from .motion import Swing
from .surface import Light, linear

Generator = np.random.Generator
Head = Callable[[float], tuple[np.ndarray, np.ndarray]]
KNOTS = 32
COLOURS = [[0.07, 0.06, 0.06], [0.16, 0.10, 0.07], [0.30, 0.19, 0.12], [0.45, 0.30, 0.17], [0.68, 0.52, 0.32],
           [0.85, 0.72, 0.50], [0.50, 0.22, 0.10], [0.62, 0.62, 0.63], [0.88, 0.87, 0.85]]  # fmt: skip
STYLES = ("short", "medium", "long", "curls", "cloud", "tail", "bun", "bald")
SHARES = (0.18, 0.18, 0.24, 0.14, 0.08, 0.08, 0.05, 0.05)


class Hair:
    """The hair of one head.

    Args:
        random: Decides style, colour and every strand.
        strands: How many; each stands for many hairs.
        wind: Strength of the wind, 0 for none.
    """

    def __init__(self, random: Generator, strands: int, wind: float) -> None:
        self.style = str(random.choice(STYLES, p=SHARES))
        self.colour = np.clip(
            np.array(COLOURS[random.integers(len(COLOURS))]) * random.uniform(0.7, 1.2) + random.normal(0, 0.02, 3),
            0,
            1,
        )
        if random.uniform() < 0.05:
            self.colour = random.uniform(0.1, 0.9, 3)  # dyed
        count = 0 if self.style == "bald" else strands
        # Roots all over the scalp: not on the face, more of them on top.
        turn = random.uniform(-math.pi, math.pi, count)
        high = random.uniform(-0.25, 1.0, count)
        front = np.cos(turn) > 0.3
        high = np.where(front, np.clip(high, 0.55 + 0.1 * random.standard_normal(count), 1), high)
        ring = np.sqrt(np.clip(1 - np.clip(high, -1, 1) ** 2, 0, 1))
        self.roots = np.stack([-high, ring * np.sin(turn), ring * np.cos(turn)], -1)  # down, right, forward
        self.outward = self.roots.copy()
        if self.style in ("medium", "long", "curls"):  # parted, or it would fall over the face
            parting = random.uniform(-0.3, 0.3)
            self.outward[:, 1] += 1.1 * np.clip(high, 0, 1) * np.sign(self.roots[:, 1] - parting)
            self.outward[:, 2] -= 0.5 * np.clip(high, 0, 1)
        lengths = {"short": (0.015, 0.04), "medium": (0.06, 0.12), "long": (0.16, 0.34), "curls": (0.08, 0.24),
                   "cloud": (0.05, 0.11), "tail": (0.12, 0.3), "bun": (0.02, 0.05), "bald": (0, 0)}[self.style]  # fmt: skip
        self.length = random.uniform(*lengths) * np.exp(random.normal(0, 0.18, count))
        stray = random.uniform(size=count) < random.uniform(0.03, 0.15)
        self.lift = random.uniform(0.25, 0.7) * np.exp(random.normal(0, 0.3, count)) * np.where(stray, 1.4, 1.0)
        self.weight = random.uniform(0.7, 1.2) * np.where(stray, 0.5, 1.0)
        if self.style == "short":  # it lies on the head
            self.lift, self.weight = 0.5 * self.lift, 1.5 * self.weight
        if self.style == "cloud":
            self.lift, self.weight = self.lift * 0 + 1.0, self.weight * 0.08
        curl = {"curls": 0.022, "cloud": 0.012}.get(self.style, random.uniform(0.001, 0.008))
        self.curl = curl * np.exp(random.normal(0, 0.3, count))
        self.twist = random.uniform(2.5, 4.5) if self.style in ("curls", "cloud") else random.uniform(0.5, 2.5)
        self.phase = random.uniform(0, 2 * math.pi, count)
        self.spread = random.normal(0, 0.10, (count, 2)) * np.where(stray, 2.0, 1.0)[:, None]
        self.width = float(random.uniform(0.0009, 0.0022) * math.sqrt(900 / max(strands, 1)))
        self.opacity = random.uniform(0.55, 1.0, count)
        self.tone = np.exp(random.normal(0, 0.22, count))
        self.lag = random.uniform(0.06, 0.14)
        self.air = Swing(random, random.normal(0, 0.25) * wind, 0.9 * wind, 2.0)
        self.gust = Swing(random, 0, 0.25 * wind, 6.0)
        self.knot = np.array([-0.15 if self.style == "bun" else -0.02, 0.0, -0.85])  # where a tail is tied

    def layers(self, head: Head, scale: float, time: float) -> list[tuple[Tensor, np.ndarray]]:
        """The strands at ``time``, those behind the head first, then those in front of it.

        Of each part the points ``[S, K, 2]`` (down, right), and which strands they are.

        Args:
            head: The head's centre (down, right) and orientation ``[3, 3]`` at a time.
            scale: Size of the person.
            time: Seconds.
        """
        if not len(self.roots):
            return [(torch.zeros(0, KNOTS, 2), np.zeros(0, bool))] * 2
        steps = np.linspace(0, 1, KNOTS)
        centre, turned = head(time)
        # Hair follows the head's motion with a delay that grows with the distance from the root.
        follows = np.stack([head(time - self.lag * s)[0] for s in steps]) if self.length.max() > 0.05 else centre[None]
        roots = self.roots * 0.058 * [1.08, 0.92, 1.05] @ turned.T
        outward = self.outward @ turned.T
        along = steps[None, :, None]
        if self.style in ("tail", "bun"):
            knot = self.knot * 0.062 @ turned.T
            gathered = np.minimum(along / 0.3, 1.0)
            path = (1 - gathered) * roots[:, None] + gathered * (knot + 0.01 * outward[:, None] * along)
            free = np.clip((along - 0.3) / 0.7, 0, 1)
        else:
            path, free = roots[:, None] + 0 * along, along
        length = self.length[:, None, None]
        bend = (outward[:, None] + np.pad(self.spread, ((0, 0), (0, 1)))[:, None]) * self.lift[:, None, None]
        fall = np.array([1.0, 0.0, 0.0]) * self.weight[:, None, None]
        path = path + length * (bend * (free - 0.55 * free**2) + fall * free**1.5)
        blow = self.air.at(time) + self.gust.at(time) * np.sin(9 * time + self.phase)
        path[..., 1] += (self.length * 0.55 * blow)[:, None] * (free[..., 0] if free.ndim == 3 else free) ** 2
        wave = 2 * math.pi * self.twist * steps[None] * np.minimum(length[..., 0] / 0.1, 1.5) + self.phase[:, None]
        path[..., 0] += self.curl[:, None] * 0.6 * np.cos(wave) * free[..., 0]
        path[..., 1] += self.curl[:, None] * np.sin(wave) * free[..., 0]
        points = follows[None] + scale * path[..., :2]
        behind = self.behind(turned)
        flat = torch.from_numpy(points.astype(np.float32))
        return [(flat[torch.from_numpy(mine)], mine) for mine in (behind, ~behind)]

    def behind(self, turned: np.ndarray) -> np.ndarray:
        """Which strands a head with this orientation hides, ``[S]`` bool."""
        return (self.roots @ turned.T)[:, 2] < 0.12

    def draw(self, canvas: Canvas, points: Tensor, chosen: np.ndarray, scale: float, light: Light) -> None:
        """Paint strands whose knots are ``points`` ``[S, K, 2]``."""
        if not len(points):
            return
        height, width = canvas.size
        pixels = canvas.to_pixels(points)
        thick = self.width * scale * height
        spacing = 0.7
        lanes = max(1, math.ceil(thick / 0.9))
        longest = float(pixels.diff(dim=1).norm(dim=-1).sum(1).max())
        samples = max(4, min(math.ceil(longest / spacing), 4 * height))
        spot = torch.linspace(0, KNOTS - 1 - 1e-4, samples)
        dense = along_knots(pixels, spot)  # [S, P, 2]
        step = dense.diff(dim=1, append=2 * dense[:, -1:] - dense[:, -2:-1])
        tangent = step / step.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        spaced = pixels.diff(dim=1).norm(dim=-1).sum(1, keepdim=True) / samples  # pixels between samples, by strand
        taper = (1 - 0.75 * spot / (KNOTS - 1)) * thick  # [P]
        opacity = torch.from_numpy(self.opacity[chosen].astype(np.float32))[:, None]
        area = taper[None] * spaced / lanes * opacity  # pixels that a sample covers
        # Kajiya and Kay's shading of strands: bright when lit from the side, with a highlight along a cone.
        toward = tangent[..., 0] * light.direction[0] + tangent[..., 1] * light.direction[1]
        diffuse = (1 - toward.square()).clamp(min=0).sqrt()
        tone = torch.from_numpy(self.tone[chosen].astype(np.float32))[:, None] * (0.6 + 0.4 * spot / (KNOTS - 1))
        sides = torch.linspace(-0.5, 0.5, lanes + 2)[1:-1] if lanes > 1 else torch.zeros(1)
        across = torch.stack([-tangent[..., 1], tangent[..., 0]], -1)
        values = torch.stack([area, area * tone * (0.35 + 0.65 * diffuse), area * diffuse**12]).flatten(1)
        total = torch.zeros(3, height, width)
        for side in sides.tolist():
            total += splat(canvas.size, (dense + side * across * taper[None, :, None]).flatten(0, 1), values)
        depth = total[0]
        coverage = 1 - torch.exp(-1.3 * depth)
        mean = total[1:] / depth.clamp(min=1e-6)
        lit = 0.5 * (light.above + light.below) + 0.8 * light.lamp
        colour = linear(self.colour) * lit * mean[0] + 0.10 * light.lamp * mean[1]
        canvas.paint((slice(0, height), slice(0, width)), coverage, colour)


def along_knots(knots: Tensor, spot: Tensor) -> Tensor:
    """Points ``[S, P, 2]`` on Catmull-Rom curves through ``knots`` ``[S, K, 2]``, at ``spot`` ``[P]`` in 0..K-1."""
    at, t = spot.long(), (spot - spot.long())[None, :, None]
    padded = torch.cat([2 * knots[:, :1] - knots[:, 1:2], knots, 2 * knots[:, -1:] - knots[:, -2:-1]], dim=1)
    a, b, c, d = (padded[:, at + i] for i in range(4))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
