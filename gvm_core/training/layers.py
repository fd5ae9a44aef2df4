"""Which layers of a network look along time, and how to leave them out while it learns from single frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

TEMPORAL = ("temporal_res_block", "temporal_transformer_blocks", "time_pos_embed", "time_mixer", "time_conv_out")
LAST = ("temporal_res_block.conv2", "ff_in.net.2", "attn1.to_out.0", "attn2.to_out.0", "ff.net.2", "time_pos_embed.linear_2")  # fmt: skip


def is_temporal(name: str) -> bool:
    """Whether the weight or module of this name looks along time.

    Example:
        >>> is_temporal("down_blocks.0.resnets.0.temporal_res_block.conv1.weight"), is_temporal("conv_in.weight")
        (True, False)
    """
    return any(part in TEMPORAL for part in name.split("."))


def begin_still(network: nn.Module) -> None:
    """Have a new network's layers over time begin as doing nothing, so that it can learn from single frames first.

    The last layer of each of their branches is zeroed; a last convolution over time passes frames through.
    """
    with torch.no_grad():
        for name, module in network.named_modules():
            if is_temporal(name) and name.endswith(LAST):
                for parameter in module.parameters():
                    parameter.zero_()
            elif name.endswith("time_conv_out"):
                through: Any = module
                through.weight.zero_()
                through.weight[range(3), range(3), 1] = 1.0
                through.bias.zero_()


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Pass over the layers that look along time: half of the work for single frames.

    Exact for a network fresh from `begin_still`; for another it is the network on frames by themselves, as far as its
    spatial layers alone know it.
    """
    passed = []
    for module in network.modules():
        parts = dict(module.named_children())
        if "time_mixer" not in parts:
            continue
        for name, part in parts.items():
            if name == "time_mixer":
                part.forward = keep_spatial
                passed.append(part)
            elif name == "temporal_res_block":
                part.forward = keep_first
                passed.append(part)
            elif name == "temporal_transformer_blocks":
                for block in part.children():
                    block.forward = keep_first
                    passed.append(block)
    try:
        yield
    finally:
        for part in passed:
            del part.forward


def keep_first(hidden_states: Any, *_: Any, **__: Any) -> Any:
    """What goes in comes out."""
    return hidden_states


def keep_spatial(x_spatial: Any, **_: Any) -> Any:
    """Of what was found in the frame and what was found along time, the first."""
    return x_spatial
