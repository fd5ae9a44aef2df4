"""What training trips over on a processor, in bfloat16 most of all: half the time of float32 where it is made for it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class FloatGroupNorm(nn.GroupNorm):
    """A GroupNorm that computes in float32 at least: in bfloat16 its gradient is four times slower on a CPU.

    Its input is made contiguous: for one with channels last that needs no gradient itself, torch 2.13 crashes.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``[B, C, ...]`` and give it back in the precision it came in."""
        precise = torch.promote_types(input.dtype, torch.float32)
        return super().forward(input.to(precise).contiguous()).to(input.dtype)


class TemporalConv(nn.Conv3d):
    """A convolution over time alone, ``(k, 1, 1)`` with padding, as one over the plane of time and place.

    The same numbers; but the gradient of its weights is garbage in bfloat16 on a CPU when computed in three dimensions
    (seen with torch 2.13: non-finite values at random places for clips of two frames).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Filter ``[B, C, T, H, W]`` along ``T``."""
        time = cast(tuple[int, ...], self.padding)[0]
        filtered = conv2d(input.flatten(3), self.weight[..., 0], self.bias, padding=(time, 0))
        return filtered.unflatten(3, input.shape[3:])


class TrainingLayers:
    """The layers that training on a processor builds networks of; named as in `torch.nn`, with the same weights."""

    Linear, Conv2d, LayerNorm = nn.Linear, nn.Conv2d, nn.LayerNorm
    Conv3d, GroupNorm = TemporalConv, FloatGroupNorm
