"""Constants of a finished model, folded into its weights: less to compute and to hold, the same numbers.

For running only: a network that learns keeps its parts. Errors were measured on random networks in float32: the folds
together stay within 1e-5 of the published layout's result.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from .unet import MattingUNet
from .vae import TemporalVAE

TOKENS = 2**15
"""Tokens that a feed-forward layer takes at once."""


@torch.no_grad()
def fold(unet: MattingUNet, vae: TemporalVAE) -> None:
    """Fold all there is, in place."""
    fold_cross_attention(unet)
    for module in unet.modules():
        if type(module) is FeedForward:
            module.__class__ = SlicedFeedForward
    for network in (unet, vae):
        fold_blenders(network)
    for block in vae.decoder.up_blocks:
        if block.upsamplers:
            block.upsamplers = nn.ModuleList([SubPixelUpsample(block.upsamplers[0].conv)])


def fold_cross_attention(unet: MattingUNet) -> None:
    """Attention to a single token of zeros gives its output's bias, whatever asks: that of the attention before it."""
    blocks: Any = unet.modules()
    for block in blocks:
        if getattr(block, "attn2", None) is not None:
            block.attn1.to_out[0].bias += block.attn2.to_out[0].bias
            block.attn2 = block.norm2 = None
    unet.cross_attention_dim = 1  # of the zeros that are still passed around


def fold_blenders(network: nn.Module) -> None:
    """A resnet over time adds a change to its input, so blending the two is adding a part of the change."""
    for block in network.modules():
        temporal: Any = getattr(block, "temporal_res_block", None)
        if temporal is not None and temporal.conv_shortcut is None:
            mixer: Any = block.time_mixer
            share = torch.sigmoid(mixer.mix_factor.float())
            share = share if mixer.switch_spatial_to_temporal_mix else 1 - share
            for parameter in temporal.conv2.parameters():
                parameter.copy_(parameter.float() * share)
            block.time_mixer = TakeTemporal()


class SlicedFeedForward(FeedForward):
    """A feed-forward layer that takes its tokens a slice at a time: inside it they are eight times as wide."""

    tokens_at_once = TOKENS

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """``[..., C]`` to the same shape."""
        tokens, each = hidden_states.flatten(0, -2), self.tokens_at_once
        if len(tokens) <= each:
            return super().forward(hidden_states)
        result = torch.empty_like(tokens)
        for first in range(0, len(tokens), each):
            result[first : first + each] = super().forward(tokens[first : first + each])
        return result.view_as(hidden_states)


class TakeTemporal(nn.Module):
    """Stands where a blender was whose share has gone into the layer before it."""

    def forward(self, x_spatial: Tensor, x_temporal: Tensor, image_only_indicator: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The second."""
        return x_temporal


class SubPixelUpsample(nn.Module):
    """Doubling by nearest neighbour and a 3x3 convolution, as four 2x2 convolutions of the small picture.

    Each output pixel sees a 2x2 neighbourhood before doubling: 16 of 36 products. (Shi et al., 2016, the other way.)

    Args:
        conv: The convolution that followed the doubling.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight = conv.weight.float()
        rows = torch.stack([gathered(weight, phase, dim=2) for phase in (0, 1)])
        phases = torch.stack([gathered(rows, phase, dim=4) for phase in (0, 1)], dim=1)  # [2, 2, O, I, 2, 2]
        bias: Any = conv.bias
        with torch.device("meta"):
            self.conv = nn.Conv2d(conv.in_channels, 4 * conv.out_channels, 2, padding=1)
        self.conv.weight = nn.Parameter(phases.flatten(0, 2).to(conv.weight), requires_grad=False)
        self.conv.bias = nn.Parameter(bias.repeat(4), requires_grad=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """``[N, C, h, w]`` to ``[N, C, 2h, 2w]``."""
        height, width = hidden_states.shape[-2:]
        phases = self.conv(hidden_states).unflatten(1, (2, 2, -1))
        result = phases.new_empty(len(phases), phases.shape[3], 2 * height, 2 * width)
        for down in (0, 1):
            for across in (0, 1):
                part = phases[:, down, across, :, down : down + height, across : across + width]
                result[:, :, down::2, across::2] = part
        return result


def gathered(weight: Tensor, phase: int, dim: int) -> Tensor:
    """Three taps along ``dim`` as the two they are before doubling, for the first or the second of two pixels."""
    first, second, third = weight.unbind(dim)
    pair = (first, second + third) if phase == 0 else (first + second, third)
    return torch.stack(pair, dim)
