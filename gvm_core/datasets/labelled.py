"""Batches from folders of clips with mattes, randomly cropped and flipped."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..synthesis.degrade import Degradation
from .batch import Batch
from .pairs import LabelledClip

KEPT = 2 * 1024**3  # bytes of frames held in memory


class LabelledSource:
    """Batches from clips that have mattes: the user's own, `synthesize`'s, pseudo-labelled ones.

    Args:
        clips: From `find_labelled`.
        largest: Frames are held with a shorter side of at most twice this many pixels.
        closest: The smallest crop, as a share of a frame's shorter side.
        degrade: The largest strength of `Degradation`.
    """

    def __init__(self, clips: list[LabelledClip], largest: int, closest: float = 0.6, degrade: float = 0.3) -> None:
        if not clips:
            raise InputError("there is no clip to learn from")
        self.clips, self.largest, self.closest, self.degrade = clips, largest, closest, degrade
        self.held: OrderedDict[tuple[int, int], Tensor] = OrderedDict()
        self.bytes = 0

    def batch(self, count: int, size: int, frames: int, random: np.random.Generator) -> Batch:
        """``count`` clips of ``frames`` neighbouring frames."""
        layers = torch.stack([self.cut(size, frames, random) for _ in range(count)])
        return Batch(layers[:, :, :3], layers[:, :, 3:4], layers[:, :, 4:])

    def cut(self, size: int, frames: int, random: np.random.Generator) -> Tensor:
        """Picture, alpha and confidence ``[T, 5, size, size]``: a random crop of random frames of a random clip."""
        long = [number for number, clip in enumerate(self.clips) if len(clip.frames) >= frames]
        if not long:
            raise InputError(f"no clip has {frames} frames; the longest has {max(len(c.frames) for c in self.clips)}")
        number = long[random.integers(len(long))]
        first = int(random.integers(len(self.clips[number].frames) - frames + 1))
        layers = torch.stack([self.frame(number, first + index) for index in range(frames)])
        height, width = layers.shape[-2:]
        part = int(random.integers(max(round(self.closest * min(height, width)), 1), min(height, width) + 1))
        top, left = random.integers(height - part + 1), random.integers(width - part + 1)
        layers = layers[..., top : top + part, left : left + part].float() / 255
        layers = F.interpolate(layers, (size, size), mode="bilinear", antialias=True).clamp(0, 1)
        camera = Degradation(random, float(random.uniform(0, self.degrade)))
        images = torch.stack([camera(frame, index) for index, frame in enumerate(layers[:, :3])])
        layers = torch.cat([images, layers[:, 3:]], dim=1)
        return layers.flip(-1) if random.uniform() < 0.5 else layers

    def frame(self, number: int, index: int) -> Tensor:
        """Picture, alpha and confidence ``[5, H, W]`` of a frame as bytes. Up to `KEPT` bytes of frames are held."""
        key = (number, index)
        if key in self.held:
            self.held.move_to_end(key)
            return self.held[key]
        clip = self.clips[number]
        image, alpha = clip.read(index)
        confidence = clip.read_confidence(index)
        layers = torch.cat([image, alpha, torch.ones_like(alpha) if confidence is None else confidence])
        scale = 2 * self.largest / min(layers.shape[-2:])
        if scale < 1:
            smaller = [max(round(edge * scale), 1) for edge in layers.shape[-2:]]
            layers = F.interpolate(layers[None], smaller, mode="bilinear", antialias=True)[0]
        held = (layers.clamp(0, 1) * 255).round().byte()
        self.held[key] = held
        self.bytes += held.numel()
        while self.bytes > KEPT and len(self.held) > 1:
            self.bytes -= self.held.popitem(last=False)[1].numel()
        return held
