"""Train a small matting model from nothing: first the VAE, then the UNet through the frozen VAE.

Started by ``python -m gvm_core train``. Writes a model folder in the published layout, a checkpoint to go on from,
and a CSV of losses.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from ..models.unet import MattingUNet
from ..models.vae import TemporalVAE
from ..models.weights import ADVICE
from .dataset import ClipPool
from .precision import fit_for_bfloat16

log = logging.getLogger(__name__)

VAE_CONFIG = {
    "_class_name": "AutoencoderKLTemporalDecoder",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "block_out_channels": [64, 64, 64],  # two channels a group at least: with one, mean and contrast are lost
    "layers_per_block": 1,
    "scaling_factor": 1.0,
    "force_upcast": False,
}
UNET_CONFIG = {
    "_class_name": "UNetSpatioTemporalConditionModel",
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
    "block_out_channels": [64, 96, 96, 128],
    "num_attention_heads": [2, 3, 3, 4],
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "cross_attention_dim": 16,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "num_frames": 8,
}
SCHEDULER_CONFIG = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": False,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}

SIZES = {"short_edge": 64, "max_edge": 128}
"""The size of frames the model is trained on, written beside it."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stretch of training.

    Attributes:
        network: Which network learns: ``"vae"`` or ``"unet"``.
        size: Edge of the square clips in pixels.
        frames: Frames in a clip.
        batch: Clips in a step.
        steps: Optimiser steps.
        rate: Peak learning rate; it warms up over 100 steps and falls to a hundredth along a cosine.
        clips: How many drawn clips the pool holds.
        every: Take every so-manieth frame of the drawn clips.
        pixel: Weight of the losses on the decoded matte beside the one on latents; 0 saves the decoder's work, which
            is most of a step.
    """

    network: str
    size: int
    frames: int
    batch: int
    steps: int
    rate: float
    clips: int
    every: int = 1
    pixel: float = 1.0


DEMO_STAGES = (
    Stage(network="vae", size=64, frames=2, every=2, batch=4, steps=1700, rate=2e-3, clips=3000),
    Stage(network="vae", size=64, frames=4, batch=2, steps=200, rate=4e-4, clips=3000),
    Stage(network="unet", size=64, frames=1, batch=16, steps=3500, rate=1.5e-3, clips=3000, pixel=0.0),
    Stage(network="unet", size=64, frames=1, batch=16, steps=5200, rate=1.2e-3, clips=3000, pixel=0.0),
    Stage(network="unet", size=64, frames=2, every=2, batch=8, steps=450, rate=4e-4, clips=3000),
    Stage(network="unet", size=64, frames=8, batch=2, steps=450, rate=3e-4, clips=500),
)
"""What `train` does unless told otherwise.

In bfloat16 on two cores it took about two hours and came to a MAD of 0.042 on the demo's unseen clips
(``docs/recipe_training.csv``). The bundled model is an earlier one: it is worse on drawn clips (0.062), but of a
photograph it finds the person, where this one finds nothing.
"""


class Average:
    """A running mean of a network's weights, steadier than the weights of the last step."""

    def __init__(self, network: nn.Module, decay: float = 0.995) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` steps; early steps count less long."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            self.weights[name].lerp_(value.detach(), 1 - decay)


def vae_loss(vae: TemporalVAE, images: Tensor, alpha: Tensor) -> dict[str, Tensor]:
    """How badly pictures and mattes come back through latents with a little noise on them.

    The noise makes the decoder forgive the small errors that a UNet will make; the weight on the latents' size keeps
    the encoder from shouting it down. Coarse scales count too, or colour is learned last.
    """
    frames, count = images.shape[1], len(images)
    clips = torch.cat([images, alpha.expand(-1, -1, 3, -1, -1)])
    latents = vae.encode(clips.flatten(0, 1) * 2 - 1).float().unflatten(0, (-1, frames))
    returned = vae.decode(latents + 0.05 * torch.randn_like(latents)).float() * 0.5 + 0.5
    difference = returned - clips
    coarse = sum(avg_pool2d(difference.flatten(0, 1), k).abs().mean() for k in (4, 16))
    rgb, matte = difference[:count].abs().mean(), difference[count:].abs().mean()
    edges = gradient_difference(returned[count:], clips[count:])
    size = latents.square().mean()
    return {"loss": rgb + matte + coarse + 0.5 * edges + 1e-3 * size, "rgb": rgb, "alpha": matte, "size": size}


def unet_loss(unet: MattingUNet, vae: TemporalVAE, images: Tensor, alpha: Tensor, pixel: float) -> dict[str, Tensor]:
    """The one-step objective: zeros and the picture's latents in, the matte's latents out, judged as matte too."""
    frames = images.shape[1]
    with torch.no_grad():
        clips = torch.cat([images, alpha.expand(-1, -1, 3, -1, -1)]) * 2 - 1
        known, wanted = vae.encode(clips.flatten(0, 1)).float().unflatten(0, (-1, frames)).chunk(2)
    latents = unet(torch.cat([torch.zeros_like(known), known], dim=2), torch.tensor(999)).float()
    latent = (latents - wanted).square().mean()
    if not pixel:
        return {"loss": latent, "latent": latent}
    returned = vae.decode_alpha(latents).float()
    matte = (returned - alpha).abs().mean()
    edges = gradient_difference(returned, alpha)
    return {"loss": 0.3 * latent + pixel * (matte + 0.5 * edges), "latent": latent, "alpha": matte, "edges": edges}


def gradient_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the two pictures' horizontal and vertical differences."""
    difference = a - b
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def learning_rate(step: int, stage: Stage) -> float:
    """The rate at ``step`` of ``stage``: 100 steps of warm-up, then a cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / 100)
    return stage.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / stage.steps)))


def train(
    folder: Path, stages: tuple[Stage, ...] = DEMO_STAGES, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Path:
    """Run ``stages`` in order, going on from ``folder``'s checkpoint if there is one.

    Args:
        folder: Receives ``model/``, ``checkpoint.pt`` and ``losses.csv``.
        stages: What to train, on what, for how long.
        seed: Seeds the weights, the batches and the noise.
        dtype: Precision of products and convolutions; weights and losses are float32.

    Returns:
        The finished model folder, in the published layout.
    """
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    vae, unet = fresh_vae(), MattingUNet(UNET_CONFIG)
    if dtype == torch.bfloat16:
        fit_for_bfloat16(vae)
        fit_for_bfloat16(unet)
    checkpoint = folder / "checkpoint.pt"
    state: dict[str, Any] = (
        torch.load(checkpoint, weights_only=True) if checkpoint.exists() else {"stage": 0, "step": 0}
    )
    if "vae" in state:
        vae.load_state_dict(state["vae"])
        unet.load_state_dict(state["unet"])
        vae.scaling_factor = state["scaling_factor"]
    for index, stage in enumerate(stages):
        if index < state["stage"]:
            continue
        resumed = state if index == state["stage"] and "average" in state else None
        pool = ClipPool(folder / "pools", stage.clips, stage.size, max(stage.frames, 4))
        network = vae if stage.network == "vae" else unet
        losses = vae_objective(vae) if stage.network == "vae" else unet_objective(unet, vae, stage.pixel)
        if stage.network == "vae":
            vae.scaling_factor = 1.0

        def keep(step: int, extra: dict, at: int = index) -> None:
            weights = {"vae": vae.state_dict(), "unet": unet.state_dict(), "scaling_factor": vae.scaling_factor}
            part = checkpoint.with_suffix(".part")
            torch.save({"stage": at, "step": step, **weights, **extra}, part)
            part.replace(checkpoint)

        run_stage(network, losses, stage, pool, folder / "losses.csv", keep, resumed, seed + index, dtype)
        if stage.network == "vae":
            vae.scaling_factor = 1 / float(latent_spread(vae, pool))
        keep(0, {}, index + 1)
        write_model(folder / "model", unet, vae)
    return folder / "model"


def fresh_vae() -> TemporalVAE:
    """A new VAE whose last layer, over time, begins as doing nothing."""
    vae = TemporalVAE(VAE_CONFIG)
    with torch.no_grad():
        last: Any = vae.decoder.time_conv_out
        last.weight.zero_()
        last.weight[range(3), range(3), 1] = 1.0
        last.bias.zero_()
    return vae


def vae_objective(vae: TemporalVAE) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """The VAE's loss as a function of a batch."""
    return lambda images, alpha: vae_loss(vae, images, alpha)


def unet_objective(unet: MattingUNet, vae: TemporalVAE, pixel: float) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """The UNet's loss as a function of a batch, with the VAE frozen."""
    vae.requires_grad_(False)
    return lambda images, alpha: unet_loss(unet, vae, images, alpha, pixel)


def run_stage(
    network: nn.Module,
    losses: Callable[[Tensor, Tensor], dict[str, Tensor]],
    stage: Stage,
    pool: ClipPool,
    table: Path,
    keep: Callable[[int, dict], None],
    resumed: dict | None,
    seed: int,
    dtype: torch.dtype,
) -> None:
    """Optimise ``network`` for one stage and leave the averaged weights in it."""
    optimizer = torch.optim.AdamW(network.parameters(), stage.rate, betas=(0.9, 0.95), weight_decay=1e-3)
    average = Average(network)
    first = 0
    if resumed:
        optimizer.load_state_dict(resumed["optimizer"])
        average.weights = resumed["average"]
        first = resumed["step"]
    started, sums = time.monotonic(), {}
    for step in range(first, stage.steps):
        # Every step draws from its own seed, so that a resumed run sees what an unbroken one would have.
        random = np.random.default_rng([seed, step])
        torch.manual_seed(int(random.integers(2**31)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, stage)
        batch = (clips[:, :: stage.every][:, : stage.frames] for clips in pool.batch(stage.batch, random))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            parts = losses(*batch)
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update(network, step)
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if (step + 1) % 50 == 0:
            means = {name: total / 50 for name, total in sums.items()}
            sums = {}
            note_losses(table, stage, step + 1, time.monotonic() - started, means)
        if (step + 1) % 250 == 0:
            keep(step + 1, {"optimizer": optimizer.state_dict(), "average": average.weights})
    network.load_state_dict(average.weights)


def note_losses(table: Path, stage: Stage, step: int, seconds: float, means: dict[str, float]) -> None:
    """Append one row to the table of losses and say it in the log."""
    shown = " ".join(f"{name} {value:.4f}" for name, value in means.items())
    log.info("%s %d px step %d/%d  %s  %.0f s", stage.network, stage.size, step, stage.steps, shown, seconds)
    with table.open("a", newline="") as file:
        csv.writer(file).writerow([stage.network, stage.size, step, f"{seconds:.0f}", json.dumps(means)])


@torch.no_grad()
def latent_spread(vae: TemporalVAE, pool: ClipPool) -> Tensor:
    """Standard deviation of unscaled latents over pictures and mattes of the pool."""
    images, alpha = pool.batch(16, np.random.default_rng(0))
    clips = torch.cat([images, alpha.expand(-1, -1, 3, -1, -1)]).flatten(0, 1) * 2 - 1
    return (vae.encode(clips) / vae.scaling_factor).std()


def write_model(folder: Path, unet: MattingUNet, vae: TemporalVAE) -> None:
    """Write a model folder in the published layout, half precision."""
    from safetensors.torch import save_file

    parts = {
        "unet": (unet, UNET_CONFIG),
        "vae": (vae, {**VAE_CONFIG, "scaling_factor": vae.scaling_factor}),
    }
    for name, (network, config) in parts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        weights = {key: value.half().contiguous() for key, value in network.state_dict().items()}
        save_file(weights, folder / name / "diffusion_pytorch_model.safetensors")
        (folder / name / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / ADVICE).write_text(json.dumps(SIZES) + "\n")
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER_CONFIG, indent=2) + "\n")
