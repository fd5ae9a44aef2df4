"""Every choice a matte depends on, with every default. Nothing here depends on memory or device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .errors import InputError
from .windows import WindowPlan

Noise = Literal["zeros", "gaussian"]
FARTHEST = 32
"""The largest `MatteSettings.refine`: squares of 65 pixels."""


@dataclass(frozen=True, kw_only=True)
class MatteSettings:
    """What decides the picture: same frames, same settings, same model, same matte.

    Attributes:
        plan: Frames the network sees at once, and how many neighbouring windows share.
        decode_plan: The same for the decoder, which also works over time. ``None`` takes windows as long as `plan`'s
            that share no frames; see `decoder_plan`.
        short_edge: Scale frames so that their shorter side has this many pixels; ``None`` keeps their own size.
        max_edge: Then shrink, if need be, so that the longer side has at most this many; ``None`` sets no limit.
        pad_multiple: Frames are padded by reflection to a multiple of this many pixels, and cropped back.
        refine: Bring edges to where the frames have them, with pixels this far around counting (see `post.guided`), in
            pixels of what the network saw. 0 leaves mattes alone; ``None`` takes what suits the model, and 1 at least
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
    short_edge: int | None = None
    max_edge: int | None = None
    pad_multiple: int = 32
    refine: int | None = None
    noise: Noise = "zeros"
    steps: int = 1
    seed: int = 0
    low: float = 0.0
    high: float = 1.0

    @property
    def decoder_plan(self) -> WindowPlan:
        """The windows the decoder works in.

        Alpha latents are joined before they are decoded, and the decoder's own windows share no frames by default.
        Measured on 6 drawn clips of 44 frames (``benchmarks/bench_windows.py``; MAD x1e3, seam score with 1 for no
        seam, frames decoded per frame) with the first demo model, for UNet windows of 8 sharing 2. The present one's
        decoder has not learned to look along time, so that for it all of these are alike (MAD 33.1, seam 1.00 to 1.04).

        ==========================  =====  =====  =======
        joined in                   MAD    seam   decoded
        ==========================  =====  =====  =======
        alpha                       80.18  1.109  1.27
        latents, decoder shares 0   80.36  1.085  1.09
        latents, decoder shares 1   80.43  1.075  1.27
        latents, decoder shares 2   80.13  1.104  1.27
        latents, decoder shares 4   80.11  1.037  1.82
        ==========================  =====  =====  =======

        Without overlap of the UNet's windows the seam score is 1.47. So it is the UNet's overlap that hides the joins;
        decoding, the dearest stage, more than once buys nothing that shows.
        """
        return self.decode_plan or WindowPlan(self.plan.length, 0)

    def __post_init__(self) -> None:
        for name in ("short_edge", "max_edge"):
            edge = getattr(self, name)
            if edge is not None and edge < 8:
                raise InputError(f"{name} must be at least 8 pixels, or None for the frames' own size, got {edge}")
        if self.refine is not None and not 0 <= self.refine <= FARTHEST:
            raise InputError(
                f"refine must be 0 to {FARTHEST} pixels, or None for what suits the model, got {self.refine}"
            )
        if self.pad_multiple < 1:
            raise InputError(f"pad_multiple must be at least 1, got {self.pad_multiple}")
        if self.noise not in ("zeros", "gaussian"):
            raise InputError(f"noise must be 'zeros' or 'gaussian', got {self.noise!r}")
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        if not 0 <= self.low < self.high <= 1:
            raise InputError(f"the thresholds need 0 <= low < high <= 1, got low={self.low}, high={self.high}")
