"""Stable Video Diffusion's VAE: single frames to latents, windows of latents back to frames.

Knows diffusers' encoder and decoder and nothing of windows or devices.
"""

from __future__ import annotations

from typing import Any

from einops import rearrange
from torch import Tensor

from ..host.base import Network
from .layerwise import Layers, Slicing


class TemporalVAE(Network):
    """Pixels ↔ latents, scaled so that latents have unit variance.

    The encoder sees one frame at a time, so how many frames share a call never changes its result. The decoder
    convolves and normalises over time: the frames of one call belong together.

    Args:
        config: The ``vae/config.json`` of a published model.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder

        stock: Any = AutoencoderKLTemporalDecoder.from_config(
            {key: value for key, value in config.items() if not key.startswith("_")}
        )
        self.encoder = stock.encoder
        self.decoder = stock.decoder
        self.quant_conv = stock.quant_conv
        self.scaling_factor: float = stock.config["scaling_factor"]
        self.width: int = stock.config["block_out_channels"][0]
        self.factor: int = 2 ** (len(stock.config["block_out_channels"]) - 1)

    def encode_sliced(self, images: Tensor, slicing: Slicing) -> Tensor:
        """`encode`, frame by frame and band by band: the same numbers in less memory."""
        mean, _ = self.quant_conv(Layers(slicing, images.device).encode(self.encoder, images)).chunk(2, dim=1)
        return mean * self.scaling_factor

    def encode(self, images: Tensor) -> Tensor:
        """Frames ``[N, 3, H, W]`` in -1..1 (sRGB) to latents ``[N, 4, H/f, W/f]``, the mode of their distribution."""
        mean, _ = self.quant_conv(self.encoder(images)).chunk(2, dim=1)
        return mean * self.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Clips of latents ``[B, T, 4, h, w]`` to pictures ``[B, T, 3, h*f, w*f]``, roughly -1..1."""
        frames = latents.shape[1]
        decoder, still = self.decoder, latents.new_zeros(latents.shape[:2])
        x = decoder.conv_in(rearrange(latents, "b t c h w -> (b t) c h w") / self.scaling_factor)
        x = decoder.mid_block(x, image_only_indicator=still)
        for block in decoder.up_blocks:
            x = block(x, image_only_indicator=still)
        x = decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(x)))
        x = decoder.time_conv_out(rearrange(x, "(b t) c h w -> b c t h w", t=frames))
        return rearrange(x, "b c t h w -> b t c h w")

    def decode_alpha(self, latents: Tensor) -> Tensor:
        """Clips of alpha latents ``[B, T, 4, h, w]`` to unclamped alpha ``[B, T, 1, h*f, w*f]``: the mean channel."""
        return self.decode(latents).mean(dim=2, keepdim=True) * 0.5 + 0.5

    def decode_sliced(self, latents: Tensor, slicing: Slicing) -> Tensor:
        """`decode_alpha` of one clip ``[T, 4, h, w]``, ``[T, 1, H, W]``: the same numbers in less memory.

        Needs folded weights, as `load_model` gives them.
        """
        pictures = Layers(slicing, latents.device).decode(self.decoder, latents / self.scaling_factor)
        return pictures.mean(dim=1, keepdim=True) * 0.5 + 0.5

    def encode_bytes(self, pixels: int, slicing: Slicing | None = None) -> int:
        """Peak of activations while encoding frames of ``pixels`` pixels in all; one by one with a slicing.

        In units of one such frame, as wide as the layers that see it whole. From ``benchmarks/bench_activations.py``.
        """
        units = 5.2 if slicing is None else 0.5 if slicing.spill else 2.4
        return int(units * self.frame_bytes(pixels))

    def decode_bytes(self, pixels: int, frames: int, slicing: Slicing) -> int:
        """Peak of activations while decoding a window of frames of ``pixels`` pixels each, likewise."""
        if slicing.spill:
            units = 1.0
        elif slicing.bands:
            units = frames + 3.2
        else:
            units = max(2 * frames + 1.5, frames + 6 * slicing.frames)
        return int(units * self.frame_bytes(pixels))

    def frame_bytes(self, pixels: int) -> int:
        """Bytes of one frame's activations where they are largest."""
        return pixels * self.width * self.dtype.itemsize
