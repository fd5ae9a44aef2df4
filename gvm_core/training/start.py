"""The networks that a training starts from: new ones, Stable Video Diffusion's, or those of a matting model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError, ModelError
from ..models.files import read_json
from ..models.lora import LowRank, check_lora, find_lora, merge_lora, read_lora
from ..models.unet import MattingUNet
from ..models.vae import TemporalVAE
from ..models.weights import ADVICE, folded_lora, model_folder, read_network
from .config import TrainingConfig
from .layers import zero_temporal_layers

UNUSED_WEIGHTS = "add_embedding."
"""Weights of SVD's UNet that matting does not use: they embed frame rate, motion and noise level."""


def starting_networks(config: TrainingConfig, operations: Any = nn) -> tuple[MattingUNet, TemporalVAE, TrainingConfig]:
    """The networks to train, in float32, and ``config`` completed with the settings of the starting model.

    Args:
        config: Says what to start from.
        operations: Makes the layers; see `blocks`.

    Raises:
        ModelError: If the starting model is missing or damaged, or is neither SVD nor a matting model.
    """
    if config.start == "scratch":
        unet, vae = MattingUNet(config.unet or {}, operations), TemporalVAE(config.vae or {}, operations)
        zero_temporal_layers(unet)
        zero_temporal_layers(vae)
        return unet, vae, config
    folder = model_folder(config.start)
    settings = {part: read_json(folder / part / "config.json") for part in ("unet", "vae")}
    advice = folder / ADVICE
    sizes = config.sizes or (read_json(advice) if advice.is_file() else None)
    unet = read_unet(folder / "unet", operations)
    vae, _ = read_network(TemporalVAE, folder / "vae", torch.float32, operations)
    if config.latent_channels is not None:
        unet, vae, settings = widen(unet, vae, settings, config.latent_channels, operations)
    return unet, vae, replace(config, unet=settings["unet"], vae=settings["vae"], sizes=sizes)


def read_unet(folder: Path, operations: Any) -> MattingUNet:
    """The UNet in ``folder``, with the LoRA beside it merged, if there is one."""
    unet, shares = read_network(MattingUNet, folder, torch.float32, operations, ignored=UNUSED_WEIGHTS)
    if path := find_lora(folder):
        lora = folded_lora(read_lora(path), shares)
        check_lora(unet, lora)
        merge_lora(unet, lora, 1.0)
    if unet.conv_in.in_channels != 2 * unet.conv_out.out_channels:
        raise ModelError(f"{folder} takes {unet.conv_in.in_channels} channels; matting needs twice its output channels")
    return unet


def lora_beside(start: str) -> dict[str, LowRank]:
    """The LoRA beside the UNet of the starting model; empty if there is none."""
    path = None if start == "scratch" else find_lora(model_folder(start) / "unet")
    return read_lora(path) if path else {}


def widen(
    unet: MattingUNet, vae: TemporalVAE, settings: dict[str, dict], channels: int, operations: Any
) -> tuple[MattingUNet, TemporalVAE, dict[str, dict]]:
    """Copy the networks with more latent channels. The old channels are kept; the new ones have no effect at first.

    The VAE's decoded pictures and the old channels of the UNet's prediction stay the same, up to rounding.

    Args:
        unet: The UNet of a matting model.
        vae: The VAE of the model.
        settings: The configurations of both, ``unet`` and ``vae``.
        channels: New number of latent channels.
        operations: Makes the layers.

    Raises:
        InputError: If ``channels`` is less than the old number.
    """
    before = unet.conv_out.out_channels
    if channels < before:
        raise InputError(f"latent_channels can only grow: the starting model has {before}, got {channels}")
    settings = {
        "unet": {**settings["unet"], "in_channels": 2 * channels, "out_channels": channels},
        "vae": {**settings["vae"], "latent_channels": channels},
    }
    wider = MattingUNet(settings["unet"], operations), TemporalVAE(settings["vae"], operations)
    one, two = [*range(before)], [*range(before), *range(channels, channels + before)]  # one latent; two latents joined
    places = {  # for layers that grow: the rows and columns that take the old weights
        "conv_in": (None, two),
        "conv_out": (one, None),
        "encoder.conv_out": (two, None),
        "quant_conv": (two, two),
        "decoder.conv_in": (None, one),
    }
    for old, new in zip((unet, vae), wider, strict=True):
        weights = new.state_dict()
        for name, value in old.state_dict().items():
            layer, _, kind = name.rpartition(".")
            rows, columns = places.get(layer, (None, None))
            grown = weights[name]
            where = slice(None) if rows is None else torch.tensor(rows)
            if kind == "bias" or columns is None:
                grown[where] = value
            else:
                known = torch.zeros_like(grown[where])
                known[:, columns] = value
                grown[where] = known
        new.load_state_dict(weights)
    return *wider, settings
