"""The building blocks of the UNet and the VAE: residual blocks over space and over time, and attention.

``operations`` is the namespace that all layers with weights come from: `torch.nn`, or a host's own. Attributes have the
names of the published weights, so a state dict of the published files fits (see `fold`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from types import SimpleNamespace
from typing import Any

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Attention = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""``(query, key, value [N, tokens, C], heads) -> [N, tokens, C]``: scaled dot-product attention with several heads."""
GROUPS = 32
"""Number of groups of every GroupNorm."""


def bare(operations: Any = nn) -> SimpleNamespace:
    """The layers of ``operations`` without initial values, for networks whose weights come from a file.

    On torch's meta device, initial values would cost seconds, because torch imports its compiler for them.
    """
    names = ("Linear", "Conv2d", "Conv3d", "GroupNorm", "LayerNorm")
    return SimpleNamespace(
        **{name: type(name, (getattr(operations, name),), {"reset_parameters": lambda _: None}) for name in names}
    )


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Attention by torch's own kernels. A host may use another function of the same type; see `Attention`.

    Example:
        >>> import torch
        >>> attention(*torch.rand(3, 2, 5, 8), heads=4).shape
        torch.Size([2, 5, 8])
    """
    query, key, value = (rearrange(part, "n l (h c) -> n h l c", h=heads) for part in (query, key, value))
    return rearrange(F.scaled_dot_product_attention(query, key, value), "n h l c -> n l (h c)")


class Resnet(nn.Module):
    """Two convolutions and a shortcut: 3x3 over space ``[N, C, h, w]``, or three frames over time ``[B, C, T, h, w]``.

    Args:
        operations: Makes the layers.
        channels: Channels of the input.
        out: Channels of the output.
        eps: Epsilon of the normalisations.
        time_channels: Width of the embedded timestep; None for a resnet without a timestep.
        over_time: Convolve over time instead of over space.
    """

    def __init__(
        self, operations: Any, channels: int, out: int, eps: float, time_channels: int | None, over_time: bool = False
    ) -> None:
        super().__init__()
        conv, *shape = (operations.Conv3d, (3, 1, 1), 1, (1, 0, 0)) if over_time else (operations.Conv2d, 3, 1, 1)
        self.norm1 = operations.GroupNorm(GROUPS, channels, eps)
        self.conv1 = conv(channels, out, *shape)
        self.time_emb_proj = operations.Linear(time_channels, out) if time_channels else None
        self.norm2 = operations.GroupNorm(GROUPS, out, eps)
        self.conv2 = conv(out, out, *shape)
        self.conv_shortcut = conv(channels, out, 1) if channels != out else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """``x`` to ``out`` channels; ``time`` is an embedded timestep for each frame, ``[B*T, C]``."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None and time is not None:
            shift = self.time_emb_proj(F.silu(time)).unflatten(0, (len(x), -1)).mT  # [N, C, 1] or [B, C, T]
            hidden = hidden + shift[(..., *[None] * (x.ndim - 3))]
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + hidden


class SpatioTemporalResnet(nn.Module):
    """A resnet over space, then a resnet over time. The blend of both is folded into the last layer (see `fold`)."""

    def __init__(
        self,
        operations: Any,
        channels: int,
        out: int,
        eps: float,
        time_channels: int | None = None,
        temporal_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.spatial_res_block = Resnet(operations, channels, out, eps, time_channels)
        self.temporal_res_block = Resnet(operations, out, out, temporal_eps or eps, time_channels, over_time=True)

    def forward(self, x: Tensor, frames: int | None, time: Tensor | None = None) -> Tensor:
        """``[B*T, C, h, w]``; ``frames`` is T, the frames of each clip. None leaves out the layers over time."""
        x = self.spatial_res_block(x, time)
        if frames is None:
            return x
        clips = rearrange(x, "(b t) c h w -> b c t h w", t=frames)
        return rearrange(self.temporal_res_block(clips, time), "b c t h w -> (b t) c h w")


class Downsample(nn.Module):
    """Half the height and width, by a convolution with stride 2.

    Args:
        operations: Makes the layers.
        channels: Channels of the input and the output.
        centred: Pad by one pixel on all sides, as the UNet does. If False, pad only below and on the right, as the
            encoder does.
    """

    def __init__(self, operations: Any, channels: int, centred: bool) -> None:
        super().__init__()
        self.centred = centred
        self.conv = operations.Conv2d(channels, channels, 3, stride=2, padding=int(centred))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, h, w]`` to ``[N, C, h / 2, w / 2]``. The UNet rounds odd sizes up, the encoder rounds them down."""
        return self.conv(x if self.centred else F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """The layers at one size: resnets, attention after every resnet or after none, and the step to the next size."""

    def __init__(
        self,
        resnets: Iterable[nn.Module],
        attentions: Iterable[nn.Module] = (),
        down: nn.Module | None = None,
        up: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(attentions)
        self.downsamplers = nn.ModuleList([down] if down else [])
        self.upsamplers = nn.ModuleList([up] if up else [])

    def layers(self) -> Iterator[tuple[nn.Module, nn.Module | None]]:
        """Each resnet, with the attention after it or None."""
        return zip_longest(self.resnets, self.attentions)
