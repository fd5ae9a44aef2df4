"""Every choice a matte depends on, with every default. Nothing here depends on memory or device."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from .errors import InputError
from .windows import WindowPlan

Noise = Literal["zeros", "gaussian"]
Edge = int | Literal["auto", "own"]
"""Pixels; what suits the model; or that of the frames themselves."""
Radius = int | Literal["auto"]
AROUND = 2
"""Frames on either side of a frame that refining its edges looks at (`post.guided`)."""
FARTHEST = 32
"""The largest `MatteSettings.refine`: squares of 65 pixels."""


@dataclass(frozen=True, kw_only=True)
class MatteSettings:
    """What decides the picture: same frames, same settings, same model, same matte.

    Attributes:
        plan: Frames the network sees at once, and how many neighbouring windows share.
        decode_plan: The same for the decoder, which also works over time. ``None`` takes windows as long as `plan`'s
            that share no frames; see `decoder_plan`.
        short_edge: Scale frames so that their shorter side has this many pixels. ``"auto"`` takes what suits the model,
            ``"own"`` keeps the frames' own.
        max_edge: Then shrink, if need be, so that the longer side has at most this many; ``"own"`` sets no limit.
        pad_multiple: Frames are padded by reflection to a multiple of this many pixels, and cropped back.
        refine: Bring edges to where the frames have them, with pixels this far around counting (see `post.guided`), in
            pixels of what the network saw. 0 leaves mattes alone; ``"auto"`` takes what suits the model, and 1 at least
            where frames were shrunk to four fifths or less for the network (``benchmarks/bench_refine.py``).
        noise: ``"zeros"`` is the released one-step mode. ``"gaussian"`` starts from noise and takes `steps` Euler
            steps; experimental, since the released weights were not made for it.
        steps: Network calls per window.
        seed: Names the noise of the gaussian mode; each frame has its own, shared by the windows that see it.
        low: Alpha at or below this becomes 0. The reference uses 25/255; 0 leaves faint hair alone.
        high: Alpha at or above this becomes 1. The reference uses 240/255.

    Raises:
        InputError: For values out of range.

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

    @property
    def decoder_plan(self) -> WindowPlan:
        """The windows the decoder works in.

        Alpha latents are joined before they are decoded. The decoder's own windows share no frames by default: the
        UNet's overlap is what hides joins, and decoding frames twice costs much and changes nothing that can be seen
        (``docs/evaluation.md``).
        """
        return self.decode_plan or WindowPlan(self.plan.length, 0)

    @property
    def edges(self) -> tuple[int | None, int | None]:
        """The shorter and the longer side to scale to; None for the frames' own.

        Raises:
            InputError: While they are still to be taken from the model; see `suited`.
        """
        if "auto" in (self.short_edge, self.max_edge):
            raise InputError("what suits the model is not known here; give sizes, or take these settings to a pipeline")
        short, long = (edge if isinstance(edge, int) else None for edge in (self.short_edge, self.max_edge))
        return short, long

    @property
    def margin(self) -> int:
        """Frames on either side of a frame that its refined edges depend on: none in windows of one frame."""
        return AROUND if self.plan.length > 1 and self.refine != 0 else 0

    def suited(self, short_edge: int, max_edge: int) -> MatteSettings:
        """These settings with a model's sizes in place of ``"auto"``.

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
        """The frames that the mattes of ``first`` to ``last`` depend on, themselves included.

        A pipeline's `stream` over these, with this first index, gives the range the same mattes as a run over the whole
        video.
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
                    f"{name} must be at least 8 pixels, 'auto' for what suits the model, or 'own' for the frames' own "
                    f"size, got {edge!r}"
                )
        if self.refine != "auto" and not (isinstance(self.refine, int) and 0 <= self.refine <= FARTHEST):
            raise InputError(
                f"refine must be 0 to {FARTHEST} pixels, or 'auto' for what suits the model, got {self.refine!r}"
            )
        if self.pad_multiple < 1:
            raise InputError(f"pad_multiple must be at least 1, got {self.pad_multiple}")
        if self.noise not in ("zeros", "gaussian"):
            raise InputError(f"noise must be 'zeros' or 'gaussian', got {self.noise!r}")
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        if not 0 <= self.low < self.high <= 1:
            raise InputError(f"the thresholds need 0 <= low < high <= 1, got low={self.low}, high={self.high}")
