"""The matting UNet: Stable Video Diffusion's video UNet without its image and camera conditioning.

Knows diffusers' block classes and nothing of windows, noise or devices.
"""

from __future__ import annotations

from typing import Any

from einops import rearrange, repeat
from torch import Tensor, nn

from ..host.base import Network


class MattingUNet(Network):
    """Video latents and a timestep in, alpha latents (or a velocity towards them) out.

    The blocks, and so the names of the weights, are those of diffusers' ``UNetSpatioTemporalConditionModel``. GVM
    leaves out the embedding of fps, motion and noise level (``add_embedding``) and feeds zeros where SVD feeds a CLIP
    image embedding.

    Args:
        config: The ``unet/config.json`` of a published model. Keys the network has no use for are ignored.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel

        stock: Any = UNetSpatioTemporalConditionModel.from_config(without_dead_keys(config))
        self.conv_in = stock.conv_in
        self.time_proj = stock.time_proj
        self.time_embedding = stock.time_embedding
        self.down_blocks = stock.down_blocks
        self.mid_block = stock.mid_block
        self.up_blocks = stock.up_blocks
        self.conv_norm_out = stock.conv_norm_out
        self.conv_act = stock.conv_act
        self.conv_out = stock.conv_out
        self.cross_attention_dim: int = stock.config["cross_attention_dim"]
        pin_epsilons(self)

    def forward(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """Predict for every frame of a window at once.

        Args:
            latents: ``[B, T, 8, h, w]``: four channels of noise (zeros in the one-step mode), then four of the image.
            timestep: ``[B]`` or a scalar, in 0..1000.

        Returns:
            ``[B, T, 4, h, w]``.
        """
        batch, frames = latents.shape[:2]
        per_frame = lambda t: repeat(t, "b ... -> (b t) ...", t=frames)  # noqa: E731
        time = self.time_proj(timestep.to(latents.device).expand(batch)).to(latents.dtype)  # [B, C]
        conditioning = {
            "temb": per_frame(self.time_embedding(time)),  # [B*T, 4C]
            "image_only_indicator": latents.new_zeros(batch, frames),
        }
        text = {"encoder_hidden_states": latents.new_zeros(batch * frames, 1, self.cross_attention_dim)}

        x = self.conv_in(rearrange(latents, "b t c h w -> (b t) c h w"))
        skips = [x]
        for block in self.down_blocks:
            attends = text if getattr(block, "has_cross_attention", False) else {}
            x, outputs = block(hidden_states=x, **conditioning, **attends)
            skips.extend(outputs)

        x = self.mid_block(hidden_states=x, **conditioning, **text)

        for block in self.up_blocks:
            count = len(block.resnets)
            skips, mine = skips[:-count], skips[-count:]
            # Odd sizes lose a row on the way down, so each level is told the size to grow back to.
            size = tuple(skips[-1].shape[2:]) if skips else None
            attends = text if getattr(block, "has_cross_attention", False) else {}
            x = block(
                hidden_states=x,
                res_hidden_states_tuple=tuple(mine),
                upsample_size=size if size != (2 * x.shape[2], 2 * x.shape[3]) else None,
                **conditioning,
                **attends,
            )

        x = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return rearrange(x, "(b t) c h w -> b t c h w", t=frames)

    def slice_tokens(self, count: int) -> None:
        """Have feed-forward layers take this many tokens at once. Changes memory, never the result."""
        modules: Any = self.modules()
        for module in modules:
            if hasattr(module, "tokens_at_once"):
                module.tokens_at_once = count

    def activation_bytes(self, positions: int) -> int:
        """Peak of activations for ``positions`` latent pixels in all frames: measured on SVD's UNet, 320 wide."""
        return int(9_700 * positions * self.conv_in.out_channels / 320 * self.dtype.itemsize / 2)


def without_dead_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a published config that shapes the network; the rest is bookkeeping or dead code of its authors."""
    dead = {"class_embed_type", "num_class_embeds", "act_fn", "sample_size"}
    return {key: value for key, value in config.items() if key not in dead and not key.startswith("_")}


def pin_epsilons(unet: MattingUNet) -> None:
    """Give every normalisation the epsilon the weights were trained with, whatever this diffusers defaults to.

    SVD's resnets use 1e-6 in blocks with cross-attention and in all up blocks, 1e-5 in the lowest down block, the
    middle and the output. A wrong one changes the result by less than any comparison of outputs could show.
    """
    for name, module in unet.named_modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
        elif isinstance(module, nn.GroupNorm):
            lowest = name.startswith("down_blocks.") and not getattr(
                unet.down_blocks[int(name.split(".")[1])], "has_cross_attention", False
            )
            in_resnet = ".resnets." in name
            wide = name == "conv_norm_out" or (in_resnet and (lowest or name.startswith("mid_block.")))
            module.eps = 1e-5 if wide else 1e-6
