"""All settings that a matte depends on, with their defaults. None of them depends on memory or device."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from .errors import InputError
from .region import RegionSettings
from .windows import WindowPlan

Noise = Literal["zeros", "gaussian"]
Edge = int | Literal["auto", "own"]
"""Pixels; "auto" is the model's size, "own" the frames' own size."""
Radius = int | Literal["auto"]
AROUND = 2
"""Number of frames before and after a frame that are used to refine its edges (`post.guided`)."""
FARTHEST = 32
"""The largest `MatteSettings.refine`: squares of 65 x 65 pixels."""


@dataclass(frozen=True, kw_only=True)
class MatteSettings:
    """The settings of a matte. The same frames, settings and model give the same matte.

    Attributes:
        plan: Length and overlap of the network's windows.
        decode_plan: Length and overlap of the decoder's windows; the decoder also works over time. ``None`` takes
            windows as long as `plan`'s, without overlap; see `decoder_plan`.
        short_edge: Scale frames so that their shorter side has this many pixels. ``"auto"`` takes the model's size,
            ``"own"`` keeps the frames' own size.
        max_edge: Then shrink frames if their longer side has more pixels than this; ``"own"`` sets no limit.
        pad_multiple: Frames are padded by reflection to a multiple of this many pixels. The matte is cropped back.
        refine: Move edges to where the frames have them, using pixels up to this distance (see `post.guided`), in
            pixels of the network's picture. 0 turns this off. ``"auto"`` takes the model's value, but at least 1
            if frames were shrunk to four fifths or less for the network (``benchmarks/bench_refine.py``).
        noise: ``"zeros"`` is the released one-step mode. ``"gaussian"`` starts from noise and takes `steps` Euler
            steps. It is experimental, because the released weights were not made for it.
        steps: Number of network calls per window.
        seed: Seed of the noise in the gaussian mode. Each frame has its own noise, the same in all windows.
        low: Alpha at or below this becomes 0. The reference uses 25/255; 0 keeps faint hair.
        high: Alpha at or above this becomes 1. The reference uses 240/255.
        region: How a region follows its subject. No effect on frames without a region.

    Raises:
        InputError: If a value is out of range.

    Example:
        >>> MatteSettings(plan=WindowPlan(length=16, overlap=4), max_edge=1024).steps
        1
    """

    plan: WindowPlan = field(default_factory=WindowPlan)
    decode_plan: WindowPlan | None = None
    short_edge: Edge = "auto"
    max_edge: Edge = "auto"
    pad_multiple: int = 32
    refine: Radius = "auto"
    noise: Noise = "zeros"
    steps: int = 1
    seed: int = 0
    low: float = 0.0
    high: float = 1.0
    region: RegionSettings = RegionSettings()

    @property
    def decoder_plan(self) -> WindowPlan:
        """The windows the decoder works in.

        Alpha latents are joined before they are decoded. By default the decoder's windows do not overlap: the UNet's
        overlap already hides the joins, and decoding frames twice takes much time and makes no visible difference
        (``docs/evaluation.md``).
        """
        return self.decode_plan or WindowPlan(self.plan.length, 0)

    @property
    def edges(self) -> tuple[int | None, int | None]:
        """The shorter and the longer side to scale to; None for the frames' own size.

        Raises:
            InputError: If one of them is still ``"auto"``; see `suited`.
        """
        if "auto" in (self.short_edge, self.max_edge):
            raise InputError("'auto' sizes need a model; give pixels or 'own', or use the settings of a pipeline")
        short, long = (edge if isinstance(edge, int) else None for edge in (self.short_edge, self.max_edge))
        return short, long

    @property
    def margin(self) -> int:
        """Number of frames before and after a frame that its refined edges depend on; 0 in windows of one frame."""
        return AROUND if self.plan.length > 1 and self.refine != 0 else 0

    def suited(self, short_edge: int, max_edge: int) -> MatteSettings:
        """A copy of these settings, with a model's sizes in place of ``"auto"``.

        Example:
            >>> suited = MatteSettings(max_edge="own").suited(short_edge=720, max_edge=1024)
            >>> suited.short_edge, suited.max_edge, suited.edges
            (720, 'own', (720, None))
        """
        return replace(
            self,
            short_edge=short_edge if self.short_edge == "auto" else self.short_edge,
            max_edge=max_edge if self.max_edge == "auto" else self.max_edge,
        )

    def context(self, first: int, last: int | None) -> tuple[int, int | None]:
        """The first and last of the frames that the mattes of ``first`` to ``last`` depend on.

        A pipeline's `stream` over these frames, with this first index, gives ``first`` to ``last`` the same mattes as a
        run over the whole video.
        """
        decoder = self.decoder_plan
        earliest = max(first - self.margin, 0)
        begin = self.plan.context(decoder.context(earliest, earliest)[0], earliest)[0]
        aligned = begin - begin % math.lcm(self.plan.stride, decoder.stride)
        end = None if last is None else self.plan.context(0, decoder.context(0, last + self.margin)[1])[1]
        return aligned, end

    def __post_init__(self) -> None:
        for name in ("short_edge", "max_edge"):
            edge = getattr(self, name)
            if edge not in ("auto", "own") and not (isinstance(edge, int) and edge >= 8):
                raise InputError(
                    f"{name} must be at least 8 pixels, 'auto' for the model's size, or 'own' for the frames' own "
                    f"size, got {edge!r}"
                )
        if self.refine != "auto" and not (isinstance(self.refine, int) and 0 <= self.refine <= FARTHEST):
            raise InputError(
                f"refine must be 0 to {FARTHEST} pixels, or 'auto' for the model's value, got {self.refine!r}"
            )
        if self.pad_multiple < 1:
            raise InputError(f"pad_multiple must be at least 1, got {self.pad_multiple}")
        if self.noise not in ("zeros", "gaussian"):
            raise InputError(f"noise must be 'zeros' or 'gaussian', got {self.noise!r}")
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        if not 0 <= self.low < self.high <= 1:
            raise InputError(f"the thresholds need 0 <= low < high <= 1, got low={self.low}, high={self.high}")
