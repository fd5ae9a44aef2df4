"""Options for what to read and what to write, which `matte` and `refine` share, and carrying out a run with a progress bar."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..frames import Clip
from ..media.formats import FORMATS
from ..media.sequence import Gaps
from ..post.light import LIGHTS
from ..progress import Progress
from ..runs.outputs import FIRST, Association

if TYPE_CHECKING:
    from ..runs.matte import Advance
    from ..runs.shot import Shot

INPUT = "a video, a picture, a folder of pictures, or FOLDER/beauty.####.exr"
OUTPUT = ".mov, .mkv (lossless), .webm, .mp4, a folder for 16-bit PNGs, shot.####.exr, or .png"


def add_shot_options(command: argparse.ArgumentParser) -> None:
    """Options for frames, the input, the outputs and their formats."""
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
    command.add_argument("--threads", type=int, help="number of CPU threads; with --ray, of each worker")
    command.add_argument("--overwrite", action="store_true", help="replace existing output")


def chosen_shot(options: argparse.Namespace, **look: Any) -> Shot:
    """The frames to matte and the output files; ``look`` are more fields of the `Shot`."""
    from ..post.foreground import ForegroundSettings
    from ..runs.outputs import Delivery, next_version
    from ..runs.shot import Shot, with_handles

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
    look["light"] = options.light
    first, last = frames
    return Shot(options.input, **files, first=first, last=last, **read, **look, delivery=delivery)


def carry_out(shot: Shot, options: argparse.Namespace, run: Callable[[Advance], int]) -> int:
    """Run ``run`` with a progress bar. Return its number of frames.

    Raises:
        MediaError: If an output exists already: before a model is loaded.
    """
    from ..runs.resume import interrupted
    from ..runs.shot import refuse_taken

    if not options.overwrite and not interrupted(shot):
        refuse_taken(shot)
    with shot.open(shot.first, shot.last) as wanted:
        count = wanted.count
    with Progress(count) as progress:

        def advance(frames: int, alpha: Clip | None = None, *, resumed: bool = False) -> None:  # noqa: ARG001
            progress.count(frames, before=resumed)

        return run(advance)


def summary(frames: int, what: str, shot: Shot) -> str:
    """The last line of a run: how many frames, and every output.

    Example:
        >>> from gvm_core.runs.shot import Shot
        >>> summary(1, "matted", Shot(Path("face.jpg"), Path("face.png"), Path("over.png")))
        '1 frame matted -> face.png, over.png'
    """
    places = ", ".join(str(output.path) for output in shot.outputs)
    return f"{frames} frame{'' if frames == 1 else 's'} {what} -> {places}"


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
