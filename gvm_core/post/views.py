"""Pictures of a matte for the eye: the matte itself, its status, its edges, its changes, and the subject over something."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import InputError
from .composite import checker, over
from .resize import resize

View = Literal["over", "matte", "status", "edges", "difference", "side by side"]
NEARLY = 0.02
"""Alpha nearer to 0 or 1 than this, but not there, is shown in colour by `status`: mostly it should be there."""
ALMOST_BLACK, ALMOST_WHITE = (0.1, 0.2, 0.7), (0.9, 0.45, 0.1)
GAIN = 4.0
"""How much `difference` is amplified."""
REVIEWED = 1920
"""The larger edge of frames in `stacked`, at most."""


def view(
    name: View, frames: Tensor, alpha: Tensor, before: Tensor | None = None, behind: Tensor | None = None
) -> Tensor:
    """One view of frames and their mattes.

    Args:
        name: "over": the subject over ``behind``. "matte": alpha in grey. "status": see `status`. "edges": see `edges`.
            "difference": see `difference`. "side by side": the frame, the matte and the subject over ``behind``.
        frames: ``[T, 3, H, W]``, sRGB, straight.
        alpha: ``[T, 1, H, W]`` in 0..1.
        before: The matte before the first one, ``[1, 1, H, W]``; None at the begin of a clip.
        behind: The background, ``[1, 3, H, W]`` or ``[T, 3, H, W]``; None for a checkerboard.

    Returns:
        ``[T, 3, H, W]``, sRGB; "side by side" is three times as wide.

    Raises:
        InputError: If there is no view of this name.

    Example:
        >>> frames, alpha = torch.rand(2, 3, 4, 6), torch.rand(2, 1, 4, 6)
        >>> view("status", frames, alpha).shape, view("side by side", frames, alpha).shape
        (torch.Size([2, 3, 4, 6]), torch.Size([2, 3, 4, 18]))
    """
    if name not in get_args(View):
        raise InputError(f"there is no view {name!r}; there are {', '.join(get_args(View))}")
    grey = alpha.clamp(0, 1).expand(-1, 3, -1, -1)
    if name == "matte":
        return grey
    if name == "status":
        return status(alpha)
    if name == "edges":
        return edges(frames, alpha)
    if name == "difference":
        return difference(alpha, before)
    ground = checker(*frames.shape[-2:])[None].to(frames) if behind is None else behind.to(frames)
    composite = over(frames, alpha, ground)
    return composite if name == "over" else torch.cat([frames, grey, composite], dim=3)


def status(alpha: Tensor) -> Tensor:
    """A matte in false colours: black for 0, white for 1, grey between, as in Keylight's status.

    Blue is nearly 0 and orange nearly 1: what cleaning black and white would change.

    Args:
        alpha: ``[T, 1, H, W]`` in 0..1.

    Returns:
        ``[T, 3, H, W]``, sRGB.

    Example:
        >>> colours = status(torch.tensor([0.0, 0.01, 0.5, 0.99, 1.0]).view(1, 1, 1, 5))[0, :, 0]
        >>> [tuple(round(level, 2) for level in colour) for colour in colours.T.tolist()]
        [(0.0, 0.0, 0.0), (0.1, 0.2, 0.7), (0.5, 0.5, 0.5), (0.9, 0.45, 0.1), (1.0, 1.0, 1.0)]
    """
    colours = torch.where((alpha > 0) & (alpha < 1), 0.5, (alpha >= 1).to(alpha)).repeat(1, 3, 1, 1)
    for colour, where in (
        (ALMOST_BLACK, (alpha > 0) & (alpha < NEARLY)),
        (ALMOST_WHITE, (alpha < 1) & (alpha > 1 - NEARLY)),
    ):
        colours = torch.where(where, colours.new_tensor(colour).view(1, 3, 1, 1), colours)
    return colours


def edges(frames: Tensor, alpha: Tensor) -> Tensor:
    """Frames where the matte is soft, and black elsewhere: ``4 a (1 - a)`` times the frame, ``[T, 3, H, W]``."""
    return frames * (4 * alpha * (1 - alpha)).clamp(0, 1)


def stacked(frames: Tensor, alpha: Tensor, largest: int = REVIEWED) -> Tensor:
    """Frames above their mattes in grey, in one picture: what the player of the nodes shows.

    Width and height of both are even, as videos need them. Large ones are scaled down.

    Args:
        frames: ``[T, 3, H, W]``, sRGB, straight.
        alpha: ``[T, 1, H, W]`` in 0..1.
        largest: Of width and height, in pixels.

    Returns:
        ``[T, 3, 2 * h, w]`` in 0..1.

    Example:
        >>> stacked(torch.rand(2, 3, 75, 101), torch.rand(2, 1, 75, 101)).shape
        torch.Size([2, 3, 152, 102])
        >>> stacked(torch.rand(1, 3, 300, 400), torch.rand(1, 1, 300, 400), largest=200).shape
        torch.Size([1, 3, 300, 200])
    """
    return torch.cat([reduced(each, largest) for each in (frames, alpha.expand(-1, 3, -1, -1))], dim=2)


def reduced(pictures: Tensor, largest: int = REVIEWED) -> Tensor:
    """``[T, C, H, W]`` in 0..1, at the size they have in `stacked`."""
    height, width = pictures.shape[-2:]
    scale = min(1, largest / max(height, width))
    size = [2 * max(math.ceil(edge * scale / 2), 1) for edge in (height, width)]
    return resize(pictures.clamp(0, 1), (size[0], size[1]))


def difference(alpha: Tensor, before: Tensor | None = None) -> Tensor:
    """What changed since the frame before: red where alpha grew, blue where it shrank, `GAIN` times as strong.

    Args:
        alpha: ``[T, 1, H, W]``.
        before: The matte before the first one, ``[1, 1, H, W]``; without it the first frame shows no change.

    Returns:
        ``[T, 3, H, W]`` in 0..1.
    """
    change = GAIN * alpha.diff(dim=0, prepend=alpha[:1] if before is None else before)
    return torch.cat([change, torch.zeros_like(change), -change], dim=1).clamp(0, 1)
