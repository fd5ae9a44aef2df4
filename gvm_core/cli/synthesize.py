"""``gvm synthesize``: make clips with exact mattes, drawn or from the user's own footage."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..progress import Progress

HELP = "make clips with exact mattes, drawn or from your own footage"


def add_options(command: argparse.ArgumentParser) -> None:
    """How many clips, how large, of what, and where to write them."""
    command.add_argument("output", type=Path, help="gets a folder for each clip, with com/ pha/ fgr/ bgr/ in it")
    command.add_argument("--clips", type=int, default=4)
    command.add_argument("--frames", type=int, default=24, help="frames of each clip, at most")
    command.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: 512 512, or as the footage is"
    )
    command.add_argument("--seed", type=int, default=0, help="the first clip's; the next clips count on")
    command.add_argument("--tier", default="medium", help="of drawn clips: easy, medium or hard")
    command.add_argument("--foregrounds", type=Path, help="your subjects: fgr/ beside pha/, or media with alpha")
    command.add_argument("--backgrounds", type=Path, help="videos, pictures, folders of pictures to put them over")
    command.add_argument("--degrade", type=float, default=0.0, help="what cameras do to com/: 1 is ordinary, 2 is bad")


def run(options: argparse.Namespace) -> None:
    """Make clips and write their layers as 16-bit PNGs."""
    from ..datasets.footage import composite_frames, find_subjects, media_in, pair_up
    from ..synthesis.scene import draw_frames
    from ..synthesis.write import write_clip

    if (options.foregrounds is None) != (options.backgrounds is None):
        raise InputError("--foregrounds and --backgrounds go together")
    size = tuple(options.size) if options.size else None
    if options.clips < 1 or options.frames < 1 or (size and min(size) < 8):
        raise InputError("clips and frames must be at least 1, and edges at least 8 pixels")
    if options.foregrounds is not None:
        backgrounds = media_in(options.backgrounds) if options.backgrounds.is_dir() else [options.backgrounds]
        if not backgrounds:
            raise InputError(f"{options.backgrounds} holds no video and no picture")
        chosen = pair_up(find_subjects(options.foregrounds), backgrounds, options.clips, options.seed)
        sources = [partial(composite_frames, subject, behind, size, options.frames) for subject, behind in chosen]
        names = [f"{n:04}_{subject.name}_{behind.stem}" for n, (subject, behind) in enumerate(chosen)]
    else:
        seeds = range(options.seed, options.seed + options.clips)
        sources = [partial(draw_frames, seed, size or (512, 512), options.frames, tier=options.tier) for seed in seeds]
        names = [f"{options.tier}_{seed:06}" for seed in seeds]
    with Progress(options.clips * options.frames) as progress:
        for number, (name, source) in enumerate(zip(names, sources, strict=True)):
            for _ in write_clip(options.output / name, source(), options.degrade, options.seed + number):
                progress.count(1)
    print(f"{len(names)} clips in {options.output}; gvm evaluate folder reads them", file=sys.stderr)
