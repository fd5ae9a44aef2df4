"""``gvm label``: make training clips from real footage and rough masks."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from ..errors import InputError
from ..host.torch_host import TorchHost
from ..models.weights import load_model
from ..progress import Progress
from .options import add_picture_options, picture_settings, place

HELP = "make training clips from real footage and rough masks"


def add_options(command: argparse.ArgumentParser) -> None:
    """Options for the clips, the masks, and which parts of the masks are reliable."""
    command.add_argument("input", type=Path, nargs="+", help="videos, or folders of pictures")
    command.add_argument("output", type=Path, help="folder for the clips: one folder each, with com/ pha/ conf/")
    command.add_argument(
        "--masks", type=Path, help="folder with a mask video or mask folder named like each clip; or use --model"
    )
    command.add_argument("--model", default="gvm", help="model that makes masks if none are given: gvm, small, folder")
    command.add_argument(
        "--edge", type=float, default=0.01, help="width of the unreliable band at edges, as a share of the shorter side"
    )
    command.add_argument("--least", type=int, default=8, help="smallest number of frames in a clip")
    add_picture_options(command)


def run(options: argparse.Namespace) -> None:
    """Label each clip and write the parts with reliable labels."""
    from ..datasets.pairs import media_named
    from ..datasets.pseudo_labels import Doubt, label_frames, model_labeller, write_labels
    from ..media import open_frames

    doubt, wanted = Doubt(edge=options.edge, least=options.least), options.input
    names = [path.stem for path in wanted]
    if len(set(names)) < len(names):
        raise InputError("two clips have the same name; rename one, so that their labels are not mixed")
    masks = [media_named(options.masks, path.stem) for path in wanted] if options.masks else []
    labeller = None
    if not masks:
        device, dtype = place(options)
        model = load_model(options.model, dtype)
        labeller = model_labeller(model, picture_settings(options), TorchHost(device))
    for number, path in enumerate(wanted):
        with ExitStack() as stack:
            frames = stack.enter_context(open_frames(path))
            if labeller:
                again = stack.enter_context(open_frames(path))
                given = labeller(map(again.shown, again))
            else:
                given = (mask[:1] for mask in stack.enter_context(open_frames(masks[number])))
            progress = stack.enter_context(Progress(frames.count))
            labels = label_frames(map(frames.shown, frames), given, doubt)
            for _ in write_labels(options.output, path.stem, labels, doubt.least):
                progress.count(1)
    kept = [path for path in options.output.glob("*") if path.name[0] != "."] if options.output.is_dir() else []
    print(f"{len(kept)} clips in {options.output}; gvm train --clips reads them", file=sys.stderr)
