"""Stable Video Diffusion's VAE: it encodes single frames to latents, and decodes windows of latents to frames.

It does not handle windows or devices. The encoder is Stable Diffusion's: it sees one frame at a time. The decoder has
layers over time after each of its layers over space.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..execution import Variant
from ..host.base import Network
from .blocks import GROUPS, Downsample, Level, Resnet, SpatioTemporalResnet, attention
from .layerwise import BY_ROWS, IN_HOST_MEMORY, Layers, Slicing

SVD = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
}
"""SVD's values, used for keys that a configuration lacks."""
ROWS_AT_ONCE = 2**19
"""The decoder's layers over time compute about this many pixels at once, in whole rows of all frames."""


class TemporalVAE(Network):
    """Converts pixels to latents and back. Latents are scaled to unit variance.

    The encoder sees one frame at a time, so the number of frames in a call never changes its result. The decoder
    convolves and normalises over time, so all frames of a call affect each other.

    A network with more than three channels takes squares of pixels as channels: 12 channels are the colours of 2x2
    pixels, 48 channels those of 4x4. Its layers never see frames at full size, where other networks spend most time.

    Args:
        config: The ``vae/config.json`` of a published model. Unknown keys are ignored.
        operations: Makes the layers; see `blocks`.
    """

    def __init__(self, config: dict[str, Any], operations: Any = nn) -> None:
        super().__init__()
        config = {**SVD, **config}
        widths, depth, latent = (config[key] for key in ("block_out_channels", "layers_per_block", "latent_channels"))
        pictures: int = config["in_channels"]
        self.patch: int = math.isqrt(pictures // 3)
        if pictures != config["out_channels"] or pictures != 3 * self.patch**2:
            raise ValueError(f"in_channels and out_channels must both be 3, 12, 27 or 48, got {pictures}")
        self.encoder = Encoder(operations, pictures, 2 * latent, widths, depth)
        self.quant_conv = operations.Conv2d(2 * latent, 2 * latent, 1)
        self.decoder = Decoder(operations, latent, pictures, widths, depth)
        self.scaling_factor: float = config["scaling_factor"]
        self.width: int = widths[0]
        self.factor: int = self.patch * 2 ** (len(widths) - 1)

    def encode(self, images: Tensor, slicing: Slicing | None = None) -> Tensor:
        """Frames ``[N, 3, H, W]`` in -1..1 (sRGB) to latents ``[N, 4, H/f, W/f]``, the mode of their distribution.

        ``slicing`` computes frame by frame and band by band: the same result in less memory.
        """
        x = F.pixel_unshuffle(images, self.patch)
        x = self.encoder(x) if slicing is None else Layers(slicing, images.device).encode(self.encoder, x)
        mean, _ = self.quant_conv(x).chunk(2, dim=1)
        return mean * self.scaling_factor

    def decode(self, latents: Tensor, spatial_only: bool = False) -> Tensor:
        """Clips of latents ``[B, T, 4, h, w]`` to pictures ``[B, T, 3, h*f, w*f]``, roughly -1..1.

        ``spatial_only`` leaves out the resnets over time, to learn from single frames. The last convolution over time
        still runs; a single frame has no neighbours for it.
        """
        x = self.decoder(latents / self.scaling_factor, spatial_only)
        return F.pixel_shuffle(x, self.patch)

    def decode_alpha(self, latents: Tensor, spatial_only: bool = False) -> Tensor:
        """Clips of alpha latents ``[B, T, 4, h, w]`` to unclamped alpha ``[B, T, 1, h*f, w*f]``: the channels' mean."""
        return self.decode(latents, spatial_only).mean(dim=2, keepdim=True) * 0.5 + 0.5

    def decode_sliced(self, latents: Tensor, slicing: Slicing) -> Tensor:
        """`decode_alpha` of one clip, ``[T, 4, h, w]`` to ``[T, 1, H, W]``: the same result in less memory."""
        x = Layers(slicing, latents.device).decode(self.decoder, latents / self.scaling_factor)
        return F.pixel_shuffle(x, self.patch).mean(dim=1, keepdim=True) * 0.5 + 0.5

    def encode_variants(self, pixels: int, frames: int) -> list[Variant]:
        """Exact variants of encoding ``frames`` frames ``[T, 3, H, W]`` in 0..1, of ``pixels`` pixels each."""

        def sliced(slicing: Slicing) -> Variant:
            needed = self.encode_bytes(pixels, slicing)
            return Variant(slicing.name, needed, lambda images: self.encode(images * 2 - 1, slicing))

        whole = Variant("as planned", self.encode_bytes(pixels * frames), lambda images: self.encode(images * 2 - 1))
        return [whole, sliced(BY_ROWS), sliced(IN_HOST_MEMORY)]

    def decode_variants(self, pixels: int, frames: int, width: int, at_once: int) -> list[Variant]:
        """Exact variants of decoding a window ``[T, 4, h, w]`` to unclamped alpha ``[T, 1, H, W]``.

        Args:
            pixels: Pixels of each frame.
            frames: Frames in the window.
            width: Width of the latents.
            at_once: Frames that layers over space should compute at once if memory allows.
        """

        def sliced(slicing: Slicing) -> Variant:
            needed = self.decode_bytes(pixels, frames, slicing)
            return Variant(slicing.name, needed, lambda latents: self.decode_sliced(latents, slicing))

        rows = max(1, ROWS_AT_ONCE // (frames * width * self.factor))
        quick = Slicing("as planned", frames=min(at_once, frames), rows=rows)
        return [sliced(slicing) for slicing in (quick, BY_ROWS, IN_HOST_MEMORY)]

    def encode_bytes(self, pixels: int, slicing: Slicing | None = None) -> int:
        """Peak memory of activations while encoding.

        ``pixels`` is the number of all frames together, or of one frame with ``slicing``. The factors are multiples of
        `frame_bytes`, from ``benchmarks/bench_activations.py``.
        """
        units = 4.1 if slicing is None else 0.5 if slicing.spill else 2.4
        return int(units * self.frame_bytes(pixels))

    def decode_bytes(self, pixels: int, frames: int, slicing: Slicing) -> int:
        """Peak memory of activations while decoding a window of frames of ``pixels`` pixels each."""
        if slicing.spill:
            units = 1.0
        elif slicing.bands:
            units = frames + 3.2
        else:
            units = max(2 * frames + 1.5, frames + 6 * slicing.frames)
        return int(units * self.frame_bytes(pixels))

    def frame_bytes(self, pixels: int) -> int:
        """Bytes of the largest activations of a frame of ``pixels`` pixels."""
        return pixels // self.patch**2 * self.width * self.dtype.itemsize


class Encoder(Network):
    """Encodes each frame by itself to the means and variances of its latents."""

    def __init__(self, operations: Any, channels: int, moments: int, widths: list[int], depth: int) -> None:
        super().__init__()
        resnet = partial(Resnet, operations, eps=1e-6, time_channels=None)
        self.conv_in = operations.Conv2d(channels, widths[0], 3, padding=1)
        self.down_blocks: Any = nn.ModuleList()
        for i, width in enumerate(widths):
            inputs = [widths[max(i - 1, 0)]] + [width] * (depth - 1)
            halve = Downsample(operations, width, centred=False) if i < len(widths) - 1 else None
            self.down_blocks.append(Level([resnet(each, width) for each in inputs], down=halve))
        middle = [resnet(widths[-1], widths[-1]) for _ in range(2)]
        self.mid_block = Level(middle, [FrameAttention(operations, widths[-1])])
        self.conv_norm_out = operations.GroupNorm(GROUPS, widths[-1], 1e-6)
        self.conv_out = operations.Conv2d(widths[-1], moments, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, moments, h, w]``."""
        x = self.conv_in(images)
        for level in self.down_blocks:
            for layer in (*level.resnets, *level.downsamplers):
                x = self.run(layer, x)
        first, second = self.mid_block.resnets
        x = self.run(second, self.mid_block.attentions[0](self.run(first, x)))
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Decoder(Network):
    """Decodes clips of latents to pictures. A layer over time follows each layer over space.

    The middle of the published network runs its first resnet, then attention and its second resnet. If it has only one
    resnet, the attention never runs; if it has three, the third never runs. Their weights are still in the layout.
    """

    def __init__(self, operations: Any, latent: int, channels: int, widths: list[int], depth: int) -> None:
        super().__init__()
        resnet = partial(SpatioTemporalResnet, operations, eps=1e-6, temporal_eps=1e-5)
        self.conv_in = operations.Conv2d(latent, widths[-1], 3, padding=1)
        middle = [resnet(widths[-1], widths[-1]) for _ in range(depth)]
        self.mid_block = Level(middle, [FrameAttention(operations, widths[-1])])
        self.up_blocks: Any = nn.ModuleList()
        for i, width in reversed([*enumerate(widths)]):
            inputs = [widths[min(i + 1, len(widths) - 1)]] + [width] * depth
            double = nn.Sequential(OrderedDict(conv=sub_pixel(operations, width))) if i > 0 else None
            self.up_blocks.append(Level([resnet(each, width) for each in inputs], up=double))
        self.conv_norm_out = operations.GroupNorm(GROUPS, widths[0], 1e-6)
        self.conv_out = operations.Conv2d(widths[0], channels, 3, padding=1)
        self.time_conv_out = operations.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, latents: Tensor, spatial_only: bool = False) -> Tensor:
        """``[B, T, latent, h, w]`` to ``[B, T, C, H, W]``."""
        frames = latents.shape[1]
        length = None if spatial_only else frames  # of each clip, for the layers over time
        x = self.conv_in(rearrange(latents, "b t c h w -> (b t) c h w"))
        first, *others = self.mid_block.resnets
        x = self.run(first, x, length)
        for attend, resnet in zip(self.mid_block.attentions, others, strict=False):
            x = self.run(resnet, attend(x), length)
        for level in self.up_blocks:
            for resnet in level.resnets:
                x = self.run(resnet, x, length)
            for double in level.upsamplers:
                x = double(x)
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        x = self.time_conv_out(rearrange(x, "(b t) c h w -> b c t h w", t=frames))
        return rearrange(x, "b c t h w -> b t c h w")


class FrameAttention(nn.Module):
    """Attention of every pixel of a frame to all its pixels, with one head. The result is added to the frame."""

    def __init__(self, operations: Any, channels: int) -> None:
        super().__init__()
        self.group_norm = operations.GroupNorm(GROUPS, channels, 1e-6)
        self.to_q, self.to_k, self.to_v = (operations.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([operations.Linear(channels, channels)])

    def forward(self, x: Tensor, queries: int | None = None) -> Tensor:
        """``[N, C, h, w]`` to the same shape. ``queries`` is how many pixels are computed at once, by default all."""
        tokens = rearrange(self.group_norm(x), "n c h w -> n (h w) c")
        key, value = self.to_k(tokens), self.to_v(tokens)
        parts = [attention(self.to_q(part), key, value, 1) for part in tokens.split(queries or tokens.shape[1], dim=1)]
        found = self.to_out[0](torch.cat(parts, dim=1))
        return x + rearrange(found, "n (h w) c -> n c h w", h=x.shape[2])


def sub_pixel(operations: Any, channels: int) -> nn.Module:
    """Nearest-neighbour doubling and a 3x3 convolution, computed as four 2x2 convolutions of the small picture.

    Each output pixel depends on 2x2 pixels of the small picture, so four output pixels need 16 products instead of 36
    (compare Shi et al., 2016). The weights are those of the 3x3 convolution.

    Args:
        operations: Makes the layer.
        channels: Channels of the input ``[N, C, h, w]`` and the output ``[N, C, 2h, 2w]``.
    """

    class SubPixelConv2d(operations.Conv2d):
        def _conv_forward(
            self, input: Tensor, weight: Tensor, bias: Tensor
        ) -> Tensor:  # the host passes the weights, wherever it keeps them
            rows = torch.stack([joined(weight, phase, dim=2) for phase in (0, 1)])
            phases = torch.stack([joined(rows, phase, dim=4) for phase in (0, 1)], dim=1)  # [2, 2, O, I, 2, 2]
            found = F.conv2d(input, phases.flatten(0, 2), bias.repeat(4), padding=1).unflatten(1, (2, 2, -1))
            height, width = input.shape[-2:]
            result = found.new_empty(len(found), found.shape[3], 2 * height, 2 * width)
            for down in (0, 1):
                for across in (0, 1):
                    part = found[:, down, across, :, down : down + height, across : across + width]
                    result[:, :, down::2, across::2] = part
            return result

    return SubPixelConv2d(channels, channels, 3, padding=1)


def joined(weight: Tensor, phase: int, dim: int) -> Tensor:
    """Merge three taps along ``dim`` into the two for the small picture, for the first or second output pixel."""
    first, second, third = weight.unbind(dim)
    return torch.stack((first, second + third) if phase == 0 else (first + second, third), dim)
