"""Clips with exact alpha, drawn from a seed: people with strands of hair before moving backgrounds.

Every frame is a function of its absolute time, so any stretch of a clip can be drawn alone and nothing is held.
Lengths are fractions of the frame's height, y down, the origin at its centre; colours are sRGB 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Array = np.ndarray
Generator = np.random.Generator
FPS = 24.0


@dataclass(frozen=True)
class SyntheticFrame:
    """One drawn frame and the layers it is made of.

    ``image`` equals ``foreground * alpha + background * (1 - alpha)`` up to sensor noise.

    Attributes:
        image: ``[3, H, W]``, sRGB 0..1.
        alpha: ``[1, H, W]``, 0..1.
        foreground: ``[3, H, W]``, sRGB, straight; zero where alpha is.
        background: ``[3, H, W]``, sRGB.
    """

    image: Tensor
    alpha: Tensor
    foreground: Tensor
    background: Tensor


@dataclass(frozen=True)
class SyntheticClip:
    """A drawn clip: the fields of `SyntheticFrame` with a leading time axis ``T``."""

    image: Tensor
    alpha: Tensor
    foreground: Tensor
    background: Tensor


def draw_clip(seed: int, size: tuple[int, int] = (64, 64), frames: int = 4, first: int = 0) -> SyntheticClip:
    """Draw ``frames`` frames of the clip that ``seed`` names, from frame ``first`` on.

    Args:
        seed: Same seed, same clip. Seeds from `HELD_OUT_SEEDS` on are never trained on.
        size: Height and width in pixels.
        frames: How many frames.
        first: Index of the first frame.

    Example:
        >>> clip = draw_clip(7, size=(32, 48), frames=3)
        >>> clip.image.shape, clip.alpha.shape
        (torch.Size([3, 3, 32, 48]), torch.Size([3, 1, 32, 48]))
        >>> bool((draw_clip(7, (32, 48), frames=1, first=2).alpha[0] == clip.alpha[2]).all())
        True
    """
    drawn = list(draw_frames(seed, size, frames, first))
    return SyntheticClip(
        *(torch.stack(layer) for layer in zip(*(vars(frame).values() for frame in drawn), strict=True))
    )


def draw_frames(seed: int, size: tuple[int, int], frames: int, first: int = 0) -> Iterator[SyntheticFrame]:
    """The frames of `draw_clip`, one by one, for clips too long to hold."""
    scene = Scene(seed, size)
    for index in range(first, first + frames):
        yield scene.frame(index)


HELD_OUT_SEEDS = 1_000_000
"""Training draws its seeds below this number; tests and demos at or above it."""


class Scene:
    """Everything a seed decides: who stands before what, and how both move."""

    def __init__(self, seed: int, size: tuple[int, int]) -> None:
        self.seed, self.size = seed, size
        random = np.random.default_rng(seed)
        height, width = size
        self.y, self.x = np.meshgrid(
            (np.arange(height, dtype=np.float32) + 0.5) / height - 0.5,
            (np.arange(width, dtype=np.float32) + 0.5) / height - 0.5 * width / height,
            indexing="ij",
        )
        self.pixel = 1.0 / height
        self.background = Backdrop(random, size)
        self.people = [Person(random, aspect=width / height) for _ in range(int(random.choice([1, 1, 1, 1, 2])))]
        self.noise = float(random.choice([0.0, random.uniform(0, 0.03)]))
        self.softness = float(random.choice([0.0, random.uniform(0, 0.8)]))
        self.shutter = int(random.choice([1, 1, 1, 3]))

    def frame(self, index: int) -> SyntheticFrame:
        """Draw frame ``index``: alpha integrates over the open shutter, colour is summed premultiplied."""
        colour = np.zeros((3, *self.size), np.float32)
        alpha = np.zeros((1, *self.size), np.float32)
        background = torch.zeros(3, *self.size)
        for sample in range(self.shutter):
            time = (index + 0.5 * sample / self.shutter) / FPS
            canvas = Canvas(self.y, self.x, self.pixel)
            for person in self.people:
                person.draw(canvas, time)
            colour = colour + canvas.colour / self.shutter
            alpha = alpha + canvas.alpha / self.shutter
            background = background + self.background.view(time) / self.shutter
        colour, alpha = soften(torch.from_numpy(colour), self.softness), soften(torch.from_numpy(alpha), self.softness)
        image = colour + background * (1 - alpha)
        grain = torch.Generator().manual_seed(self.seed * 100_003 + index)
        image = (image + self.noise * torch.randn(image.shape, generator=grain)).clamp(0, 1)
        return SyntheticFrame(image, alpha, colour / alpha.clamp(min=1e-6), background)


def soften(layer: Tensor, sigma: float) -> Tensor:
    """Blur ``[C, H, W]`` by a Gaussian of ``sigma`` pixels: a lens that is not quite sharp."""
    if sigma < 0.2:
        return layer
    taps = torch.exp(-torch.arange(-3, 4, dtype=torch.float32).square() / (2 * sigma * sigma))
    taps = (taps / taps.sum()).expand(layer.shape[0], 1, 1, -1)
    padded = F.pad(layer[None], (3, 3, 3, 3), mode="replicate")
    across = F.conv2d(padded, taps, groups=layer.shape[0])
    return F.conv2d(across, taps.transpose(2, 3), groups=layer.shape[0])[0]


@dataclass
class Canvas:
    """A premultiplied picture ``colour`` ``[3, H, W]`` with its ``alpha`` ``[1, H, W]``, painted back to front."""

    y: Array
    x: Array
    pixel: float
    colour: Array = field(init=False)
    alpha: Array = field(init=False)

    def __post_init__(self) -> None:
        self.colour = np.zeros((3, *self.y.shape), np.float32)
        self.alpha = np.zeros((1, *self.y.shape), np.float32)

    def box(self, low: Array, high: Array) -> tuple[slice, slice] | None:
        """The rows and columns that the box ``low..high`` (y, x) touches, or None where it is out of sight."""
        rows, columns = self.y[:, 0], self.x[0]
        top, bottom = np.searchsorted(rows, [low[0] - 2 * self.pixel, high[0] + 2 * self.pixel])
        left, right = np.searchsorted(columns, [low[1] - 2 * self.pixel, high[1] + 2 * self.pixel])
        return (slice(top, bottom), slice(left, right)) if bottom > top and right > left else None

    def paint(self, where: tuple[slice, slice], coverage: Array, colour: Array) -> None:
        """Lay ``colour`` ``[3, h, w]`` (straight) with ``coverage`` ``[h, w]`` over what is there."""
        rows, columns = where
        self.colour[:, rows, columns] += coverage * (colour - self.colour[:, rows, columns])
        self.alpha[0, rows, columns] += coverage * (1 - self.alpha[0, rows, columns])

    def limb(self, start: Array, end: Array, radii: tuple[float, float], cloth: Cloth) -> None:
        """Paint a capsule from ``start`` to ``end`` that tapers between two radii."""
        reach = max(radii)
        where = self.box(np.minimum(start, end) - reach, np.maximum(start, end) + reach)
        if where is None:
            return
        y, x = self.y[where], self.x[where]
        along, away, side = to_segment(y, x, start, end)
        radius = radii[0] + (radii[1] - radii[0]) * along
        coverage = np.clip(0.5 + (radius - away) / self.pixel, 0, 1)
        length = math.hypot(*(end - start))
        self.paint(where, coverage, cloth.colour(along * length, side, side / np.maximum(radius, 1e-6)))

    def strands(self, points: Array, widths: list[float], opacity: Array, colour: Array) -> None:
        """Paint hair: ``points`` ``[S, K, 2]`` polylines, ``K`` ``widths``, ``opacity`` ``[S]``, ``colour`` ``[3]``.

        A strand thinner than a pixel covers it in proportion to its width.
        """
        where = self.box(points.min((0, 1)) - max(widths), points.max((0, 1)) + max(widths))
        if where is None:
            return
        y, x = self.y[where][None], self.x[where][None]
        clear = np.zeros(y.shape[1:], np.float32)  # log of what still shines through
        for strand, solid in zip(points, opacity.tolist(), strict=True):
            coverage = np.zeros(y.shape[1:], np.float32)
            for k in range(len(strand) - 1):
                local = self.box(np.minimum(strand[k], strand[k + 1]), np.maximum(strand[k], strand[k + 1]))
                if local is None:
                    continue
                inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(local, where, strict=True))
                along, away, _ = to_segment(self.y[local], self.x[local], strand[k], strand[k + 1])
                width = widths[k] + (widths[k + 1] - widths[k]) * along
                cover = np.clip(0.5 + (0.5 * width - away) / self.pixel, 0, np.minimum(width / self.pixel, 1))
                coverage[inner] = np.maximum(coverage[inner], cover * solid)
            clear += np.log1p(-0.999 * coverage)
        shade = colour[:, None, None] * (0.8 + 0.4 * np.sin(x[0] * 400) * np.sin(y[0] * 130) ** 2)[None]
        self.paint(where, 1 - np.exp(clear), np.clip(shade, 0, 1).astype(np.float32))


def to_segment(y: Array, x: Array, start: Array, end: Array) -> tuple[Array, Array, Array]:
    """For every point: how far along the segment its foot lies (0..1), its distance, and its signed side offset."""
    (sy, sx), (ey, ex) = (map(float, point) for point in (start, end))  # Python floats keep the arrays float32
    dy, dx = ey - sy, ex - sx
    squared = max(dy * dy + dx * dx, 1e-10)
    along = np.clip(((y - sy) * dy + (x - sx) * dx) / squared, 0, 1)
    away = np.hypot(y - sy - along * dy, x - sx - along * dx)
    side = ((x - sx) * dy - (y - sy) * dx) / math.sqrt(squared)
    return along, away, side


class Cloth:
    """A surface: a base colour, a woven or printed pattern, and shading that makes a limb look round."""

    def __init__(self, random: Generator, base: Array, pattern: float = 0.0) -> None:
        self.base = np.asarray(base, np.float32)
        self.other = np.clip(self.base + random.normal(0, 0.35, 3), 0, 1).astype(np.float32)
        self.pattern = float(pattern * random.uniform(0, 1))
        self.frequency = random.uniform(20, 160, 2).tolist()
        self.kind = random.integers(0, 3)
        self.light = float(random.uniform(-1, 1))
        self.depth = float(random.uniform(0.1, 0.5))

    def colour(self, u: Array, v: Array, round_: Array) -> Array:
        """Colour ``[3, h, w]`` at ``u`` along and ``v`` across; ``round_`` runs -1..1 from edge to edge."""
        waves = np.sin(u * self.frequency[0]), np.sin(v * self.frequency[1])
        weave = (waves[0] > 0, waves[0] * waves[1] > 0, 0.5 + 0.5 * waves[0] * waves[1])[self.kind]
        mix = self.pattern * weave
        shade = 1 - self.depth * np.clip(0.5 * (round_ - self.light) ** 2, 0, 1)
        surface = self.base[:, None, None] * (1 - mix) + self.other[:, None, None] * mix
        return (surface * shade).astype(np.float32)


def turn(angle: float) -> Array:
    """The unit vector ``(y, x)`` at ``angle``; 0 points down."""
    return np.array([math.cos(angle), math.sin(angle)])


class Swing:
    """An angle or offset that comes and goes: a mean and two sine waves."""

    def __init__(self, random: Generator, mean: float, size: float, speed: float = 1.0) -> None:
        self.mean = mean
        self.size = random.uniform(0, size, 2) * [1.0, 0.4]
        self.rate = random.uniform(0.3, 1.2, 2) * [1.0, 2.3] * speed * 2 * math.pi
        self.phase = random.uniform(0, 2 * math.pi, 2)

    def at(self, time: float) -> float:
        """The value at ``time`` seconds."""
        return float(self.mean + (self.size * np.sin(self.rate * time + self.phase)).sum())


SKINS = np.array([[0.96, 0.80, 0.69], [0.87, 0.67, 0.53], [0.72, 0.51, 0.37], [0.50, 0.34, 0.24], [0.33, 0.21, 0.15]])
HAIRS = np.array([[0.06, 0.05, 0.05], [0.20, 0.12, 0.08], [0.42, 0.27, 0.15], [0.75, 0.58, 0.34], [0.6, 0.6, 0.6],
                  [0.55, 0.18, 0.08]])  # fmt: skip


class Person:
    """An articulated figure one unit tall, scaled, placed, swaying and walking."""

    def __init__(self, random: Generator, aspect: float) -> None:
        close = random.uniform()
        self.scale = float(random.uniform(0.75, 1.3) if close < 0.5 else random.uniform(1.3, 3.2))
        # Far figures stand whole in the frame; near ones are cut below the chest or the hips.
        standing = max(0.47 - 0.95 * self.scale, -0.45) if close < 0.5 else -0.42
        self.top = float(standing + random.uniform(-0.02, 0.14))
        self.across = Swing(random, random.uniform(-0.28, 0.28) * aspect, 0.12, 0.5)
        self.drift = float(random.normal(0, 0.10))
        self.bob = Swing(random, 0, 0.015, 2)
        self.lean = Swing(random, 0, 0.15, 0.6)
        self.nod = Swing(random, 0, 0.25, 0.8)
        self.arms = [(Swing(random, s * random.uniform(0.1, 0.8), 0.6), Swing(random, s * random.uniform(0, 1.3), 0.7))
                     for s in (-1, 1)]  # fmt: skip
        self.legs = [(Swing(random, s * 0.12, 0.35), Swing(random, 0, 0.3)) for s in (-1, 1)]
        self.build = float(random.uniform(0.8, 1.35))

        skin = np.clip(SKINS[random.integers(len(SKINS))] + random.normal(0, 0.04, 3), 0, 1)
        self.skin = Cloth(random, skin)
        self.skin.light = 0.0
        self.shirt = Cloth(random, random.uniform(0.02, 1, 3), pattern=0.9)
        self.trousers = Cloth(random, random.uniform(0.02, 0.8, 3), pattern=0.5)
        self.sleeves = self.shirt if random.uniform() < 0.7 else self.skin
        self.shoes = Cloth(random, random.uniform(0, 0.6, 3))
        hair = np.clip(HAIRS[random.integers(len(HAIRS))] * random.uniform(0.6, 1.2) + random.normal(0, 0.03, 3), 0, 1)
        self.hair = hair.astype(np.float32)
        self.cap = Cloth(random, hair)
        self.bald = random.uniform() < 0.08
        count = 0 if self.bald else int(random.integers(20, 70))
        self.hair_length = float(random.choice([random.uniform(0.03, 0.08), random.uniform(0.08, 0.30)]))
        self.strand_angles = random.uniform(-2.3, 2.3, count)
        self.strand_lengths = random.uniform(0.5, 1.2, count) * self.hair_length
        self.strand_curls = random.normal(0, 0.4, count)
        self.strand_phases = random.uniform(0, 2 * math.pi, count)
        self.strand_opacity = random.uniform(0.4, 1.0, count)
        self.strand_width = float(random.uniform(0.004, 0.012))
        self.wind = Swing(random, random.normal(0, 0.25), 0.5, 1.5)

    def draw(self, canvas: Canvas, time: float) -> None:
        """Paint the figure as it stands at ``time`` seconds, back to front."""
        s, b = self.scale, self.build
        lean = self.lean.at(time)
        neck = np.array([self.top + 0.17 * s + self.bob.at(time), self.across.at(time) + self.drift * time])
        hips = neck + 0.33 * s * turn(lean)
        head = neck - 0.10 * s * turn(self.nod.at(time) + 0.5 * lean)
        shoulder = 0.085 * s * b * np.array([math.sin(-lean), math.cos(lean)])

        self.arm(canvas, neck + 0.035 * s * turn(lean) - shoulder, self.arms[0], time)
        for side, (thigh, shin) in zip((-1, 1), self.legs, strict=True):
            top = hips + np.array([0.0, side * 0.045 * s * b])
            knee = top + 0.24 * s * turn(thigh.at(time))
            foot = knee + 0.24 * s * turn(thigh.at(time) - abs(shin.at(time)) * side * 0.5)
            canvas.limb(top, knee, (0.055 * s * b, 0.042 * s * b), self.trousers)
            canvas.limb(knee, foot, (0.042 * s * b, 0.03 * s), self.trousers)
            canvas.limb(foot, foot + np.array([0.012, side * 0.03]) * s, (0.024 * s, 0.022 * s), self.shoes)
        self.locks(canvas, head, time, behind=True)
        canvas.limb(neck + 0.05 * s * turn(lean), hips, (0.095 * s * b, 0.085 * s * b), self.shirt)
        canvas.limb(neck + 0.04 * s * turn(lean) - shoulder, neck + 0.04 * s * turn(lean) + shoulder,
                    (0.05 * s * b, 0.05 * s * b), self.shirt)  # fmt: skip
        canvas.limb(head, neck + 0.02 * s * turn(lean), (0.032 * s, 0.036 * s), self.skin)
        self.face(canvas, head, time)
        self.locks(canvas, head, time, behind=False)
        self.arm(canvas, neck + 0.035 * s * turn(lean) + shoulder, self.arms[1], time)

    def arm(self, canvas: Canvas, shoulder: Array, swings: tuple[Swing, Swing], time: float) -> None:
        """Paint one arm from the shoulder to the hand."""
        s, b = self.scale, self.build
        upper, lower = (swing.at(time) for swing in swings)
        elbow = shoulder + 0.17 * s * turn(upper)
        hand = elbow + 0.16 * s * turn(upper + lower)
        canvas.limb(shoulder, elbow, (0.036 * s * b, 0.029 * s * b), self.shirt)
        canvas.limb(elbow, hand, (0.029 * s * b, 0.02 * s), self.sleeves)
        canvas.limb(hand, hand + 0.03 * s * turn(upper + lower), (0.022 * s, 0.018 * s), self.skin)

    def face(self, canvas: Canvas, head: Array, time: float) -> None:
        """Paint the head, its cap of hair, eyes and mouth."""
        s = self.scale
        up, across = -turn(self.nod.at(time)), np.array([math.sin(-self.nod.at(time)), math.cos(self.nod.at(time))])
        if not self.bald:
            canvas.limb(head + 0.012 * s * up, head + 0.03 * s * up, (0.066 * s, 0.064 * s), self.cap)
        canvas.limb(head - 0.022 * s * up, head + 0.008 * s * up, (0.046 * s, 0.054 * s), self.skin)
        dark = Cloth(np.random.default_rng(0), self.skin.base * 0.25)
        for side in (-1, 1):
            eye = head + 0.006 * s * up + side * 0.022 * s * across
            canvas.limb(eye, eye + 0.006 * s * across, (0.005 * s, 0.005 * s), dark)
        mouth = head - 0.036 * s * up
        canvas.limb(mouth - 0.014 * s * across, mouth + 0.014 * s * across, (0.004 * s, 0.004 * s), dark)

    def locks(self, canvas: Canvas, head: Array, time: float, *, behind: bool) -> None:
        """Paint the strands whose roots lie behind the face, or those that frame it."""
        mine = (np.abs(self.strand_angles) > 1.0) == behind
        if not mine.any():
            return
        s, steps = self.scale, np.linspace(0, 1, 6)[None, :, None]
        angles, lengths = self.strand_angles[mine], self.strand_lengths[mine] * s
        outward = np.stack([-np.cos(angles), np.sin(angles)], -1)[:, None]  # [S, 1, 2]
        roots = head - 0.02 * s * np.array([1.0, 0.0]) + 0.062 * s * outward
        wind = self.wind.at(time) + 0.15 * np.sin(5 * time + self.strand_phases[mine]) + self.strand_curls[mine]
        fall = np.array([1.0, 0.0]) * steps**1.3  # gravity bends every strand down
        sway = np.stack([np.zeros_like(wind), wind], -1)[:, None] * steps**2 * 0.6
        points = roots + lengths[:, None, None] * (outward * steps * (1 - 0.5 * steps) + fall + sway)
        widths = (self.strand_width * s * np.linspace(1, 0.25, 6)).tolist()
        canvas.strands(points.astype(np.float32), widths, self.strand_opacity[mine], self.hair)


class Backdrop:
    """A painted background larger than the frame, over which the camera pans and zooms."""

    MARGIN = 1.7

    def __init__(self, random: Generator, size: tuple[int, int]) -> None:
        self.size = size
        height, width = (math.ceil(self.MARGIN * edge) for edge in size)
        self.y, self.x = np.meshgrid(np.linspace(-1, 1, height, dtype=np.float32),
                                     np.linspace(-1, 1, width, dtype=np.float32), indexing="ij")  # fmt: skip
        canvas = self.gradient(random) + self.clouds(random, (height, width))
        for _ in range(random.integers(0, 14)):
            self.thing(random, canvas)
        canvas = torch.from_numpy(np.clip(canvas, 0, 1).astype(np.float32))
        self.canvas = soften(canvas, float(random.choice([0.0, random.uniform(0, 2.5)])))
        self.pan = [Swing(random, 0, 0.25, 0.5), Swing(random, 0, 0.25, 0.5)]
        self.zoom = Swing(random, 0.72, 0.08, 0.4)

    def gradient(self, random: Generator) -> Array:
        """Two colours, blended in a random direction."""
        a, b = random.uniform(0, 1, (2, 3, 1, 1))
        angle = random.uniform(0, 2 * math.pi)
        mix = 0.5 + 0.5 * np.clip(math.cos(angle) * self.x + math.sin(angle) * self.y, -1, 1)
        return a + (b - a) * mix

    def clouds(self, random: Generator, size: tuple[int, int]) -> Array:
        """Octaves of smooth noise, the coarse ones stronger."""
        total = np.zeros((3, *size), np.float32)
        strength, decay = random.uniform(0, 0.3), random.uniform(0.4, 0.9)
        tint = float(random.uniform(0, 1))
        for octave in range(6):
            cells = 2 ** (octave + 1)
            grid = torch.from_numpy(random.normal(0, 1, (1, 3, cells, cells)).astype(np.float32))
            grid = tint * grid + (1 - tint) * grid[:, :1]
            total += (
                float(strength * decay**octave)
                * F.interpolate(grid, size, mode="bilinear", align_corners=True)[0].numpy()
            )
        return total

    def thing(self, random: Generator, canvas: Array) -> None:
        """Paint one piece of clutter: a slab, a disc, a pole or a striped board."""
        cy, cx = random.uniform(-1, 1, 2)
        angle, kind = random.normal(0, 0.4), random.integers(0, 4)
        y = math.cos(angle) * (self.y - cy) - math.sin(angle) * (self.x - cx)
        x = math.sin(angle) * (self.y - cy) + math.cos(angle) * (self.x - cx)
        h, w = random.uniform(0.05, 0.5, 2)
        if kind == 1:
            inside = np.hypot(y, x) < h * 0.7
        elif kind == 2:
            inside = (np.abs(x) < 0.2 * w) & (np.abs(y) < 0.4 + h)
        else:
            inside = (np.abs(x) < w) & (np.abs(y) < h)
        colour = random.uniform(0, 1, (3, 1, 1)) * (1 + 0.3 * y[None])
        if kind == 3:
            colour = colour * (0.6 + 0.4 * (np.sin(x * random.uniform(15, 60)) > 0))[None]
        np.copyto(canvas, colour, where=inside[None])

    def view(self, time: float) -> Tensor:
        """What the camera sees at ``time`` seconds, ``[3, H, W]``."""
        zoom = self.zoom.at(time) / 1.2
        centre = [float(np.clip(swing.at(time), zoom - 1, 1 - zoom)) for swing in self.pan]
        theta = torch.tensor([[[zoom, 0, centre[1]], [0, zoom, centre[0]]]], dtype=torch.float32)
        grid = F.affine_grid(theta, [1, 3, *self.size], align_corners=False)
        return F.grid_sample(self.canvas[None], grid, padding_mode="reflection", align_corners=False)[0]
