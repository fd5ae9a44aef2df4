"""Writes the trained model in the published layout, and sample sheets."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from ..media.sequence import png16
from ..models.fold import published_weights
from ..models.unet import MattingUNet
from ..models.vae import TemporalVAE
from ..models.weights import ADVICE
from .config import TrainingConfig

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


def write_model(folder: Path, unet: MattingUNet, vae: TemporalVAE, config: TrainingConfig) -> None:
    """Write a model folder in the published layout, in half precision."""
    from safetensors.torch import save_file

    parts = {"unet": (unet, config.unet), "vae": (vae, {**(config.vae or {}), "scaling_factor": vae.scaling_factor})}
    for name, (network, settings) in parts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        weights = {key: value.half().contiguous() for key, value in published_weights(network).items()}
        save_file(weights, folder / name / "diffusion_pytorch_model.safetensors")
        (folder / name / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    if config.sizes:
        (folder / ADVICE).write_text(json.dumps(config.sizes) + "\n")
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER_CONFIG, indent=2) + "\n")


def sample_sheet(path: Path, pictures: Tensor, truth: Tensor, mattes: Tensor) -> None:
    """Write a PNG of three rows: ``pictures`` ``[N, 3, H, W]``, their ``truth`` and ``mattes`` ``[N, 1, H, W]``."""
    rows = [torch.cat([*row.float().expand(-1, 3, -1, -1)], dim=-1) for row in (pictures, truth, mattes)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png16(torch.cat(rows, dim=-2).cpu()))
