"""Drawn people: a skeleton in three dimensions, its motion, and the limbs and clothes drawn on it.

Body coordinates are (down, right, towards the camera) in body heights, the origin between the hips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .canvas import TABLE, Canvas, Limb
from .hair import Hair
from .motion import Stride, Swing
from .surface import Cloth, Light, random_colour

Generator = np.random.Generator
SKINS = [[0.98, 0.85, 0.76], [0.93, 0.76, 0.64], [0.85, 0.65, 0.50], [0.72, 0.51, 0.37], [0.55, 0.37, 0.26],
         [0.38, 0.25, 0.18], [0.27, 0.18, 0.14]]  # fmt: skip
HEAD = -0.405
NECK = -0.315
SHOULDER = np.array([-0.268, 0.088, 0.0])
HIP = np.array([0.0, 0.05, 0.0])
UPPER_ARM, FOREARM, HAND = 0.165, 0.145, 0.07
THIGH, SHIN = 0.245, 0.235


@dataclass(frozen=True)
class Shot:
    """Place and size of a person in the frame.

    Attributes:
        scale: Body height in frame heights.
        head: Where the head is, down and right, at rest.
    """

    scale: float
    head: tuple[float, float]


def random_shot(random: Generator, aspect: float, distance: str) -> Shot:
    """A random place in the frame: ``"far"`` shows a whole person, ``"middle"`` half, ``"close"`` head and chest."""
    low, high = {"far": (0.62, 0.95), "middle": (1.2, 1.9), "close": (2.0, 3.3)}[distance]
    scale = float(random.uniform(low, high))
    top = {"far": -0.5 + 0.09 * scale, "middle": -0.5 + 0.1 * scale, "close": -0.12}[distance]
    down = top + random.uniform(0, 0.12 if distance != "close" else 0.15)
    return Shot(scale, (float(down), float(random.uniform(-0.26, 0.26) * aspect)))


def profile(random: Generator, widths: list[float], uneven: float = 0.05) -> Tensor:
    """Half widths along the two sides of a limb, ``[2, TABLE]``: smooth between ``widths``, slightly uneven."""
    at = np.linspace(0, 1, TABLE)
    smooth = np.interp(at, np.linspace(0, 1, len(widths)), widths)
    smooth = np.convolve(np.pad(smooth, 4, mode="edge"), np.ones(9) / 9, "valid")
    sides = []
    for _ in range(2):
        bumps = np.interp(at, np.linspace(0, 1, 9), np.pad(random.normal(0, 1, 7), 1))  # even at its ends
        sides.append(smooth * (1 + uneven * bumps))
    return torch.from_numpy(np.stack(sides).astype(np.float32))


def about(axis: int, angle: float) -> np.ndarray:
    """The matrix of a rotation by ``angle`` about an axis: 0 down, 1 right, 2 towards the camera."""
    c, s = math.cos(angle), math.sin(angle)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
    return turn


class Person:
    """A drawn person: build, clothes, hair and motion.

    Args:
        random: Decides all of it.
        shot: Place and size.
        lively: Speed and size of motion; 1 is a calm talker.
        strands: Hair strands.
        wind: Strength of the wind.
        palette: Colours ``[N, 3]`` (sRGB) that clothes are taken from, or None for any.
    """

    def __init__(
        self, random: Generator, shot: Shot, lively: float, strands: int, wind: float, palette: np.ndarray | None = None
    ) -> None:
        self.shot = shot
        self.build = float(random.uniform(0.82, 1.3))
        self.hair = Hair(random, strands, wind)
        self.dress(random, palette)
        self.move(random, lively)

    def dress(self, random: Generator, palette: np.ndarray | None) -> None:
        """Choose skin, clothes and their shapes."""
        b = self.build

        def cloth(pattern: float, folds: float = 0.7) -> Cloth:
            colour = random_colour(random) if palette is None else palette[random.integers(len(palette))]
            if random.uniform() < 0.35:
                colour = np.full(3, random.choice([0.06, 0.12, 0.5, 0.85, 0.95])) + random.normal(0, 0.02, 3)
            return Cloth(random, np.clip(colour, 0.02, 0.98), pattern, folds, float(random.choice([0.01, 0.05, 0.3])))

        tone = np.clip(np.array(SKINS[random.integers(len(SKINS))]) + random.normal(0, 0.025, 3), 0, 1)
        self.skin = Cloth(random, tone, folds=0.10, gloss=0.06)
        self.dark = Cloth(random, tone * 0.25, folds=0.0)
        self.white = Cloth(random, np.array([0.93, 0.92, 0.90]), folds=0.0)
        self.iris = Cloth(random, random.uniform(0.05, 0.4, 3), folds=0.0, gloss=0.5)
        self.lips = Cloth(random, tone * [0.86, 0.6, 0.6], folds=0.05)
        self.cap = Cloth(random, self.hair.colour * 0.8, folds=0.5, gloss=0.05)
        self.top, self.inner, self.bottom = cloth(0.45), cloth(0.2), cloth(0.2)
        self.shoes = cloth(0.0, 0.2)
        kind = str(random.choice(["tee", "shirt", "jacket", "dress", "vest"], p=[0.25, 0.35, 0.2, 0.12, 0.08]))
        self.open = float(random.uniform(0.15, 0.4)) if kind == "jacket" else 0.0
        self.sleeve = {"tee": 1, "vest": 0, "dress": int(random.integers(0, 3))}.get(kind, 2)
        legs = str(random.choice(["trousers", "shorts", "skirt"], p=[0.7, 0.15, 0.15]))
        self.skirt = float(random.uniform(0.16, 0.42)) if kind == "dress" or legs == "skirt" else 0.0
        self.bare_legs = legs == "shorts" or self.skirt > 0
        if kind == "dress":
            self.bottom = self.top
        self.glasses = random.uniform() < 0.12
        self.beard = random.uniform() < 0.2 and self.hair.style in ("short", "bald", "medium")
        loose = random.uniform(1.0, 1.18) if self.sleeve == 2 else 1.0
        even = 0.06 if self.sleeve == 2 else 0.03
        self.torso = profile(
            random, [0.030 / b, 0.066, 0.106, 0.104, 0.094, 0.084 * loose, 0.088 * loose, 0.094 * loose]
        )
        self.torso *= b
        self.arm = profile(random, [0.036, 0.034 * loose, 0.030 * loose], even) * b
        self.forearm = profile(random, [0.029 * loose, 0.030, 0.024 * loose], even) * b
        self.bare_forearm = profile(random, [0.026, 0.027, 0.018], 0.02) * b
        self.palm = profile(random, [0.017, 0.022, 0.021, 0.013], 0.08)
        self.thigh = profile(random, [0.062, 0.056, 0.043], even) * b
        self.shin = profile(random, [0.042, 0.041, 0.030 * loose], even) * b
        self.foot = profile(random, [0.024, 0.027, 0.020])
        self.pelvis = profile(random, [0.085, 0.092, 0.085]) * b
        self.flare = profile(random, [0.075 * b, 0.095 * b, 0.10 * b + 0.35 * self.skirt * random.uniform(0.2, 0.6)])

    def move(self, random: Generator, lively: float) -> None:
        """Choose pose and motion."""
        speed = 0.5 + 0.5 * lively
        facing = random.uniform(-math.pi, math.pi) if random.uniform() < 0.2 else random.normal(0, 0.45)
        self.yaw = Swing(random, facing, 0.35 * lively, 0.5 * speed)
        self.look = Swing(random, 0, 0.45, 0.6 * speed)
        self.nod = Swing(random, 0.05, 0.15, 0.9 * speed)
        self.roll = Swing(random, 0, 0.14, 0.6 * speed)
        self.lean = Swing(random, 0, 0.08 * lively, 0.6 * speed)
        self.sway = [Swing(random, 0, 0.012 * lively, speed), Swing(random, 0, 0.05 * lively, 0.6 * speed)]
        walks = random.uniform() < 0.45
        self.stride = Stride(random, random.uniform(0.25, 0.6) * min(lively, 1.3) if walks else 0.0)
        self.drift = float(random.normal(0, 0.08) * lively if walks else 0.0)
        self.out = [
            Swing(random, random.choice([0.12, 0.2, random.uniform(0.1, 1.2)]), 0.25 * lively, speed) for _ in "lr"
        ]
        self.forth = [Swing(random, random.choice([0.0, random.uniform(-0.3, 0.8)]), 0.3 * lively, speed) for _ in "lr"]
        self.bend = [Swing(random, random.choice([0.2, random.uniform(0.2, 2.0)]), 0.5 * lively, speed) for _ in "lr"]

    def body(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Position of the hips (down, right) in the frame and rotation of the body ``[3, 3]``."""
        turned = about(2, self.lean.at(time)) @ about(0, self.yaw.at(time))
        rest = np.array(self.shot.head) - self.shot.scale * np.array([HEAD, 0.0])
        sway = np.array([s.at(time) for s in self.sway]) * self.shot.scale
        sink = 0.48 * self.stride.bob(time) * self.shot.scale
        return rest + sway + [sink, self.drift * self.shot.scale * time], turned

    def head(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Position of the head's centre (down, right) in the frame and rotation of the head ``[3, 3]``."""
        hips, turned = self.body(time)
        own = about(2, self.roll.at(time)) @ about(0, self.look.at(time)) @ about(1, self.nod.at(time))
        neck = np.array([NECK, 0.0, 0.0])
        centre = turned @ (neck + own @ np.array([HEAD - NECK, 0.0, 0.015]))
        return hips + self.shot.scale * centre[:2], turned @ own

    def draw(self, canvas: Canvas, light: Light, time: float) -> None:
        """Paint the person at ``time`` seconds, the farthest parts first."""
        hips, turned = self.body(time)
        scale = self.shot.scale
        centre, facing = self.head(time)
        parts: list[tuple[float, int, list[Limb]]] = []

        def limb(a: np.ndarray, b: np.ndarray, widths: Tensor, material: Cloth, **more: float | bool) -> Limb:
            start, end = (hips + scale * (turned @ point)[:2] for point in (a, b))
            return Limb(start, end, widths * scale, material, **more)  # pyright: ignore[reportArgumentType]

        def depth(*points: np.ndarray) -> float:
            return float(np.mean([(turned @ point)[2] for point in points]))

        for side, index in ((-1, 0), (1, 1)):
            parts += [self.leg(limb, depth, side, time), self.arm_parts(limb, depth, side, index, time)]
        wide = math.hypot(math.cos(self.yaw.at(time)), 0.66 * math.sin(self.yaw.at(time)))
        top, bottom = np.array([NECK, 0, 0]), np.array([0.02, 0, 0])
        seat = limb(np.array([-0.05, 0, 0]), np.array([0.03, 0, 0]), self.pelvis * wide, self.bottom, flat=0.85)
        parts.append((-1.0, 0, [seat]))
        trunk = []
        if self.skirt:
            hem = np.array([0.02 + self.skirt, 0, 0])
            trunk.append(limb(np.array([-0.07, 0, 0]), hem, self.flare * wide, self.bottom, flat=0.9, cut=True))
        trunk.append(limb(top, bottom, self.torso * wide, self.top, flat=0.85, cut=True))
        if self.open and turned[2, 2] > 0.3:
            trunk.append(limb(top, bottom, self.torso * wide, self.inner, flat=0.6, open=self.open, cut=True))
        parts.append((0.0, 0, trunk))
        layers = self.hair.layers(self.head, scale, time)
        front = facing[2, 2] > 0
        order = sorted(parts, key=lambda part: part[0])
        if front:
            self.hair.draw(canvas, *layers[0], scale, light)
        for _, _, limbs in (part for part in order if part[0] <= 0.03):
            for piece in limbs:
                piece.draw(canvas, light, scale)
        self.draw_head(canvas, light, hips + scale * (turned @ np.array([NECK + 0.015, 0, 0]))[:2], centre, facing)
        if not front:
            self.hair.draw(canvas, *layers[0], scale, light)
        self.hair.draw(canvas, *layers[1], scale, light)
        for _, _, limbs in (part for part in order if part[0] > 0.03):
            for piece in limbs:
                piece.draw(canvas, light, scale)

    def leg(self, limb, depth, side: int, time: float) -> tuple[float, int, list[Limb]]:
        """One leg and its shoe."""
        forth, bent = self.stride.thigh(side, time), self.stride.knee(side, time)
        hip = HIP * [1, side * self.build, 1]
        knee = hip + THIGH * np.array([math.cos(forth), 0.06 * side, math.sin(forth)])
        ankle = knee + SHIN * np.array([math.cos(forth - bent), 0.02 * side, math.sin(forth - bent)])
        toe = ankle + np.array([0.018, 0.012 * side, 0.055])
        cloth = self.skin if self.skirt else self.bottom
        lower = self.skin if self.bare_legs else self.bottom
        limbs = [limb(ankle, toe, self.foot, self.shoes), limb(knee, ankle, self.shin, lower)]
        limbs.append(limb(hip, knee, self.thigh, cloth))
        return min(depth(hip, knee), -0.01), side, limbs

    def arm_parts(self, limb, depth, side: int, index: int, time: float) -> tuple[float, int, list[Limb]]:
        """One arm and its hand."""
        out = self.out[index].at(time)
        forth = self.forth[index].at(time) - 0.7 * self.stride.thigh(side, time)
        bent = max(self.bend[index].at(time), 0.02)
        shoulder = SHOULDER * [1, side * self.build, 1]

        def toward(forward: float, sideways: float) -> np.ndarray:
            return np.array([math.cos(sideways) * math.cos(forward), side * math.sin(sideways),
                             math.cos(sideways) * math.sin(forward)])  # fmt: skip

        elbow = shoulder + UPPER_ARM * toward(forth, out)
        wrist = elbow + FOREARM * toward(forth + bent, out - 0.35 * min(bent, 1.2))
        finger = wrist + HAND * toward(forth + 1.1 * bent, out - 0.4 * min(bent, 1.2))
        sleeved = self.sleeve == 2
        limbs = [
            limb(wrist, finger, self.palm, self.skin),
            limb(elbow, wrist, self.forearm if sleeved else self.bare_forearm, self.top if sleeved else self.skin),
            limb(shoulder, elbow, self.arm, self.top if self.sleeve else self.skin),
        ]
        if self.sleeve == 1:
            limbs[2] = limb(shoulder, elbow, self.arm * 0.86, self.skin)
            limbs.append(limb(shoulder, shoulder + 0.62 * (elbow - shoulder), self.arm * 1.12, self.top, cut=True))
        away = depth(elbow, wrist)
        return away if abs(away) > 0.02 else 0.02 * (1 if depth(shoulder) >= 0 else -1), side, limbs

    def draw_head(self, canvas: Canvas, light: Light, neck: np.ndarray, centre: np.ndarray, turned: np.ndarray) -> None:
        """Paint neck, skull and face."""
        scale = self.shot.scale

        def at(down: float, right: float, forth: float) -> np.ndarray:
            return centre + scale * (turned @ np.array([down, right, forth]))[:2]

        def blob(a: np.ndarray, b: np.ndarray, widths: list[float], material: Cloth, flat: float = 1.0) -> None:
            table = np.interp(np.linspace(0, 1, TABLE), np.linspace(0, 1, len(widths)), widths) * scale
            Limb(a, b, torch.from_numpy(np.stack([table, table]).astype(np.float32)), material, flat).draw(
                canvas, light, scale
            )

        blob(neck, at(0.05, 0, -0.005), [0.033, 0.029], self.skin)
        hairy = self.hair.style != "bald"
        skull = (at(-0.022, 0, -0.012), at(0.005, 0, -0.012), [0.0595, 0.056], self.cap if hairy else self.skin)
        if turned[2, 2] <= -0.2:
            blob(at(0.0, 0, 0.006), at(0.05, 0, 0.01), [0.050, 0.034], self.skin)
            blob(*skull)
            return
        blob(*skull)
        for side in (-1, 1):
            blob(at(-0.004, 0.052 * side, -0.005), at(0.016, 0.050 * side, -0.005), [0.010, 0.008], self.skin)
        blob(at(0.0, 0, 0.006), at(0.05, 0, 0.012), [0.050, 0.047, 0.034], self.skin, 0.9)
        if self.beard:
            blob(at(0.045, 0, 0.014), at(0.056, 0, 0.014), [0.034, 0.030], self.cap)
            blob(at(0.036, -0.014, 0.03), at(0.036, 0.014, 0.03), [0.006, 0.006], self.cap)
        if turned[2, 2] < 0.25:
            return
        narrow = max(float(turned[2, 2]), 0.3)

        def bar(
            place: tuple[float, float, float], half: float, width: float, material: Cloth, flat: float = 1.0
        ) -> None:
            reach = np.array([0.0, half * narrow * scale])
            blob(at(*place) - reach, at(*place) + reach, [width, width], material, flat)

        for side in (-1, 1):
            eye, brow = (0.002, 0.021 * side, 0.045), (-0.013, 0.021 * side, 0.046)
            bar(eye, 0.006, 0.0045, self.white, 0.4)
            bar(eye, 0.0, 0.0040, self.iris, 0.5)
            bar(brow, 0.009, 0.0028, self.cap)
            if self.glasses:
                for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1)):
                    corner = (eye[0] + 0.012 * a, eye[1] + 0.015 * b, eye[2])
                    other = (eye[0] + 0.012 * b, eye[1] - 0.015 * a, eye[2])
                    blob(at(*corner), at(*other), [0.0016] * 2, self.dark, 0.3)
        blob(at(0.004, 0, 0.055), at(0.021, 0, 0.064), [0.0055, 0.0095], self.skin)
        blob(at(0.040, -0.013, 0.048), at(0.040, 0.013, 0.048), [0.003, 0.0045, 0.003], self.lips, 0.7)
