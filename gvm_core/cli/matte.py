"""``gvm matte``: matte a video, a picture, a folder of pictures, or each clip of a folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import InputError
from ..media.folder import is_folder_of_clips
from ..models.weights import model_config
from .folder import matte_folder
from .options import DEFAULTS, PRECISIONS, add_picture_options, picture_settings
from .shots import INPUT, OUTPUT, add_shot_options, carry_out, chosen_shot, summary

if TYPE_CHECKING:
    from ..pipeline import MattingPipeline
    from ..runs.cluster import Recipe
    from ..runs.matte import Advance
    from ..runs.shot import Shot

HELP = "matte a video, a picture, a folder of pictures, or each clip of a folder"


def add_options(command: argparse.ArgumentParser) -> None:
    """Options for the input, the model, the settings and the output."""
    command.add_argument("input", type=Path, help=f"{INPUT}; or a folder of clips")
    command.add_argument(
        "output", type=Path, help=f"where the matte goes: {OUTPUT}; for a folder of clips a folder, or '{{name}}.mov'"
    )
    command.add_argument("--model", default="small", help="small (default), gvm, or a model folder")
    command.add_argument("--lora", default="auto", help="auto (default), none, or a LoRA file")
    command.add_argument("--lora-strength", type=float, default=1.0)
    add_picture_options(command)
    command.add_argument(
        "--noise", choices=["zeros", "gaussian"], default=DEFAULTS.noise, help="gaussian: experimental, needs diffusers"
    )
    command.add_argument("--steps", type=int, default=DEFAULTS.steps)
    command.add_argument("--seed", type=int, default=DEFAULTS.seed, help="for gaussian noise")
    command.add_argument("--low", type=float, default=DEFAULTS.low, help="alpha at or below this becomes 0")
    command.add_argument("--high", type=float, default=DEFAULTS.high, help="alpha at or above this becomes 1")
    command.add_argument(
        "--region", type=Path, metavar="MASK", help="matte only near this: a mask, or one for each frame"
    )
    command.add_argument(
        "--follow",
        action="store_true",
        help="find the subject in a first quick pass, then look only there: for small ones",
    )
    add_shot_options(command)
    command.add_argument("--compile", action="store_true", help="compile the networks: takes minutes, then runs faster")
    command.add_argument("--ray", action="store_true", help="share the work among the workers of a Ray cluster")
    command.add_argument("--workers", type=int, help="number of workers with --ray (default: one for each card)")


def run(options: argparse.Namespace) -> None:
    """Read, matte and write one window at a time, or resume a run that was stopped."""
    if options.workers is not None and not options.ray:
        raise InputError("--workers is the number of workers with --ray; add --ray, or leave --workers out")
    matter = Matter()
    if is_folder_of_clips(options.input):
        matte_folder(options, add_options, shot_of, matter)
        return
    shot = shot_of(options)
    done = matter(shot, options)
    print(summary(done, f"matted with {model_config(options.model).name}", shot), file=sys.stderr)


def shot_of(options: argparse.Namespace) -> Shot:
    """What to matte and what to write."""
    return chosen_shot(options, region=options.region, follow=options.follow)


class Matter:
    """Mattes shots. The model is loaded once, for as long as the settings stay the same."""

    def __init__(self) -> None:
        self.recipe: Recipe | None = None
        self.pipeline: MattingPipeline | None = None

    def __call__(self, shot: Shot, options: argparse.Namespace) -> int:
        """Matte a shot. Return its number of frames."""
        from ..runs.cluster import matte_shot_with_ray
        from ..runs.matte import matte_shot

        recipe, overwrite = chosen_recipe(options), options.overwrite

        def run(advance: Advance) -> int:
            if options.ray:
                return matte_shot_with_ray(shot, recipe, advance, workers=options.workers, overwrite=overwrite)
            if self.pipeline is None or recipe != self.recipe:
                self.recipe, self.pipeline = recipe, recipe.pipeline()
            return matte_shot(shot, self.pipeline, advance, overwrite=overwrite)

        return carry_out(shot, options, run)


def chosen_recipe(options: argparse.Namespace) -> Recipe:
    """The model and all settings that decide its mattes."""
    from ..runs.cluster import Recipe

    return Recipe(
        settings=picture_settings(
            options, noise=options.noise, steps=options.steps, seed=options.seed, low=options.low, high=options.high
        ),
        model=options.model,
        dtype=PRECISIONS.get(options.precision),
        lora=None if options.lora == "none" else options.lora,
        lora_strength=options.lora_strength,
        device=None if options.device is None else torch.device(options.device),
        threads=options.threads,
        compiled=options.compile,
    )
