"""The matting UNet: Stable Video Diffusion's video UNet without its text, image and camera conditioning.

It does not handle windows, noise or devices. The diagram shows SVD's size. R is a resnet and A is a transformer, each
over space and then over time::

    [B, T, 8, h, w] -> conv_in                            conv_out -> [B, T, 4, h, w]
    320 wide   1/1     R A  R A  halve   --- skips --->   R A  R A  R A
    640        1/2     R A  R A  halve   --- skips --->   R A  R A  R A  double
    1280       1/4     R A  R A  halve   --- skips --->   R A  R A  R A  double
    1280       1/8     R    R            --- skips --->   R    R    R    double
                                  middle: R A R

The timestep is embedded once and given to every resnet. The skips are the outputs of `conv_in`, of every R or R A, and
of every halving on the way down. Each R on the way up takes the latest unused skip as extra input. A resnet's blend of
space and time is folded into its weights (see `fold`); a transformer uses `Blend`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..execution import Variant
from ..host.base import Network
from .blocks import GROUPS, Attention, Downsample, Level, SpatioTemporalResnet, attention

SVD = {
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
}
"""SVD's values, used for keys that a configuration lacks."""
ATTENDS = {
    "CrossAttnDownBlockSpatioTemporal": True,
    "DownBlockSpatioTemporal": False,
    "CrossAttnUpBlockSpatioTemporal": True,
    "UpBlockSpatioTemporal": False,
}
"""Whether a block type has transformers."""


class MattingUNet(Network):
    """Predicts alpha latents, or a velocity towards them, from video latents and a timestep.

    Normalisations have the epsilons that SVD's weights were trained with. In resnets these are 1e-5 in the middle and,
    on the way down, in levels without transformers; elsewhere 1e-6. A wrong epsilon changes outputs too little for a
    comparison to show it, so tests check each one.

    Args:
        config: The ``unet/config.json`` of a published model. Unknown keys are ignored.
        operations: Makes the layers; see `blocks`.
        attend: Computes attention.
    """

    def __init__(self, config: dict[str, Any], operations: Any = nn, attend: Attention = attention) -> None:
        super().__init__()
        config = {**SVD, **config}
        widths = config["block_out_channels"]
        per_level = lambda value: [value] * len(widths) if isinstance(value, int) else [*value]  # noqa: E731
        layers, heads = per_level(config["layers_per_block"]), per_level(config["num_attention_heads"])
        depths = per_level(config["transformer_layers_per_block"])
        down, up = ([ATTENDS[kind] for kind in config[f"{way}_block_types"]] for way in ("down", "up"))
        if {len(layers), len(heads), len(depths), len(down), len(up)} != {len(widths)}:
            raise ValueError(f"block_out_channels has {len(widths)} levels, but other keys have another number")
        self.cross_attention_dim: int = operator.index(config["cross_attention_dim"])

        time = 4 * widths[0]
        resnet = partial(SpatioTemporalResnet, operations, time_channels=time)
        transformer = lambda i: SpatioTemporalTransformer(operations, attend, widths[i], heads[i], depths[i])  # noqa: E731
        self.conv_in = operations.Conv2d(config["in_channels"], widths[0], 3, padding=1)
        self.time_embedding = Embedding(operations, widths[0], time, time)
        self.down_blocks: Any = nn.ModuleList()
        self.up_blocks: Any = nn.ModuleList()
        last = len(widths) - 1
        for i, width in enumerate(widths):
            inputs = [widths[max(i - 1, 0)]] + [width] * (layers[i] - 1)
            resnets = [resnet(each, width, eps=1e-6 if down[i] else 1e-5) for each in inputs]
            attentions = [transformer(i) for _ in resnets if down[i]]
            halve = Downsample(operations, width, centred=True) if i < last else None
            self.down_blocks.append(Level(resnets, attentions, down=halve))
        middle = [resnet(widths[-1], widths[-1], eps=1e-5) for _ in range(2)]
        self.mid_block = Level(middle, [transformer(last)])
        for i, attends in zip(reversed(range(len(widths))), up, strict=True):
            below, above = widths[min(i + 1, last)], widths[max(i - 1, 0)]
            skips = [widths[i]] * layers[i] + [above]  # the last skip is the input of this level on the way down
            inputs = [below] + [widths[i]] * layers[i]
            resnets = [resnet(x + skip, widths[i], eps=1e-6) for x, skip in zip(inputs, skips, strict=True)]
            attentions = [transformer(i) for _ in resnets if attends]
            self.up_blocks.append(Level(resnets, attentions, up=Upsample(operations, widths[i]) if i > 0 else None))
        self.conv_norm_out = operations.GroupNorm(GROUPS, widths[0], 1e-5)
        self.conv_out = operations.Conv2d(widths[0], config["out_channels"], 3, padding=1)

    def forward(self, latents: Tensor, timestep: Tensor, spatial_only: bool = False) -> Tensor:
        """Predict for every frame of a window at once.

        Args:
            latents: ``[B, T, 8, h, w]``: four channels of noise (zeros in the one-step mode), then four of the image.
            timestep: ``[B]`` or a scalar, in 0..1000.
            spatial_only: Leave out all layers over time, to learn from single frames with half the work.

        Returns:
            ``[B, T, 4, h, w]``.
        """
        batch, frames = latents.shape[:2]
        steps = sinusoids(timestep.to(latents.device).expand(batch), self.conv_in.out_channels)
        time = self.time_embedding(steps.to(latents.dtype)).repeat_interleave(frames, dim=0)  # [B*T, 4C]
        length = None if spatial_only else frames  # of each clip, for the layers over time

        x = self.conv_in(rearrange(latents, "b t c h w -> (b t) c h w"))
        skips = [x]
        for level in self.down_blocks:
            for resnet, transformer in level.layers():
                x = self.run(resnet, x, length, time)
                x = self.run(transformer, x, length) if transformer else x
                skips.append(x)
            for halve in level.downsamplers:
                x = halve(x)
                skips.append(x)

        for resnet, transformer in self.mid_block.layers():
            x = self.run(resnet, x, length, time)
            x = self.run(transformer, x, length) if transformer else x

        for level in self.up_blocks:
            for resnet, transformer in level.layers():
                x = torch.cat([x, skips.pop()], dim=1)
                x = self.run(resnet, x, length, time)
                x = self.run(transformer, x, length) if transformer else x
            for double in level.upsamplers:
                x = double(x, skips[-1].shape[-2:])  # doubling alone would not restore odd sizes

        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        return rearrange(x, "(b t) c h w -> b t c h w", t=frames)

    def slice_tokens(self, count: int) -> None:
        """Set how many tokens feed-forward layers compute at once. It changes memory, never the result."""
        for module in self.modules():
            if isinstance(module, FeedForward):
                module.tokens_at_once = count

    def variants(self, positions: int, sample: Callable[[Tensor], Tensor]) -> list[Variant]:
        """Exact variants of ``sample``, for a window with ``positions`` latent pixels in all its frames together."""

        def with_tokens(name: str, count: int, share: float) -> Variant:
            def run(latents: Tensor) -> Tensor:
                self.slice_tokens(count)
                return sample(latents)

            return Variant(name, int(share * self.activation_bytes(positions)), run)

        return [with_tokens("as planned", 2**15, 1.0), with_tokens("in thin slices", 2**11, 0.9)]

    def activation_bytes(self, positions: int) -> int:
        """Peak bytes of activations for ``positions`` latent pixels in all frames, measured on SVD's UNet, 320 wide."""
        return int(7_300 * positions * self.conv_in.out_channels / 320 * self.dtype.itemsize / 2)


class SpatioTemporalTransformer(nn.Module):
    """Attention over the pixels of a frame, then over the frames at each pixel, blended with a learned share."""

    def __init__(self, operations: Any, attend: Attention, channels: int, heads: int, depth: int) -> None:
        super().__init__()
        block = partial(TransformerBlock, operations, attend, channels, heads)
        self.norm = operations.GroupNorm(GROUPS, channels, 1e-6)
        self.proj_in = operations.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(block() for _ in range(depth))
        self.time_pos_embed = Embedding(operations, channels, 4 * channels, channels)
        self.temporal_transformer_blocks = nn.ModuleList(block(over_time=True) for _ in range(depth))
        self.time_mixer = Blend()
        self.proj_out = operations.Linear(channels, channels)

    def forward(self, x: Tensor, frames: int | None) -> Tensor:
        """``[B*T, C, h, w]``; ``frames`` is T, the frames of each clip. None leaves out the layers over time."""
        height, width = x.shape[-2:]
        tokens = self.proj_in(rearrange(self.norm(x), "n c h w -> n (h w) c"))
        for over_space, over_time in zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True):
            tokens = over_space(tokens)
            if frames is not None:
                order = sinusoids(torch.arange(frames, device=x.device), x.shape[1]).to(x.dtype)
                tracks = rearrange(tokens, "(b t) l c -> (b l) t c", t=frames) + self.time_pos_embed(order)
                tracks = over_time(tracks)
                tokens = self.time_mixer(tokens, rearrange(tracks, "(b l) t c -> (b t) l c", l=height * width))
        return x + rearrange(self.proj_out(tokens), "n (h w) c -> n c h w", h=height, w=width)


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward layer, each added to its input. Over time, another feed-forward layer is first.

    SVD has attention to a text or picture in between. Here only its bias is left, in ``attn1`` (see `fold`).
    """

    def __init__(self, operations: Any, attend: Attention, channels: int, heads: int, over_time: bool = False) -> None:
        super().__init__()
        if over_time:
            self.norm_in = operations.LayerNorm(channels)
            self.ff_in = FeedForward(operations, channels)
        self.over_time = over_time
        self.norm1 = operations.LayerNorm(channels)
        self.attn1 = SelfAttention(operations, attend, channels, heads)
        self.norm3 = operations.LayerNorm(channels)
        self.ff = FeedForward(operations, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[N, L, C]`` to the same shape."""
        if self.over_time:
            tokens = tokens + self.ff_in(self.norm_in(tokens))
        tokens = tokens + self.attn1(self.norm1(tokens))
        return tokens + self.ff(self.norm3(tokens))


class SelfAttention(nn.Module):
    """Attention of every token to all tokens of its sequence."""

    def __init__(self, operations: Any, attend: Attention, channels: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"{channels} channels cannot be divided evenly among {heads} attention heads")
        self.attend, self.heads = attend, heads
        self.to_q, self.to_k, self.to_v = (operations.Linear(channels, channels, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([operations.Linear(channels, channels)])

    def forward(self, tokens: Tensor) -> Tensor:
        """``[N, L, C]`` to the same shape."""
        return self.to_out[0](self.attend(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens), self.heads))


class FeedForward(nn.Module):
    """Two layers, four times as wide in between, computed on a slice of the tokens at a time."""

    tokens_at_once = 2**15

    def __init__(self, operations: Any, channels: int) -> None:
        super().__init__()
        gate, out = GatedGELU(operations, channels, 4 * channels), operations.Linear(4 * channels, channels)
        self.net = nn.Sequential(gate, nn.Identity(), out)  # the second was dropout

    def forward(self, tokens: Tensor) -> Tensor:
        """``[N, L, C]`` to the same shape."""
        flat, each = tokens.flatten(0, 1), self.tokens_at_once
        if len(flat) <= each or torch.is_grad_enabled():
            return self.net(tokens)
        if torch.compiler.is_compiling():  # a fixed number of slices, so that one graph works for all sizes
            eighth = len(flat) // 8
            parts = flat.split([eighth] * 7 + [len(flat) - 7 * eighth])
            return torch.cat([self.net(part) for part in parts]).view_as(tokens)
        first, *others = flat.split(each)
        first = self.net(first)  # computed first, because the result has its precision
        result = first.new_empty(flat.shape)
        result[:each] = first
        for start, part in enumerate(others, 1):
            result[start * each :][:each] = self.net(part)
        return result.view_as(tokens)


class GatedGELU(nn.Module):
    """Half of the values, each multiplied by a gate from the other half (GEGLU; Shazeer, 2020)."""

    def __init__(self, operations: Any, channels: int, out: int) -> None:
        super().__init__()
        self.proj = operations.Linear(channels, 2 * out)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[..., C]`` to ``[..., out]``."""
        values, gates = self.proj(tokens).chunk(2, dim=-1)
        return values * F.gelu(gates)


class Blend(nn.Module):
    """A learned share of the result over space, plus the rest from the result over time."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.empty(1))
        if not self.mix_factor.is_meta:
            nn.init.constant_(self.mix_factor, 0.5)

    def forward(self, over_space: Tensor, over_time: Tensor) -> Tensor:
        """Two tensors of the same shape to one."""
        share = torch.sigmoid(self.mix_factor.to(over_space.device)).to(over_space.dtype)
        return share * over_space + (1 - share) * over_time


class Embedding(nn.Module):
    """Sinusoids ``[N, C]`` to an embedding, by two linear layers."""

    def __init__(self, operations: Any, channels: int, hidden: int, out: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = operations.Linear(channels, hidden), operations.Linear(hidden, out)

    def forward(self, sinusoids: Tensor) -> Tensor:
        """``[N, C]`` to ``[N, out]``."""
        return self.linear_2(F.silu(self.linear_1(sinusoids)))


class Upsample(nn.Module):
    """Nearest-neighbour upsampling, then a convolution."""

    def __init__(self, operations: Any, channels: int) -> None:
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """``[N, C, h, w]`` to ``[N, C, *size]``."""
        return self.conv(F.interpolate(x, size=tuple(size), mode="nearest"))


def sinusoids(positions: Tensor, channels: int) -> Tensor:
    """Positions ``[N]`` as cosines, then sines, of falling frequency: ``[N, C]``, float32 (Vaswani et al., 2017).

    Example:
        >>> sinusoids(torch.tensor([0.0]), 4).tolist()
        [[1.0, 1.0, 0.0, 0.0]]
    """
    half = channels // 2
    exponents = -math.log(10_000) * torch.arange(half, device=positions.device) / half  # must round as SVD does
    angles = positions[:, None].float() * exponents.exp()
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
