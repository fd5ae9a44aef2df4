"""What a training begins from: new networks, Stable Video Diffusion's, or a matting model's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..errors import ModelError
from ..models.files import read_json, read_weights
from ..models.lora import check_lora, find_lora, merge_lora, read_lora
from ..models.unet import MattingUNet
from ..models.vae import TemporalVAE
from ..models.weights import ADVICE, check_weights, model_folder
from .config import TrainingConfig
from .layers import begin_still

DEAD = "add_embedding."
"""Weights of SVD's UNet that matting has no use for: they embed frame rate, motion and noise level."""


def starting_networks(config: TrainingConfig) -> tuple[MattingUNet, TemporalVAE, TrainingConfig]:
    """The networks to train, in float32, and ``config`` with what the start knew of them.

    Raises:
        ModelError: If the model to start from is missing, damaged, or neither SVD's nor a matting model's.
    """
    if config.start == "scratch":
        unet, vae = MattingUNet(config.unet or {}), TemporalVAE(config.vae or {})
        begin_still(unet)
        begin_still(vae)
        return unet, vae, config
    folder = model_folder(config.start)
    settings = {part: read_json(folder / part / "config.json") for part in ("unet", "vae")}
    advice = folder / ADVICE
    sizes = config.sizes or (read_json(advice) if advice.is_file() else None)
    unet, vae = read_unet(folder / "unet", settings["unet"]), TemporalVAE(settings["vae"])
    weights = read_weights(folder / "vae", torch.float32)
    check_weights(vae, weights, folder / "vae")
    vae.load_state_dict(weights)
    return unet, vae, replace(config, unet=settings["unet"], vae=settings["vae"], sizes=sizes)


def read_unet(folder: Path, settings: dict) -> MattingUNet:
    """The UNet in ``folder``, its LoRA merged if one lies beside it."""
    unet = MattingUNet(settings)
    weights = {key: value for key, value in read_weights(folder, torch.float32).items() if not key.startswith(DEAD)}
    check_weights(unet, weights, folder)
    unet.load_state_dict(weights)
    if (path := find_lora(folder)) is not None:
        lora = read_lora(path)
        check_lora(unet, lora)
        merge_lora(unet, lora, 1.0)
    if unet.conv_in.in_channels != 2 * unet.conv_out.out_channels:
        raise ModelError(f"{folder} takes {unet.conv_in.in_channels} channels; matting needs twice the latents' number")
    return unet
