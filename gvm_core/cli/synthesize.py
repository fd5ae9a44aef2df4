"""``gvm synthesize``: make clips with exact mattes, drawn or composed from the user's own footage."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..progress import Progress

HELP = "make clips with exact mattes, drawn or from your own footage"


def add_options(command: argparse.ArgumentParser) -> None:
    """Options for the number, size and content of the clips, and the output."""
    command.add_argument("output", type=Path, help="folder for the clips: one folder each, with com/ pha/ fgr/ bgr/")
    command.add_argument("--clips", type=int, default=4)
    command.add_argument("--frames", type=int, default=24, help="most frames of each clip")
    command.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: 512 512, or the size of the footage"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of the first clip; each next clip has the next seed")
    command.add_argument("--tier", default="medium", help="tier of drawn clips: easy, medium or hard")
    command.add_argument("--foregrounds", type=Path, help="your subjects: fgr/ beside pha/, or media with alpha")
    command.add_argument("--backgrounds", type=Path, help="videos, pictures or folders of pictures for the subjects")
    command.add_argument("--degrade", type=float, default=0.0, help="camera faults in com/: 0 none, 1 usual, 2 strong")


def run(options: argparse.Namespace) -> None:
    """Make clips and write their layers as 16-bit PNGs."""
    from ..datasets.footage import composite_frames, find_subjects, media_in, pair_up
    from ..synthesis.scene import draw_frames
    from ..synthesis.write import write_clip

    if (options.foregrounds is None) != (options.backgrounds is None):
        raise InputError("--foregrounds and --backgrounds go together: give both or neither")
    size = tuple(options.size) if options.size else None
    if options.clips < 1 or options.frames < 1 or (size and min(size) < 8):
        raise InputError("clips and frames must be at least 1, and height and width at least 8 pixels")
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
