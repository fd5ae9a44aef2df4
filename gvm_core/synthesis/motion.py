"""Motion of bodies and cameras: values as functions of time."""

from __future__ import annotations

import math

import numpy as np

Generator = np.random.Generator


class Swing:
    """An angle or offset that swings: a mean and three sine waves whose rates do not fit each other.

    Args:
        random: Decides sizes, rates and phases.
        mean: The value it swings about.
        size: The largest amplitude of the first wave; the others are smaller.
        speed: 1 is a calm human pace, about half a turn a second.
    """

    def __init__(self, random: Generator, mean: float, size: float, speed: float = 1.0) -> None:
        self.mean = mean
        self.size = random.uniform(0, size, 3) * [1.0, 0.4, 0.15]
        self.rate = random.uniform(0.3, 1.2, 3) * [1.0, 2.3, 4.1] * speed * 2 * math.pi
        self.phase = random.uniform(0, 2 * math.pi, 3)

    def at(self, time: float) -> float:
        """The value at ``time`` seconds."""
        return float(self.mean + (self.size * np.sin(self.rate * time + self.phase)).sum())


class Stride:
    """A walking cycle: both legs and arms in opposite phase.

    Args:
        random: Decides pace and reach.
        reach: Largest angle of a thigh in radians; 0 stands still.
    """

    def __init__(self, random: Generator, reach: float) -> None:
        self.reach = reach
        self.rate = 2 * math.pi * random.uniform(0.7, 1.1)
        self.phase = random.uniform(0, 2 * math.pi)

    def thigh(self, side: int, time: float) -> float:
        """Angle of a thigh, forward positive; ``side`` is -1 or 1."""
        return self.reach * side * math.sin(self.rate * time + self.phase)

    def knee(self, side: int, time: float) -> float:
        """Angle of a knee in radians, never backward."""
        return 1.3 * self.reach * max(0.0, side * math.cos(self.rate * time + self.phase)) + 0.05

    def bob(self, time: float) -> float:
        """How far the hips have sunk, as a fraction of a leg."""
        return 0.08 * self.reach * math.sin(self.rate * time + self.phase) ** 2


class Camera:
    """Pan, zoom, roll and shake of a camera.

    Args:
        random: Decides all of it.
        travel: How far it moves, in frame heights.
        shake: Size of a hand-held camera's shake, in frame heights.
    """

    def __init__(self, random: Generator, travel: float, shake: float) -> None:
        self.pan = [Swing(random, 0, travel, 0.5), Swing(random, 0, travel, 0.5)]
        self.tremble = [Swing(random, 0, shake, 4), Swing(random, 0, shake, 4)]
        self.close = Swing(random, 0, 0.5 * travel, 0.4)
        self.tilt = Swing(random, 0, 0.3 * travel + shake, 0.6)

    def at(self, time: float) -> tuple[float, float, float, float]:
        """Offset down and right, zoom (1 is none) and roll in radians."""
        down, right = (p.at(time) + t.at(time) for p, t in zip(self.pan, self.tremble, strict=True))
        return down, right, math.exp(self.close.at(time)), self.tilt.at(time)
