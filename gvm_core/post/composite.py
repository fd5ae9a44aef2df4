"""Composite a subject over another background, and fit that background: its size, its length, its light."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import InputError
from .color import linear_to_srgb, srgb_to_linear
from .expand import feather
from .resize import resize

Placing = Literal["cover", "contain", "stretch"]
Length = Literal["hold", "loop", "trim"]


def over(
    foreground: Tensor, alpha: Tensor, background: Tensor, *, premultiplied: bool = False, linear_light: bool = False
) -> Tensor:
    """Composite a foreground over a background: ``F * a + B * (1 - a)`` (Porter and Duff, 1984).

    Args:
        foreground: ``[..., 3, H, W]``, any range; straight, unless ``premultiplied``.
        alpha: ``[..., 1, H, W]`` in 0..1, 1 = foreground.
        background: ``[..., 3, H, W]``, in the same light as ``foreground``.
        premultiplied: ``foreground`` is already multiplied by alpha, in its own light: ``F + B * (1 - a)``.
        linear_light: Treat both pictures as sRGB and mix them in linear light, as a camera would.

    Returns:
        Composite ``[..., 3, H, W]``, in the light of the inputs.

    Example:
        >>> over(torch.ones(3, 1, 1), torch.tensor([[[0.25]]]), torch.zeros(3, 1, 1)).flatten().tolist()
        [0.25, 0.25, 0.25]
    """
    if linear_light:
        straight = unpremultiply(foreground, alpha) if premultiplied else foreground
        return linear_to_srgb(over(srgb_to_linear(straight), alpha, srgb_to_linear(background)))
    return (foreground if premultiplied else foreground * alpha) + background * (1 - alpha)


def premultiply(colour: Tensor, alpha: Tensor) -> Tensor:
    """Premultiplied colour from straight colour ``[..., 3, H, W]`` and alpha ``[..., 1, H, W]``, in the same light."""
    return colour * alpha


def unpremultiply(colour: Tensor, alpha: Tensor) -> Tensor:
    """Straight colour from premultiplied colour ``[..., 3, H, W]`` and alpha ``[..., 1, H, W]``; 0 where alpha is 0.

    Example:
        >>> unpremultiply(torch.full((3, 1, 2), 0.25), torch.tensor([[[0.5, 0.0]]]))[0].tolist()
        [[0.5, 0.0]]
    """
    return torch.where(alpha > 0, colour / alpha.clamp(min=1e-6), 0.0)


def straightened(picture: Tensor) -> Tensor:
    """A premultiplied picture ``[4, H, W]`` with straight colour. Where alpha is 0, colour stays as it is.

    So a plate whose alpha was saved empty keeps its picture.

    Example:
        >>> picture = torch.tensor([[0.25, 0.25], [0.25, 0.25], [0.25, 0.25], [0.5, 0.0]]).view(4, 1, 2)
        >>> straightened(picture)[0].tolist()
        [[0.5, 0.25]]
    """
    colour, alpha = picture[:3], picture[3:]
    return torch.cat([torch.where(alpha > 0, unpremultiply(colour, alpha), colour), alpha])


def light_wrap(
    composite: Tensor, alpha: Tensor, background: Tensor, radius: float, strength: float, *, linear_light: bool = False
) -> Tensor:
    """Let the light of the background spill over the subject's edges, as behind a person before a window.

    The background beside the subject is blurred and screened over the inner edge: ``C + L * (1 - C)``.

    Args:
        composite: The subject over the background, ``[T, 3, H, W]``.
        alpha: ``[T, 1, H, W]`` in 0..1.
        background: ``[T, 3, H, W]`` or ``[1, 3, H, W]``, in the same light.
        radius: How far the light comes in, in pixels.
        strength: 0 for none, 1 for all of it.
        linear_light: As for `over`.

    Returns:
        ``[T, 3, H, W]``. It is nowhere darker than ``composite``, and the same where alpha is 0.

    Example:
        >>> dark, alpha = torch.zeros(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
        >>> alpha[..., :4] = 0
        >>> lit = light_wrap(dark, alpha, torch.ones(1, 3, 8, 8), radius=2, strength=1)
        >>> bool(lit[..., 4:6].min() > lit[..., 7].max()), bool((lit[..., :4] == 0).all())
        (True, True)
    """
    if strength == 0 or radius == 0:
        return composite
    if linear_light:
        there = (srgb_to_linear(composite), alpha, srgb_to_linear(background))
        return linear_to_srgb(light_wrap(*there, radius, strength))
    beside = (background * (1 - alpha)).flatten(0, 1)[:, None]
    light = feather(beside, radius).view_as(composite) * alpha * strength
    return composite + light.clamp(min=0) * (1 - composite).clamp(min=0)


def placed(pictures: Tensor, size: tuple[int, int], how: Placing = "cover") -> Tensor:
    """Pictures ``[T, C, h, w]`` at another size, ``[T, C, H, W]``.

    Args:
        pictures: In any light.
        size: The wanted height and width.
        how: "cover" keeps the shape and cuts what does not fit, "contain" keeps the shape and leaves borders of 0,
            "stretch" changes the shape.

    Example:
        >>> [placed(torch.ones(1, 3, 10, 10), (4, 8), how)[0, 0].sum().item() for how in ("cover", "contain", "stretch")]
        [32.0, 16.0, 32.0]
    """
    height, width = pictures.shape[-2:]
    if how == "stretch":
        return resize(pictures, size)
    ratios = (size[0] / height, size[1] / width)
    scale = max(ratios) if how == "cover" else min(ratios)
    if how == "cover":
        rows, columns = (max(min(round(edge / scale), own), 1) for edge, own in zip(size, (height, width), strict=True))
        top, left = (height - rows) // 2, (width - columns) // 2
        return resize(pictures[:, :, top : top + rows, left : left + columns], size)
    rows, columns = (max(min(round(own * scale), edge), 1) for edge, own in zip(size, (height, width), strict=True))
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    result = pictures.new_zeros(*pictures.shape[:2], *size)
    result[:, :, top : top + rows, left : left + columns] = resize(pictures, (rows, columns))
    return result


def index_in(index: int, count: int, length: Length) -> int:
    """Which of ``count`` pictures stands behind frame ``index``: the last one is held, or they begin again.

    Example:
        >>> [index_in(index, 3, "hold") for index in range(5)], [index_in(index, 3, "loop") for index in range(5)]
        ([0, 1, 2, 2, 2], [0, 1, 2, 0, 1])
    """
    return index % count if length == "loop" else min(index, count - 1)


def checker(height: int, width: int, square: int = 16) -> Tensor:
    """The grey checkerboard that shows transparency, ``[3, height, width]``, sRGB.

    Example:
        >>> checker(2, 4, square=2)[0, 0].tolist()
        [0.6000000238418579, 0.6000000238418579, 0.4000000059604645, 0.4000000059604645]
    """
    rows = torch.arange(height)[:, None] // square
    columns = torch.arange(width)[None] // square
    return torch.where((rows + columns) % 2 == 0, 0.6, 0.4).expand(3, -1, -1)


def parse_color(text: str) -> Tensor:
    """``#rgb`` or ``#rrggbb`` to ``[3]``, sRGB 0..1.

    Raises:
        InputError: For anything else.

    Example:
        >>> parse_color("#ff0033").tolist()
        [1.0, 0.0, 0.20000000298023224]
    """
    digits = text.strip().removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    try:
        levels = bytes.fromhex(digits)
    except ValueError:
        levels = b""
    if len(levels) != 3:
        raise InputError(f"{text!r} is not a colour; write #rrggbb, for example #00b140")
    return torch.tensor(list(levels), dtype=torch.float32) / 255
