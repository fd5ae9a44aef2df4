"""Options that several commands share, and their values."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from ..host.torch_host import fastest_device, suitable_dtype
from ..settings import Edge, MatteSettings, Radius
from ..windows import WindowPlan

DEFAULTS = MatteSettings()
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def add_picture_options(command: argparse.ArgumentParser) -> None:
    """Options for windows, sizes, refining, device and precision."""
    command.add_argument("--window", type=int, default=DEFAULTS.plan.length, help="frames the network sees at once")
    command.add_argument("--overlap", type=int, default=DEFAULTS.plan.overlap, help="frames that two windows share")
    command.add_argument(
        "--short-edge",
        type=edge,
        default=DEFAULTS.short_edge,
        help="scale the shorter side to this many pixels; 'own' keeps its size, 'auto' (default) suits the model",
    )
    command.add_argument(
        "--max-edge",
        type=edge,
        default=DEFAULTS.max_edge,
        help="then limit the longer side to this; 'own' sets no limit, 'auto' (default) takes the model's limit",
    )
    command.add_argument(
        "--refine",
        type=radius,
        default=DEFAULTS.refine,
        metavar="PIXELS",
        help="align edges with the frames, up to this many pixels away; 0 turns it off, 'auto' (default) takes the "
        "model's best",
    )
    command.add_argument("--device", help="cpu, cuda, mps, ... (default: the fastest)")
    command.add_argument("--precision", choices=["auto", *PRECISIONS], default="auto")


def edge(text: str) -> Edge:
    """A number of pixels, ``auto`` or ``own``."""
    return text if text in ("auto", "own") else int(text)  # pyright: ignore[reportReturnType]


def radius(text: str) -> Radius:
    """A number of pixels, or ``auto``."""
    return "auto" if text == "auto" else int(text)


def picture_settings(options: argparse.Namespace, **more: Any) -> MatteSettings:
    """The settings that `add_picture_options` asked for."""
    return MatteSettings(
        plan=WindowPlan(options.window, options.overlap),
        short_edge=options.short_edge,
        max_edge=options.max_edge,
        refine=options.refine,
        **more,
    )


def place(options: argparse.Namespace) -> tuple[torch.device, torch.dtype]:
    """The chosen device and precision; by default the fastest device, and a suitable precision for it."""
    device = fastest_device() if options.device is None else torch.device(options.device)
    return device, suitable_dtype(device) if options.precision == "auto" else PRECISIONS[options.precision]
