"""``gvm refine``: refine stored mattes. No network runs, so settings can be tried in seconds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from ..host.torch_host import fastest_device
from ..post.refine import RefineSettings
from .shots import INPUT, OUTPUT, add_shot_options, carry_out, chosen_shot, summary

HELP = "refine stored mattes, or write them in another format"
OPERATIONS = {
    "guided": (int, "align edges with those of the input that are about this many pixels off, 0 to 64"),
    "chatter": (int, "steady soft edges over this many frames before and after, 0 to 4"),
    "clean_black": (float, "alpha at or below this becomes 0; 0 to 0.5"),
    "clean_white": (float, "alpha at or above 1 minus this becomes 1; 0 to 0.5"),
    "rollback": (float, "near edges, give back the detail that cleaning cost, up to this many pixels away"),
    "gamma": (float, "above 1 makes soft edges thicker, below 1 thinner"),
    "despeckle": (int, "remove islands of fewer pixels than this"),
    "fill_holes": (int, "fill holes of fewer pixels than this"),
    "expand": (float, "move edges outwards by this many pixels, or inwards if below 0; -128 to 128"),
    "feather": (float, "soften edges by this many pixels to each side, 0 to 64"),
    "mix": (float, "1 gives the refined matte, 0 the stored one"),
}
"""Kind of value and help of every field of `RefineSettings`."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Options for the frames, the stored mattes, the operations and the outputs."""
    command.add_argument("input", type=Path, help=f"the frames that were matted: {INPUT}")
    command.add_argument(
        "stored", type=Path, metavar="matte", help="their mattes: grey, or the alpha of a file in colours"
    )
    command.add_argument("output", type=Path, help=f"where the refined matte goes: {OUTPUT}")
    usual = RefineSettings()
    for name, (kind, help_) in OPERATIONS.items():
        value = getattr(usual, name)
        text = f"{help_} (default {value:g}: no change)"
        command.add_argument(f"--{name.replace('_', '-')}", type=kind, default=value, help=text)
    start = "the frame of the input that the first matte is for, if the mattes are of a range (default 0)"
    command.add_argument("--matte-start", type=int, default=0, metavar="FRAME", help=start)
    add_shot_options(command)
    command.add_argument("--device", help="cpu, cuda, mps, ... (default: the fastest)")


def run(options: argparse.Namespace) -> None:
    """Read, refine and write a few frames at a time, or resume a run that was stopped."""
    from ..runs.makers import Refining
    from ..runs.matte import run_shot

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    settings = RefineSettings(**{name: getattr(options, name) for name in OPERATIONS})
    device = fastest_device() if options.device is None else torch.device(options.device)
    maker, shot = Refining(options.stored, settings, device, options.matte_start), chosen_shot(options)
    done = carry_out(shot, options, lambda advance: run_shot(shot, maker, advance, overwrite=options.overwrite))
    print(summary(done, "refined", shot), file=sys.stderr)
