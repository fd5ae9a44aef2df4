"""``gvm matte``: matte a video, a picture or a folder of pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import InputError
from ..models.weights import ModelConfig, model_config
from ..settings import MatteSettings
from ..windows import WindowPlan
from .options import DEFAULTS, PRECISIONS, add_picture_options, sized
from .terminal import ProgressLine

if TYPE_CHECKING:
    from ..farm import Recipe
    from ..shot import Shot

HELP = "matte a video, a picture or a folder of pictures"


def add_options(command: argparse.ArgumentParser) -> None:
    """What to matte, with which model, and where to write it."""
    command.add_argument("input", type=Path, help="a video, a picture, or a folder of numbered pictures")
    command.add_argument("output", type=Path, help=".mp4, .mov or .mkv (lossless), a folder for 16-bit PNGs, or .png")
    command.add_argument("--model", default="demo", help="demo (default), gvm, or a model folder")
    command.add_argument("--lora", default="auto", help="auto (default), none, or a LoRA file")
    command.add_argument("--lora-strength", type=float, default=1.0)
    add_picture_options(command)
    command.add_argument(
        "--noise", choices=["zeros", "gaussian"], default=DEFAULTS.noise, help="gaussian: experimental, needs diffusers"
    )
    command.add_argument("--steps", type=int, default=DEFAULTS.steps)
    command.add_argument("--seed", type=int, default=DEFAULTS.seed, help="for gaussian noise")
    command.add_argument("--low", type=float, default=DEFAULTS.low, help="alpha at or below becomes 0")
    command.add_argument("--high", type=float, default=DEFAULTS.high, help="alpha at or above becomes 1")
    command.add_argument("--frames", type=frame_range, default=(0, None), metavar="A-B", help="only these, from 0")
    command.add_argument("--handles", type=int, default=0, help="so many frames more on either side of --frames")
    command.add_argument("--preview", type=Path, help="also write the subject over a checkerboard (.mp4, .mov, .png)")
    command.add_argument("--compile", action="store_true", help="compile the networks first: minutes, then faster")
    command.add_argument("--ray", action="store_true", help="share the work among the workers of a Ray cluster")
    command.add_argument("--workers", type=int, help="how many, with --ray (default: one a card)")
    command.add_argument("--threads", type=int, help="CPU threads to use, of each worker with --ray")
    command.add_argument("--overwrite", action="store_true", help="replace what is there")


def run(options: argparse.Namespace) -> None:
    """Read, matte and write, one window at a time, or go on where an earlier run was stopped."""
    from ..farm import matte_shot_with_ray
    from ..media import open_frames
    from ..shot import interrupted, matte_shot, refuse_taken

    shot = chosen_shot(options)
    if not options.overwrite and not interrupted(shot):
        refuse_taken(shot)  # before the model is loaded
    with open_frames(shot.source, shot.first, shot.last) as wanted:
        progress = ProgressLine(wanted.count)
    config = model_config(options.model)
    recipe = chosen_recipe(options, config)
    if options.ray:
        done = matte_shot_with_ray(
            shot,
            recipe,
            lambda frames, before: progress.count(frames, before=before),
            workers=options.workers,
            overwrite=options.overwrite,
        )
    else:
        done = matte_shot(
            shot,
            recipe.pipeline(),
            lambda frames, alpha: progress.count(frames, before=alpha is None),
            overwrite=options.overwrite,
        )
    print(f"\n{done} frames matted with {config.name} -> {options.output}", file=sys.stderr)


def chosen_shot(options: argparse.Namespace) -> Shot:
    """Which frames of which file, and where their mattes go."""
    from ..shot import Shot

    first, last = options.frames
    if options.handles < 0:
        raise InputError(f"--handles must be at least 0, got {options.handles}")
    if last is not None and last < first:
        raise InputError(f"--frames {first}-{last} is no range: the last frame lies before the first")
    if options.workers is not None and not options.ray:
        raise InputError("--workers says how many share the work with --ray; add that, or leave it out")
    first, last = max(first - options.handles, 0), None if last is None else last + options.handles
    return Shot(options.input, options.output, options.preview, first, last)


def chosen_recipe(options: argparse.Namespace, config: ModelConfig) -> Recipe:
    """The model, and everything that decides what it makes of a frame."""
    from ..farm import Recipe

    settings = MatteSettings(
        plan=WindowPlan(options.window, options.overlap),
        refine=options.refine,
        noise=options.noise,
        steps=options.steps,
        seed=options.seed,
        low=options.low,
        high=options.high,
    )
    return Recipe(
        settings=sized(settings, options, config),
        model=options.model,
        dtype=PRECISIONS.get(options.precision),
        lora=None if options.lora == "none" else options.lora,
        lora_strength=options.lora_strength,
        device=None if options.device is None else torch.device(options.device),
        threads=options.threads,
        compiled=options.compile,
    )


def frame_range(text: str) -> tuple[int, int | None]:
    """``A-B``, ``A-`` or ``A`` as first and last frame.

    Example:
        >>> frame_range("100-199"), frame_range("100-"), frame_range("7")
        ((100, 199), (100, None), (7, 7))
    """
    first, dash, last = text.partition("-")
    return int(first), int(last) if last else None if dash else int(first)
