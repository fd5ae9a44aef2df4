"""Remove the light of a green or blue screen from the subject's colours."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .foreground import ForegroundSettings, check
from .guided import local_mean

CHANNEL = {"green": 1, "blue": 2}
LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Shares of the channels in luminance (ITU-R BT.709)."""

NOWHERE = 0.05
"""Alpha up to this is background."""
SAMPLES = 2**16
"""About how many pixels decide on a screen."""
FEWEST = 64
"""Fewer background pixels than this decide nothing."""
DARKEST = 0.1
"""A screen is brighter than this in its channel; below it, colours are noise."""
PURITY = {"green": 0.3, "blue": 0.5}
"""How far a screen's channel is above the others, as a share of itself, in sRGB. Grass has 0.3 and less, a sky 0.45 and
less; screens are painted to have more, and lit."""
YELLOWEST = 0.2
"""How much more red than blue a green screen may have, as a share of its green. Plants have more."""
UNEVEN = 0.12
"""Half of a screen's pixels differ from its colour by less than this, whatever light falls on them."""
MOST = 0.5
"""Share of the background that a screen takes at least. The rest may be stands, lamps and floor."""


@torch.no_grad()
def despill(colour: Tensor, settings: ForegroundSettings, alpha: Tensor | None = None) -> Tensor:
    """Limit the screen's channel by the other two, as keyers do (Wright, Digital Compositing for Film and Video, 2010).

    ========================  =========================================  ==============================
    `limit`                   green is at most (blue likewise)           known as
    ========================  =========================================  ==============================
    ``"average"``             ``(red + blue) / 2``                       average; Fusion's "Well Done"
    ``"double average"``      ``(2 * larger + smaller) / 3`` of the two  double red, or double blue average,
                                                                         whichever spares more
    ``"maximum"``             ``max(red, blue)``                         maximum; Fusion's "Rare"
    ========================  =========================================  ==============================

    Args:
        colour: ``[T, 3, H, W]``, straight, any light, any range; nothing is clamped.
        settings: `screen`, `limit`, `strength`, `keep_brightness`, and `reach` if there is alpha.
        alpha: ``[T, 1, H, W]``, 0..1. If it is given, only soft pixels and their surroundings change: opaque pixels
            change less the farther inside they are, and not at all from `reach` pixels on. So a green dress stays green.

    Returns:
        ``[T, 3, H, W]``. With ``screen="off"`` or without strength, ``colour`` itself.

    Raises:
        InputError: If the screen is still ``"auto"``, or shapes do not fit.

    Example:
        >>> spilled = torch.tensor([0.4, 0.9, 0.2]).view(1, 3, 1, 1)
        >>> despill(spilled, ForegroundSettings(screen="green")).flatten().tolist()
        [0.4000000059604645, 0.30000001192092896, 0.20000000298023224]
    """
    if settings.screen == "auto":
        raise InputError("the screen is still 'auto': decide it once for the clip with screen_of, then set it")
    check(colour, colour[:, :1] if alpha is None else alpha)
    if settings.screen == "off" or settings.strength == 0:
        return colour
    channel = CHANNEL[settings.screen]
    red, screen, third = (colour[:, each : each + 1] for each in (0, channel, 3 - channel))
    spill = (screen - limit_of(red, third, settings.limit)).clamp(min=0) * settings.strength
    if alpha is not None:
        spill = spill * edge_share(alpha, settings.reach)
    found = colour.clone()
    found[:, channel : channel + 1] -= spill
    if settings.keep_brightness:
        found += LUMINANCE[channel] * spill
    return found


def limit_of(one: Tensor, other: Tensor, limit: str) -> Tensor:
    """What the screen's channel may be at most, from the two other channels."""
    if limit == "average":
        return (one + other) / 2
    larger = torch.maximum(one, other)
    return larger if limit == "maximum" else (one + other + larger) / 3


def edge_share(alpha: Tensor, reach: int) -> Tensor:
    """How near pixels are to something that is not opaque, 1 to 0, ``[T, 1, H, W]``.

    It is 1 outside of the subject, on its edge, and over a third of ``reach``; it is 0 more than ``reach`` pixels from
    the edge. A small hole in the matte counts as far as one can see through it.

    Example:
        >>> alpha = torch.tensor([0.0, 0.5, 1, 1, 1, 1, 1, 1]).view(1, 1, 1, 8)
        >>> [round(value, 2) for value in edge_share(alpha, 3).flatten().tolist()]
        [1.0, 1.0, 0.83, 0.5, 0.17, 0.0, 0.0, 0.0]
    """
    radius, rest = reach // 3, reach - reach // 3
    outside = 1 - alpha.clamp(0, 1)
    outside = F.max_pool2d(outside, (2 * rest + 1, 1), stride=1, padding=(rest, 0))
    outside = F.max_pool2d(outside, (1, 2 * rest + 1), stride=1, padding=(0, rest))
    return local_mean(outside, radius)


@torch.no_grad()
def screen_of(frames: Tensor, alpha: Tensor) -> Literal["green", "blue", "off"]:
    """Which screen the subject stands before, by the pixels of the background.

    Decide once for a clip, with some of its frames, and set the answer: a decision for each frame could change within a
    shot. A background is a screen if at least half of it has one pure, even green or blue. The limits are made for
    sRGB. In linear light colours are purer: there a deep sky may count as a screen.

    Args:
        frames: The plate, ``[T, 3, H, W]``.
        alpha: ``[T, 1, H, W]``, 0..1.

    Returns:
        The screen, or ``"off"`` if there is none, or too little background to tell.

    Raises:
        InputError: If shapes do not fit.

    Example:
        >>> studio = torch.tensor([0.1, 0.7, 0.25]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
        >>> screen_of(studio, torch.zeros(1, 1, 32, 32))
        'green'
    """
    check(frames, alpha)
    step = max(1, round((alpha.numel() / SAMPLES) ** 0.5))
    colour, share = frames[..., ::step, ::step].float(), alpha[..., ::step, ::step]
    behind = colour.movedim(1, -1)[share[:, 0] <= NOWHERE]  # [N, 3]
    behind = behind[behind.isfinite().all(dim=1)]
    if len(behind) < FEWEST:
        return "off"
    for screen, channel in CHANNEL.items():
        level = behind[:, channel]
        ratios = behind[:, (0, 3 - channel)] / level.clamp(min=DARKEST)[:, None]  # the two other channels
        pure = (level >= DARKEST) & (ratios.amax(dim=1) <= 1 - PURITY[screen])
        if pure.sum() < MOST * len(behind):
            continue
        ratios = ratios[pure]
        usual = ratios.median(dim=0).values
        spread = (ratios - usual).abs().amax(dim=1).median()
        yellow = usual[0] - usual[1] if screen == "green" else usual.new_zeros(())
        if spread <= UNEVEN and yellow <= YELLOWEST:
            return screen  # pyright: ignore[reportReturnType]
    return "off"
