"""``gvm train``: train a model, from scratch or from another model, or a LoRA."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import InputError
from ..progress import Progress
from .options import PRECISIONS

if TYPE_CHECKING:
    from ..datasets.batch import Source
    from ..training.config import Stage
    from ..training.train import Find

HELP = "train a model, from scratch or from another model, or a LoRA"


def add_options(command: argparse.ArgumentParser) -> None:
    """Options for the training, its data and the result."""
    command.add_argument("output", type=Path, help="folder for checkpoints, losses, samples and the result")
    command.add_argument("--config", default="small", help="a JSON file, or one of small, quick, lora, paper")
    command.add_argument("--start", help="small, gvm or a model folder: replaces the configuration's start")
    command.add_argument(
        "--clips", type=Path, action="append", default=[], help="a folder of clips with mattes (repeat)"
    )
    command.add_argument(
        "--subjects", type=Path, action="append", default=[], help="a folder of people with mattes to cut out (repeat)"
    )
    command.add_argument(
        "--backgrounds", type=Path, action="append", default=[], help="pictures and panoramas for --subjects (repeat)"
    )
    command.add_argument("--photographs", type=Path, help="a folder of pictures for backgrounds of drawn clips")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--threads", type=int, help="CPU threads to use")
    command.add_argument("--workers", type=int, default=0, help="processes that prepare clips while the card trains")
    command.add_argument("--device", help="cuda, mps, cpu; default: cuda if there is one")
    command.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="bf16 takes half the time on cards and on CPUs with AVX-512 BF16 or AMX, but far longer on other CPUs",
    )


def run(options: argparse.Namespace) -> None:
    """Train as the configuration says, or resume a training that was stopped."""
    from ..datasets.backgrounds import read_places
    from ..datasets.cutouts import read_cutouts
    from ..datasets.drawn import read_photographs
    from ..datasets.pairs import find_labelled
    from ..training.config import read_config
    from ..training.processes import join_processes
    from ..training.sources import stage_source
    from ..training.train import Training

    if options.threads:
        torch.set_num_threads(options.threads)
    config = read_config(options.config)
    if options.start:
        config = replace(config, start=options.start)
    labelled = [clip for folder in options.clips for clip in find_labelled(folder)]
    photographs = read_photographs(options.photographs)
    if bool(options.subjects) != bool(options.backgrounds):
        raise InputError("--subjects and --backgrounds go together: people are cut out and put on other backgrounds")
    pools = options.output / "pools"

    bars: dict[str, Progress] = {}
    shown = ExitStack()

    def show(what: str, done: int, total: int) -> None:
        if what not in bars:
            shown.close()
            bars.clear()
            bars[what] = shown.enter_context(Progress(total or None, what))
            bars[what].count(done - 1, before=True)
        bars[what].reach(done, total)

    cutouts = read_cutouts(options.subjects, pools, partial(show, "subjects"))
    places = read_places(options.backgrounds) if options.backgrounds else None

    def source(stage: Stage, hard_negatives: Find) -> Source:
        drawn = partial(show, "drawn", total=0)
        searched = partial(hard_negatives, progress=partial(show, "views", total=stage.hard_negatives))
        return stage_source(stage, pools, labelled, photographs, drawn, cutouts, places, searched)

    training = Training(
        options.output,
        config,
        source,
        options.seed,
        PRECISIONS[options.precision],
        join_processes(options.device),
        partial(show, "steps"),
        options.workers,
    )
    with shown:
        result = training.run()
    print(f"the result is {result}")
