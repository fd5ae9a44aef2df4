"""The subject's own colours, without the old background: multi-level estimation, steady over time.

Where a pixel is half hair and half wall, the plate shows both: ``I = F * a + B * (1 - a)``. This module finds ``F``. It
works from coarse to fine, as Germer, Uelwer, Conrad and Harmeling do (Fast Multi-Level Foreground Estimation, 2020),
with three differences. A coarse square does not stand for one of its pixels, it fits all of them: their alphas differ,
and that tells subject and background apart. The full size is computed only where the matte is soft, a few percent of
most frames. And a colour never leaves the range that the plate has around it. Instead of many iterations, a level is
solved, mixed with its neighbours and solved again, as in blur fusion (Forte and Pitié, Approximate Fast Foreground
Colour Estimation, 2021).

`multilevel` works on one frame, `steady` on several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .multilevel import estimate, room
from .steady import Found, compressed, noise, steady

Screen = Literal["off", "green", "blue", "auto"]
Limit = Literal["average", "double average", "maximum"]
SCREENS = ("off", "green", "blue", "auto")
LIMITS = ("average", "double average", "maximum")
FARTHEST = 4
"""The largest `ForegroundSettings.margin`."""
DEEPEST = 64
"""The largest `ForegroundSettings.reach`: erosion over 65 x 65 pixels."""


@dataclass(frozen=True, kw_only=True)
class ForegroundSettings:
    """How the subject's colour is found, and how spill of a screen is removed from it (`despill`).

    Attributes:
        margin: Number of frames before and after a frame that its soft colours depend on, where they look alike. 1
            leaves a third of the flicker on a still subject, 2 a fifth: the second frame brings less and has to be
            computed too. 0 works frame by frame.
        gain_floor: Where alpha is below this, a pixel says little about the subject's colour, which then comes from
            the surroundings. Noise and errors of the matte are amplified by at most ``1 / (2 * gain_floor)``. On drawn
            clips 0.1 has the least error; 0.15 has hardly more, and much less grain where the matte is not exact.
        screen: The colour whose spill `despill` removes. ``"auto"`` must be decided once for a clip, with `screen_of`.
            ``"off"`` by default: what is opaque stays as it was filmed unless somebody asks.
        limit: What the screen's channel may not exceed: the average of the other two channels, their double average,
            or the larger of them. The average is the usual first choice; the others take less.
        strength: Share of the spill that is removed, 0..1. At 1 the limit holds.
        keep_brightness: Whether to give back the removed light as grey. By default it is not: the known formulas darken
            spilled edges, and compositors put light of the new background there.
        reach: How far despill reaches from soft edges into the subject, in pixels, if it is given alpha. Light that
            wraps around an edge is a few pixels wide in HD; 16 leave room to fade out.

    Raises:
        InputError: If a value is out of range.

    Example:
        >>> ForegroundSettings(screen="green", margin=0).limit
        'average'
    """

    margin: int = 1
    gain_floor: float = 0.15
    screen: Screen = "off"
    limit: Limit = "average"
    strength: float = 1.0
    keep_brightness: bool = False
    reach: int = 16

    def __post_init__(self) -> None:
        for name, most in (("margin", FARTHEST), ("reach", DEEPEST)):
            value = getattr(self, name)
            if not (isinstance(value, int) and 0 <= value <= most):
                raise InputError(f"{name} must be a whole number from 0 to {most}, got {value!r}")
        for name, least in (("gain_floor", 0.01), ("strength", 0.0)):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and least <= value <= 1):
                raise InputError(f"{name} must be a number from {least:g} to 1, got {value!r}")
        for name, allowed in (("screen", SCREENS), ("limit", LIMITS), ("keep_brightness", (False, True))):
            value = getattr(self, name)
            if value not in allowed:
                words = ", ".join(repr(each) for each in allowed[:-1])
                raise InputError(f"{name} must be {words} or {allowed[-1]!r}, got {value!r}")


@torch.no_grad()
def estimate_foreground(frames: Tensor, alpha: Tensor, settings: ForegroundSettings | None = None) -> Tensor:
    """The subject's own colours, without the old background.

    Where alpha is 1 they are the plate's, bit by bit. Where alpha is 0 they are the nearest colours of the subject,
    extended over the frame: a filter that reaches over the edge, as in every change of size, then finds the subject's
    colours there. The plate in their place would bring the old background back. A frame without a subject is filled
    with the mean of its plate.

    Args:
        frames: The plate, ``[T, 3, H, W]``, any light, any range. Values above 1 and below 0 survive.
        alpha: ``[T, 1, H, W]``, 0..1, 1 = subject. It is not changed.
        settings: Only `margin` and `gain_floor` are used. ``None`` takes the defaults.

    Returns:
        Foreground ``[T, 3, H, W]``, straight (not premultiplied), in the plate's light and dtype, computed in float32. A
        frame depends only on itself and on `margin` frames before and after it.

    Raises:
        InputError: If the shapes do not fit, or values are not floating-point numbers.

    Example:
        >>> alpha = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
        >>> plate = (0.8 * alpha + 0.2 * (1 - alpha)).expand(-1, 3, -1, -1)  # light grey before dark grey
        >>> bool((estimate_foreground(plate, alpha) - 0.8).abs().max() < 0.03)
        True
    """
    settings = settings or ForegroundSettings()
    check(frames, alpha)
    if frames.numel() == 0:
        return frames.clone()
    height, width = frames.shape[2:]
    plates, shares = frames.float(), alpha.float()
    missing = (0, -width % 4, 0, -height % 4)
    if any(missing):
        plates, shares = (F.pad(each, missing, mode="replicate") for each in (plates, shares))
    colour, margin = room(*plates.shape, device=frames.device), min(settings.margin, len(frames) - 1)
    found: list[Found] = []
    for plate, share, into in zip(plates, shares, colour, strict=True):
        places, means, limits = estimate(plate.contiguous(), share.contiguous(), settings.gain_floor**2, into)
        if margin:
            small = compressed(means[1:4], limits)
            found.append(Found(share[0], places, small, noise(small)))
    if margin:
        steady(found, colour, margin)
    colour = colour[..., :height, :width].contiguous()
    return colour if frames.dtype == colour.dtype else torch.where(alpha >= 1, frames, colour.to(frames.dtype))


def check(frames: Tensor, alpha: Tensor) -> None:
    """Raise InputError unless frames ``[T, 3, H, W]`` and alpha ``[T, 1, H, W]`` fit each other."""
    if frames.ndim != 4 or frames.shape[1] != 3 or alpha.shape != (len(frames), 1, *frames.shape[2:]):
        raise InputError(
            f"colours must be [T, 3, H, W] and alpha [T, 1, H, W], with as many frames of the same size, "
            f"got {list(frames.shape)} and {list(alpha.shape)}"
        )
    if not frames.is_floating_point() or not alpha.is_floating_point():
        raise InputError(f"colours and alpha must be floating-point numbers, got {frames.dtype} and {alpha.dtype}")
