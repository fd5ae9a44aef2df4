"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from ..host.torch_host import fastest_device, suitable_dtype
from ..models.weights import ModelConfig
from ..settings import MatteSettings

DEFAULTS = MatteSettings()
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def add_picture_options(command: argparse.ArgumentParser) -> None:
    """What several commands let the user choose about the network's work."""
    command.add_argument("--window", type=int, default=DEFAULTS.plan.length, help="frames the network sees at once")
    command.add_argument("--overlap", type=int, default=DEFAULTS.plan.overlap, help="frames neighbouring windows share")
    command.add_argument(
        "--short-edge", type=edge, help="scale the shorter side to this; 'own' keeps it (default: as suits the model)"
    )
    command.add_argument("--max-edge", type=edge, help="then limit the longer side to this, or 'own'")
    command.add_argument(
        "--refine",
        type=int,
        metavar="PIXELS",
        help="bring edges to where the frames have them, looking so far around; 0 for none (default: as suits the model)",
    )
    command.add_argument("--device", help="cpu, cuda, mps, ... (default: the fastest)")
    command.add_argument("--precision", choices=["auto", *PRECISIONS], default="auto")


def edge(text: str) -> int:
    """A number of pixels, or ``own``, for which 0 stands."""
    return 0 if text == "own" else int(text)


def sized(settings: MatteSettings, options: argparse.Namespace, config: ModelConfig) -> MatteSettings:
    """``settings`` with the size asked for, or what suits the model."""
    return replace(
        settings,
        short_edge=config.short_edge if options.short_edge is None else options.short_edge or None,
        max_edge=config.max_edge if options.max_edge is None else options.max_edge or None,
    )


def place(options: argparse.Namespace) -> tuple[torch.device, torch.dtype]:
    """The device and precision asked for, or what is fastest here and does well there."""
    device = fastest_device() if options.device is None else torch.device(options.device)
    return device, suitable_dtype(device) if options.precision == "auto" else PRECISIONS[options.precision]
