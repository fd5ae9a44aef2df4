"""``gvm matte``: matte a video, a picture or a folder of pictures."""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch

from ..errors import InputError
from ..frames import Clip
from ..media.formats import FORMATS
from ..media.sequence import Gaps
from ..models.weights import model_config
from ..post.light import LIGHTS
from ..progress import Progress
from ..runs.outputs import FIRST, Association
from .options import DEFAULTS, PRECISIONS, add_picture_options, picture_settings

if TYPE_CHECKING:
    from ..runs.cluster import Recipe
    from ..runs.shot import Shot

HELP = "matte a video, a picture or a folder of pictures"


def add_options(command: argparse.ArgumentParser) -> None:
    """Options for the input, the model, the settings and the output."""
    command.add_argument("input", type=Path, help="a video, a picture, a folder of pictures, or FOLDER/beauty.####.exr")
    kinds = ".mov, .mkv (lossless), .webm, .mp4, a folder for 16-bit PNGs, shot.####.exr, or .png"
    command.add_argument("output", type=Path, help=f"where the matte goes: {kinds}")
    command.add_argument("--model", default="demo", help="demo (default), gvm, or a model folder")
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
    command.add_argument("--frames", type=frame_range, default=(0, None), metavar="A-B", help="frames to matte, from 0")
    command.add_argument("--handles", type=int, default=0, help="extra frames before and after --frames")
    command.add_argument("--fps", type=frame_rate, help="frames per second of pictures, as in 23.976 (default 24)")
    held = "for missing numbers, hold the picture before (default), skip them, or refuse"
    command.add_argument("--gaps", choices=get_args(Gaps), default="hold", help=held)
    command.add_argument("--layer", metavar="NAME", help="the layer of EXR pictures, as in ViewLayer.Combined")
    told = "the light of the input, where its tags do not say it, as log footage: its curve and its colours"
    command.add_argument("--light", choices=list(LIGHTS), help=told)
    command.add_argument(
        "--strict", action="store_true", help="stop at damage in the input; else the frame before is held"
    )
    command.add_argument("--preview", type=Path, help="also write the subject over a checkerboard (.mp4, .mov, .png)")
    command.add_argument(
        "--region", type=Path, metavar="MASK", help="matte only near this: a mask, or one for each frame"
    )
    command.add_argument(
        "--follow",
        action="store_true",
        help="find the subject in a first quick pass, then look only there: for small ones",
    )
    add_delivery_options(command)
    command.add_argument("--compile", action="store_true", help="compile the networks: takes minutes, then runs faster")
    command.add_argument("--ray", action="store_true", help="share the work among the workers of a Ray cluster")
    command.add_argument("--workers", type=int, help="number of workers with --ray (default: one for each card)")
    command.add_argument("--threads", type=int, help="number of CPU threads; with --ray, of each worker")
    command.add_argument("--overwrite", action="store_true", help="replace existing output")


def add_delivery_options(command: argparse.ArgumentParser) -> None:
    """Options for the subject with its alpha, and for formats."""
    command.add_argument("--format", choices=FORMATS, help="of the matte, where the suffix does not tell it")
    command.add_argument(
        "--subject", type=Path, help="also write the subject with alpha: .mov, .webm, shot.####.exr, ..."
    )
    command.add_argument("--subject-format", choices=FORMATS, help="of the subject")
    command.add_argument(
        "--alpha", choices=get_args(Association), help="of the subject; by default what suits its format"
    )
    command.add_argument(
        "--linear", action=argparse.BooleanOptionalAction, help="write the subject in linear light (default for EXR)"
    )
    own = "foreground (default): the subject's own colours, without the old background; plate: those of the input"
    command.add_argument("--colours", choices=["foreground", "plate"], default="foreground", help=own)
    command.add_argument("--despill", choices=["off", "green", "blue"], default="off", help="remove a screen's spill")
    command.add_argument("--compression", help="of EXR: zip (default), zips, piz, dwaa or none")
    command.add_argument("--start", type=int, default=FIRST, help=f"first number in shot.#### (default {FIRST})")
    command.add_argument("--versions", action="store_true", help="add _v001 to the names, or the next free version")


def run(options: argparse.Namespace) -> None:
    """Read, matte and write one window at a time, or resume a run that was stopped."""
    from ..runs.cluster import matte_shot_with_ray
    from ..runs.matte import matte_shot
    from ..runs.resume import interrupted
    from ..runs.shot import refuse_taken

    shot = chosen_shot(options)
    if not options.overwrite and not interrupted(shot):
        refuse_taken(shot)  # before the model is loaded
    with shot.open(shot.first, shot.last) as wanted:
        count = wanted.count
    name, recipe = model_config(options.model).name, chosen_recipe(options)

    with Progress(count) as progress:

        def advance(frames: int, alpha: Clip | None = None, *, resumed: bool = False) -> None:  # noqa: ARG001
            progress.count(frames, before=resumed)

        if options.ray:
            done = matte_shot_with_ray(shot, recipe, advance, workers=options.workers, overwrite=options.overwrite)
        else:
            done = matte_shot(shot, recipe.pipeline(), advance, overwrite=options.overwrite)
    print(f"{done} frames matted with {name} -> {options.output}", file=sys.stderr)


def chosen_shot(options: argparse.Namespace) -> Shot:
    """The frames to matte and the output files."""
    from ..post.foreground import ForegroundSettings
    from ..runs.outputs import Delivery, next_version
    from ..runs.shot import Shot, with_handles

    if options.workers is not None and not options.ray:
        raise InputError("--workers is the number of workers with --ray; add --ray, or leave --workers out")
    frames = with_handles(options.frames, options.handles)
    read = {"fps": options.fps, "gaps": options.gaps, "layer": options.layer, "strict": options.strict}
    files = {"matte": options.output, "preview": options.preview, "subject": options.subject}
    if options.versions:
        wanted = {role: path for role, path in files.items() if path is not None}
        files |= dict(zip(wanted, next_version([*wanted.values()]), strict=True))
    delivery = Delivery(
        format=options.format,
        subject_format=options.subject_format,
        alpha=options.alpha,
        linear=options.linear,
        colours=options.colours,
        foreground=ForegroundSettings(screen=options.despill),
        compression=options.compression,
        start=options.start,
    )
    look = {"light": options.light, "region": options.region, "follow": options.follow}
    first, last = frames
    return Shot(options.input, **files, first=first, last=last, **read, **look, delivery=delivery)


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


def frame_range(text: str) -> tuple[int, int | None]:
    """First and last frame of ``A-B``, ``A-`` or ``A``; the last is None for ``A-``.

    Example:
        >>> frame_range("100-199"), frame_range("100-"), frame_range("7")
        ((100, 199), (100, None), (7, 7))
    """
    first, dash, last = text.partition("-")
    return int(first), int(last) if last else None if dash else int(first)


def frame_rate(text: str) -> Fraction:
    """Frames per second as an exact fraction. Rounded rates of broadcasting are the fractions that they stand for.

    Example:
        >>> frame_rate("25"), frame_rate("30000/1001"), frame_rate("23.976"), frame_rate("12.50")
        (Fraction(25, 1), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25, 2))
    """
    try:
        rate, places = Fraction(text), len(text.partition(".")[2])
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a frame rate, as 24, 23.976 or 30000/1001 are") from error
    broadcast = Fraction(round(rate) * 1000, 1001)
    return broadcast if places > 1 and round(broadcast, places) == rate else rate
