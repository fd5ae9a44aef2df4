"""Finds the layers of a network that work over time, and starts a new network without their effect."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

TEMPORAL = ("temporal_res_block", "temporal_transformer_blocks", "time_pos_embed", "time_mixer", "time_conv_out")
LAST = ("temporal_res_block.conv2", "ff_in.net.2", "attn1.to_out.0", "ff.net.2", "time_pos_embed.linear_2")


def is_temporal(name: str) -> bool:
    """Whether the weight or module ``name`` works over time.

    Example:
        >>> is_temporal("down_blocks.0.resnets.0.temporal_res_block.conv1.weight"), is_temporal("conv_in.weight")
        (True, False)
    """
    return any(part in TEMPORAL for part in name.split("."))


def zero_temporal_layers(network: nn.Module) -> None:
    """Make the temporal layers of a new network have no effect at first, so that it can learn from single frames.

    The last layer of each temporal branch is set to zero. A final convolution over time is set to the identity.
    """
    with torch.no_grad():
        for name, module in network.named_modules():
            if is_temporal(name) and name.endswith(LAST):
                for parameter in module.parameters():
                    parameter.zero_()
            elif name.endswith("time_conv_out"):
                through: Any = module
                through.weight.zero_()
                through.weight[range(len(through.bias)), range(len(through.bias)), 1] = 1.0
                through.bias.zero_()
