"""Seconds per frame and peak memory on a card, with a network of the released size and random weights.

    python benchmarks/bench_card.py --precisions fp16 bf16 --compile   # by size, window, precision, compiled or not
    python benchmarks/bench_card.py --limits 8 12 16 24  # not compiled, within so many GiB, and how far mattes differ
    python benchmarks/bench_card.py --plain              # beside diffusers' own classes, run the published way

Prints a JSON line for each case. Keep them under ``benchmarks/results`` by date and card. Compare only within one run.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch
from bench_activations import UNET, VAE

from gvm_core import MatteSettings, MattingPipeline, TorchHost, WindowPlan
from gvm_core.models.fold import published_weights
from gvm_core.models.unet import MattingUNet
from gvm_core.models.vae import TemporalVAE
from gvm_core.models.weights import MattingModel, ModelConfig

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
GIB = 2**30


def smaller(config: dict[str, Any]) -> dict[str, Any]:
    """The same network an eighth as wide, for trying this out."""
    heads = {"num_attention_heads": [1, 2, 4, 4]} if "num_attention_heads" in config else {}
    return {
        **config,
        "block_out_channels": [max(each // 8, 32) // 32 * 32 for each in config["block_out_channels"]],
        **heads,
    }


def new_networks(small: bool, dtype: torch.dtype) -> tuple[MattingUNet, TemporalVAE]:
    """Networks of random weights, the same every time."""
    torch.manual_seed(0)
    unet, vae = (smaller(UNET), smaller(VAE)) if small else (UNET, VAE)
    return MattingUNet(unet).to(dtype), TemporalVAE(vae).to(dtype)


def new_model(small: bool, dtype: torch.dtype, compiled: bool) -> MattingModel:
    """A model of them."""
    model = MattingModel(*new_networks(small, dtype), ModelConfig("random", Path(), {}))
    if compiled:
        model.compile()
    return model


class Clock:
    """Seconds and peak memory of what runs on ``device`` inside the ``with`` block."""

    def __init__(self, device: torch.device) -> None:
        self.card = device.type == "cuda"
        self.seconds, self.peak = 0.0, 0.0

    def __enter__(self) -> Clock:
        if self.card:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self.began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self.card:
            torch.cuda.synchronize()
            self.peak = torch.cuda.max_memory_allocated() / GIB
        self.seconds = time.perf_counter() - self.began


def frames_of(count: int, height: int, width: int) -> torch.Tensor:
    """Smooth random frames ``[T, 3, H, W]``."""
    coarse = torch.rand(count, 3, 9, 16, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


def ours(
    options: argparse.Namespace, size: tuple[int, int], window: int, precision: str, compiled: bool
) -> dict[str, Any]:
    """One row: a warm-up window, then ``options.frames`` frames."""
    device = torch.device(options.device)
    plan = WindowPlan(window, window // 4)
    model = new_model(options.small, DTYPES[precision], compiled)
    pipeline = MattingPipeline(model, MatteSettings(plan=plan, short_edge="own", max_edge="own"), TorchHost(device))
    frames = frames_of(options.frames, *size)
    pipeline.matte(frames[:window])
    with Clock(device) as clock:
        alpha = pipeline.matte(frames)
    row = {"size": f"{size[0]}x{size[1]}", "window": window, "precision": precision, "compiled": compiled}
    row |= {"seconds_a_frame": round(clock.seconds / len(frames), 4), "peak_gib": round(clock.peak, 2)}
    return {**row, "alpha": alpha}


def plain(
    options: argparse.Namespace, size: tuple[int, int], window: int, precision: str, ensemble: int
) -> dict[str, Any]:
    """The published way with diffusers' classes: all copies encoded and denoised at once, no window shared."""
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
    from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel

    device, dtype = torch.device(options.device), DTYPES[precision]
    ours_unet, ours_vae = new_networks(options.small, dtype)
    unet_config, vae_config = (smaller(UNET), smaller(VAE)) if options.small else (UNET, VAE)
    unet: Any = UNetSpatioTemporalConditionModel.from_config(unet_config).to(dtype)
    vae: Any = AutoencoderKLTemporalDecoder.from_config(vae_config).to(dtype)
    unet.load_state_dict(published_weights(ours_unet), strict=False)
    vae.load_state_dict(published_weights(ours_vae))
    torch.nn.init.zeros_(unet.add_embedding.linear_2.weight)
    torch.nn.init.zeros_(unet.add_embedding.linear_2.bias)
    unet.eval().to(device)
    vae.eval().to(device)
    frames = frames_of(options.frames, *size)
    scale = vae.config.scaling_factor

    def matte(clip: torch.Tensor) -> torch.Tensor:
        copies = clip.repeat(ensemble, 1, 1, 1).to(device, dtype) * 2 - 1
        latents = (vae.encode(copies).latent_dist.mode() * scale).unflatten(0, (ensemble, len(clip)))
        text = torch.zeros(ensemble, 1, unet.config.cross_attention_dim, device=device, dtype=dtype)
        ids = torch.zeros(ensemble, 3, device=device, dtype=dtype)
        found = unet(torch.cat([torch.zeros_like(latents), latents], dim=2), 999.0, text, ids).sample
        pictures = [vae.decode(copy / scale, num_frames=len(clip)).sample for copy in found]
        alpha = torch.stack(pictures).mean(dim=2, keepdim=True).amax(dim=0) * 0.5 + 0.5
        return alpha.clamp(0, 1).float().cpu()

    with torch.inference_mode():
        matte(frames[:window])
        with Clock(device) as clock:
            torch.cat([matte(clip) for clip in frames.split(window)])
    row = {"size": f"{size[0]}x{size[1]}", "window": window, "precision": precision, "plain_ensemble": ensemble}
    return {**row, "seconds_a_frame": round(clock.seconds / len(frames), 4), "peak_gib": round(clock.peak, 2)}


def limited(options: argparse.Namespace, size: tuple[int, int], window: int, precision: str) -> list[dict[str, Any]]:
    """Rows within each limit, and how far the matte is from that without one."""
    whole = ours(options, size, window, precision, False)
    free = whole.pop("alpha")
    rows = [whole]
    total = torch.cuda.get_device_properties(0).total_memory
    for limit in options.limits:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(limit * GIB / total)
        try:
            row = ours(options, size, window, precision, False)
            alpha = row.pop("alpha")
            rows.append({**row, "limit_gib": limit, "difference": float((alpha - free).abs().max())})
        except (RuntimeError, MemoryError) as error:
            known = {name: whole[name] for name in ("size", "window", "precision", "compiled")}
            rows.append({**known, "limit_gib": limit, "failed": str(error).splitlines()[0]})
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    return rows


def main() -> None:
    """Print the rows asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["576x1024", "1024x1824"], metavar="HEIGHTxWIDTH")
    parser.add_argument("--windows", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--precisions", nargs="+", choices=[*DTYPES], default=["fp16"])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--limits", type=float, nargs="*", default=[], help="GiB; needs CUDA")
    parser.add_argument("--plain", action="store_true", help="also the published way, one copy and three")
    parser.add_argument("--compile", action="store_true", help="also compiled")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a network an eighth as wide, to try this out")
    options = parser.parse_args()
    device = torch.device(options.device)
    card = torch.cuda.get_device_name() if device.type == "cuda" else "processor"
    known = {"date": f"{datetime.date.today()}", "card": card, "torch": torch.__version__}
    sizes = [tuple(map(int, each.split("x"))) for each in options.sizes]
    for size, window, precision in itertools.product(sizes, options.windows, options.precisions):
        rows = limited(options, size, window, precision) if options.limits else []
        for compiled in [] if rows else [False, *([True] if options.compile else [])]:
            rows.append(ours(options, size, window, precision, compiled))
        for ensemble in (1, 3) if options.plain else ():
            rows.append(plain(options, size, window, precision, ensemble))
        for row in rows:
            row.pop("alpha", None)
            print(json.dumps(known | row), flush=True)


if __name__ == "__main__":
    main()
