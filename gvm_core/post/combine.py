"""Combines a matte with other mattes and masks: what to add, to keep, to leave out."""

from __future__ import annotations

from torch import Tensor

from ..errors import InputError
from .expand import expand, feather
from .resize import resize

CORE = 4.0
"""Pixels that are taken off an added mask by default: about as wide as the soft edge of a subject."""


def combine(
    alpha: Tensor,
    *,
    add: Tensor | None = None,
    holdout: Tensor | None = None,
    intersect: Tensor | None = None,
    subtract: Tensor | None = None,
    garbage: Tensor | None = None,
    core: float = CORE,
) -> Tensor:
    """Combine a matte with masks, in this order: add, holdout, intersect, subtract, garbage. The last one wins.

    Every mask is ``[1, 1, H, W]`` for all frames, or ``[T, 1, H, W]``, in 0..1, of the size of ``alpha``; see `fitted`.

    Args:
        alpha: The matte, ``[T, 1, H, W]``.
        add: What the matte lost, such as an object in a hand. Only its core is added, by the maximum: mostly it is a hard
            mask, whose rim would stand out in the soft edges of the matte.
        holdout: What is subject for certain (Keylight's inside mask). It is added as it is.
        intersect: The matte stays only where this mask is, too: the minimum of both.
        subtract: Another matte that is taken away: ``alpha * (1 - subtract)``, as one subject before another.
        garbage: What is background for certain (Keylight's outside mask): ``alpha * (1 - garbage)``.
        core: How many pixels are taken off the rim of ``add``. The new rim is soft. 0 adds all of it.

    Returns:
        ``[T, 1, H, W]``. Without any mask, ``alpha`` as it is.

    Raises:
        InputError: If ``core`` is below 0, or a mask has another size or number of frames.

    Example:
        >>> import torch
        >>> matte, mask = torch.tensor([[[[0.2, 0.6]]]]), torch.tensor([[[[0.5, 0.5]]]])
        >>> combine(matte, add=mask, core=0).flatten().tolist(), combine(matte, garbage=mask).flatten().tolist()
        ([0.5, 0.6000000238418579], [0.10000000149011612, 0.30000001192092896])
    """
    if core < 0:
        raise InputError(f"core must be at least 0 pixels, got {core}")
    masks = {"add": add, "holdout": holdout, "intersect": intersect, "subtract": subtract, "garbage": garbage}
    for name, mask in masks.items():
        if mask is not None and (len(mask) not in (1, len(alpha)) or mask.shape[1:] != alpha.shape[1:]):
            raise InputError(
                f"the mask {name} is {list(mask.shape)}, but the matte is {list(alpha.shape)}; masks must have the size of "
                "the matte, and one frame or as many as the matte"
            )
    if add is not None:
        alpha = alpha.maximum(core_of(add, core))
    if holdout is not None:
        alpha = alpha.maximum(holdout)
    if intersect is not None:
        alpha = alpha.minimum(intersect)
    for mask in (subtract, garbage):
        alpha = alpha if mask is None else alpha * (1 - mask)
    return alpha


def core_of(mask: Tensor, core: float) -> Tensor:
    """A mask ``[T, 1, H, W]`` without its rim of ``core`` pixels. The new rim is soft, and nowhere above the mask."""
    if core == 0:
        return mask
    return feather(expand(mask, -core), core / 2).minimum(mask)


def fitted(mask: Tensor, size: tuple[int, int], frames: int, name: str) -> tuple[Tensor, str]:
    """A mask ``[N, 1, h, w]`` for mattes of ``size``, and a note if it was scaled.

    Args:
        mask: One frame for all, or as many as ``frames``.
        size: Height and width of the matte.
        frames: Number of frames of the matte.
        name: Name of the mask, for the messages.

    Returns:
        The mask ``[N, 1, H, W]`` and the note, which is empty if the mask has this size already.

    Raises:
        InputError: If it has another number of frames.
    """
    if len(mask) not in (1, frames):
        raise InputError(f"{name} has {len(mask)} frames, but there are {frames}; give 1, or one for each frame")
    height, width = mask.shape[-2:]
    if (height, width) == size:
        return mask, ""
    return resize(mask, size), f"{name} is {width}x{height}, so it was scaled to {size[1]}x{size[0]}"
