"""Layers that avoid slow or wrong gradients of torch on CPUs, mostly in bfloat16."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class FloatGroupNorm(nn.GroupNorm):
    """A GroupNorm that computes at least in float32: in bfloat16 its gradient is four times slower on a CPU.

    Its input is made contiguous, because torch 2.13 crashes on a channels-last input that needs no gradient.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``[B, C, ...]``; the result has the precision of the input."""
        precise = torch.promote_types(input.dtype, torch.float32)
        return super().forward(input.to(precise).contiguous()).to(input.dtype)


class TemporalConv(nn.Conv3d):
    """A convolution over time only, ``(k, 1, 1)`` with padding, computed as a 2D convolution.

    The result is the same. In bfloat16 on a CPU the 3D convolution gives wrong weight gradients (in torch 2.13,
    non-finite values at random positions for clips of two frames).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Filter ``[B, C, T, H, W]`` along ``T``."""
        time = cast(tuple[int, ...], self.padding)[0]
        filtered = conv2d(input.flatten(3), self.weight[..., 0], self.bias, padding=(time, 0))
        return filtered.unflatten(3, input.shape[3:])


class TrainingLayers:
    """The layers of networks that are trained on a CPU, with the names and weights of `torch.nn`."""

    Linear, Conv2d, LayerNorm = nn.Linear, nn.Conv2d, nn.LayerNorm
    Conv3d, GroupNorm = TemporalConv, FloatGroupNorm
