"""Peak memory of activations, and arithmetic, at the released size. It needs no weights and no card.

    python benchmarks/bench_activations.py

Networks and frames are fake tensors: they have shapes but no numbers. The script counts the storage of everything
on the device that is not a weight, and two operations for every product. A kernel's own workspace is not counted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from gvm_core.models.layerwise import BY_ROWS, IN_HOST_MEMORY, Layers, Slicing
from gvm_core.models.unet import MattingUNet
from gvm_core.models.vae import TemporalVAE

DEVICE = "meta"  # stands for the card; fake tensors on "cpu" are what was moved to the host
VAE = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2, "scaling_factor": 0.18215,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "block_out_channels": [128, 256, 512, 512],
}  # fmt: skip
UNET = {
    "in_channels": 8, "out_channels": 4, "layers_per_block": 2, "transformer_layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
    "block_out_channels": [320, 640, 1280, 1280], "num_attention_heads": [5, 10, 20, 20], "cross_attention_dim": 1024,
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 768, "num_frames": 25,
}  # fmt: skip


def published() -> tuple[Any, Any]:
    """The networks at their released size as diffusers builds and runs them."""
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
    from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel

    unet: Any = UNetSpatioTemporalConditionModel.from_config(UNET)
    vae: Any = AutoencoderKLTemporalDecoder.from_config(VAE)
    for module in (*unet.modules(), *vae.modules()):
        if hasattr(module, "mix_factor"):  # diffusers puts it on the CPU whatever the context says
            module.mix_factor = torch.nn.Parameter(torch.empty(1))
    return unet, vae


class Peak(TorchDispatchMode):
    """The most bytes that lay on ``device`` at once and were made inside the ``with`` block."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.living: dict[int, tuple[StorageWeakRef, int]] = {}
        self.bytes = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for key in [key for key, (storage, _) in self.living.items() if storage.expired()]:
            self.bytes -= self.living.pop(key)[1]
        given = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)
        }
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == self.device:
                storage = tensor.untyped_storage()
                if storage._cdata not in self.living and storage._cdata not in given:
                    self.living[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
                    self.bytes += storage.nbytes()
        self.most = max(self.most, self.bytes)
        return result


class Fused(TorchFunctionMode):
    """Attention as a fused kernel counts it: its scores are never in memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_efficient_attention(*args[:3], None, False)[0]
        return func(*args, **(kwargs or {}))


def measure(run: Callable[[], object]) -> tuple[float, float]:
    """Peak in GiB and arithmetic in TFLOP of what ``run`` does."""
    with torch.no_grad(), FlopCounterMode(display=False) as flops, Peak(DEVICE) as peak, Fused():
        kept = run()
    del kept
    return peak.most / 2**30, flops.get_total_flops() / 1e12


def main() -> None:
    """Print one JSON line for each stage and way of running it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, action="append", metavar=("HEIGHT", "WIDTH"))
    options = parser.parse_args()
    with FakeTensorMode():
        device = torch.device(DEVICE)
        torch.set_default_dtype(torch.half)
        with device:
            stock_unet, stock_vae = published()
            unet, vae = MattingUNet(UNET), TemporalVAE(VAE)
            text, ids = torch.zeros(1, 1, UNET["cross_attention_dim"]), torch.zeros(1, 3)
        for height, width in options.size or [(576, 1024), (1024, 1824)]:
            count, shape = options.frames, (4, height // 8, width // 8)
            images = torch.empty(count, 3, height, width, dtype=torch.half, device=device)
            latents = torch.empty(count, *shape, dtype=torch.half, device=device)

            def decode(slicing: Slicing, latents: torch.Tensor = latents) -> Callable[[], object]:
                return lambda: Layers(slicing, device).decode(vae.decoder, latents)

            def encode(slicing: Slicing, images: torch.Tensor) -> object:
                return [vae.encode(image[None], slicing) for image in images]

            ways: dict[str, Callable[[], object]] = {
                "encode, whole": lambda images=images: stock_vae.encode(images).latent_dist.mode(),
                "encode, frame by frame": lambda images=images: [vae.encode(image[None]) for image in images],
                "encode, row by row": lambda images=images: encode(BY_ROWS, images),
                "encode, in host memory": lambda images=images: encode(IN_HOST_MEMORY, images),
                "unet, whole": lambda latents=latents: (
                    stock_unet(torch.cat([latents, latents], 1)[None], torch.tensor(999.0), text, ids).sample
                ),
                "unet, sliced": lambda latents=latents: unet(
                    torch.cat([latents, latents], 1)[None], torch.tensor(999.0)
                ),
                "decode, whole": lambda latents=latents, count=count: (
                    stock_vae.decode(latents, num_frames=count).sample
                ),
                "decode, fast": decode(Slicing()),
                "decode, row by row": decode(BY_ROWS),
                "decode, in host memory": decode(IN_HOST_MEMORY),
            }
            for name, run in ways.items():
                peak, work = measure(run)
                row = {
                    "size": f"{height}x{width}x{count}",
                    "stage": name,
                    "peak_gib": round(peak, 2),
                    "tflop": round(work, 1),
                }
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
