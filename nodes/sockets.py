"""Socket types, and conversion of ComfyUI's tensor layouts to the core's."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ..gvm_core.errors import InputError
from ..gvm_core.frames import Clip
from ..gvm_core.post.combine import fitted
from ..gvm_core.post.resize import Fit
from ..gvm_core.windows import WindowPlan

log = logging.getLogger(__name__)

GVMModel = io.Custom("GVM_MODEL")
GVMLatents = io.Custom("GVM_LATENTS")
GVMAlphaLatents = io.Custom("GVM_ALPHA_LATENTS")

CATEGORY = "GVM"


@dataclass(frozen=True)
class Latents:
    """Latents of a clip, as the three stage nodes pass them on.

    Attributes:
        clip: ``[T, 4, h, w]``.
        fit: How the frames were scaled and padded, to undo it after decoding.
        plan: The windows in which the latents were denoised. Not used before denoising.
    """

    clip: Clip
    fit: Fit
    plan: WindowPlan = WindowPlan()


def schema(**fields: Any) -> io.Schema:
    """A node schema in category GVM, without the fields that an old ComfyUI does not know."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(category=CATEGORY, **{name: value for name, value in fields.items() if name in known})


def to_frames(images: Tensor) -> Tensor:
    """IMAGE ``[B, H, W, 3]`` to frames ``[T, 3, H, W]``."""
    if images.ndim != 4 or len(images) == 0:
        raise InputError(f"the IMAGE input is empty or malformed: its shape is {list(images.shape)}, not [B, H, W, 3]")
    if images.shape[-1] == 4:
        raise InputError("the images have an alpha channel (RGBA); put Split Image with Alpha before this node")
    return rearrange(images, "b h w c -> b c h w")


def to_mask(alpha: Tensor) -> Tensor:
    """Alpha ``[T, 1, H, W]`` to MASK ``[B, H, W]``, 1 = subject."""
    return alpha[:, 0]


def to_alpha(mask: Tensor) -> Tensor:
    """MASK ``[B, H, W]`` or ``[H, W]`` to alpha ``[T, 1, H, W]``."""
    if mask.ndim not in (2, 3):
        raise InputError(f"a MASK must be [B, H, W] or [H, W], got {list(mask.shape)}")
    return mask.reshape(-1, 1, *mask.shape[-2:]).to(torch.float32)


def to_masks(region: Tensor | None) -> Tensor | None:
    """An optional MASK ``[B, H, W]`` or ``[H, W]`` to ``[B, H, W]``."""
    return None if region is None else to_alpha(region)[:, 0]


def matched(mask: Tensor, images: Tensor | None) -> tuple[Tensor, Tensor]:
    """Frames ``[T, 3, H, W]`` and their mattes ``[T, 1, H, W]``; without images, black frames that take no memory."""
    alpha = to_alpha(mask)
    if images is None:
        return alpha.new_zeros(1, 1, 1, 1).expand(len(alpha), 3, *alpha.shape[-2:]), alpha
    frames = to_frames(images)
    alpha, note = fitted(alpha, (frames.shape[2], frames.shape[3]), len(frames), "the mask")
    if note:
        log.info(note)
    return frames, alpha.expand(len(frames), -1, -1, -1)
