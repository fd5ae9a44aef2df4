"""``gvm evaluate``: score models and baselines against the truth."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..host.torch_host import TorchHost
from ..models.weights import released_folder
from .options import add_picture_options, picture_settings, place

if TYPE_CHECKING:
    from ..evaluation.cases import Case

HELP = "score models and baselines against the truth"


def add_options(command: argparse.ArgumentParser) -> None:
    """Options for the cases, the models and baselines, and the results."""
    kinds = command.add_subparsers(required=True, metavar="WHAT")
    synthetic = kinds.add_parser("synthetic", help="on clips drawn from seeds that no training saw")
    synthetic.set_defaults(cases=drawn_cases)
    synthetic.add_argument(
        "--tier", action="append", help="easy, medium or hard; repeat for more (default: easy, medium)"
    )
    synthetic.add_argument("--clips", type=int, default=16, help="clips of each tier")
    synthetic.add_argument("--seed", type=int, default=0, help="seed of the set of clips")
    synthetic.add_argument("--size", type=int, default=128, help="edge of the clips in pixels")
    synthetic.add_argument("--frames", type=int, default=16, help="frames of each clip")
    folder = kinds.add_parser("folder", help="on folders of frames with folders of mattes beside them")
    folder.set_defaults(cases=found_cases)
    folder.add_argument("root", type=Path, help="VideoMatte240K's test sets, V-HIM60, P3M-500, AM-2K, or similar")
    folder.add_argument("--names", nargs=2, metavar=("FRAMES", "MATTES"), help="folder names, if not the usual ones")
    folder.add_argument("--frames", type=int, help="use at most this many frames of a clip")
    people = kinds.add_parser("people", help="on real people, unchanged and composed, and on views without people")
    people.set_defaults(cases=real_cases)
    people.add_argument("subjects", type=Path, nargs="+", help="folders of people with mattes that no training saw")
    people.add_argument(
        "--backgrounds", type=Path, action="append", required=True, help="panoramas or pictures without people (repeat)"
    )
    people.add_argument("--clips", type=int, default=24, help="clips of people in motion")
    people.add_argument("--views", type=int, default=60, help="views of backgrounds without people")
    people.add_argument("--seed", type=int, default=0, help="seed of the set of clips and views")
    people.add_argument("--size", type=int, default=256, help="edge of the clips and views in pixels")
    people.add_argument("--frames", type=int, default=16, help="frames of each clip")
    for each in (synthetic, folder, people):
        each.add_argument(
            "--model", action="append", default=[], help="small, gvm or a folder; add @1 to matte frame by frame"
        )
        each.add_argument("--baseline", action="append", default=[], help="background, walker or blurred-mask")
        each.add_argument(
            "--result",
            action="append",
            default=[],
            metavar="NAME=FOLDER",
            help="mattes made by other programs: a folder, video or picture with the name of each case",
        )
        each.add_argument("--export", type=Path, help="only write all frames and truths here, for other programs")
        each.add_argument("--json", type=Path, help="store every result in this file; run again to resume")
        each.add_argument("--plot", type=Path, help="draw the means to this file (needs Matplotlib)")
        add_picture_options(each)


def run(options: argparse.Namespace) -> None:
    """Score, print the table and store the results."""
    from ..evaluation.cases import export
    from ..evaluation.contestants import BASELINES, digest_of, fingerprint, model_contestant, results_contestant
    from ..evaluation.report import evaluate, plot, table

    if unknown := [name for name in options.baseline if name not in BASELINES]:
        raise InputError(f"there is no baseline {unknown[0]!r}; the baselines are {', '.join(BASELINES)}")
    results = dict(split_result(each) for each in options.result)
    models = options.model or ([] if options.baseline or results else ["small"])
    cases, what = options.cases(options)
    if options.export:
        for case in cases:
            export(case, options.export)
        print(f"{len(cases)} cases in {options.export}, frames in com, truths in pha; --result scores mattes of them")
        return
    device, dtype = place(options)
    settings = picture_settings(options)
    described = what | {"window": options.window, "overlap": options.overlap, "precision": str(dtype).partition(".")[2]}
    described |= {"short_edge": options.short_edge, "max_edge": options.max_edge, "refine": options.refine}
    host = TorchHost(device)
    makers = {spec: partial(model_contestant, spec, settings, dtype, host) for spec in models}
    makers |= {name: partial(BASELINES.__getitem__, name) for name in options.baseline}
    makers |= {name: partial(results_contestant, name, folder) for name, folder in results.items()}
    weights = {spec: fingerprint(spec) for spec in models}
    weights |= {name: digest_of(folder) for name, folder in results.items()}
    report = evaluate(makers, weights, cases, described, options.json, lambda line: print(line, file=sys.stderr))
    print(table(report))
    if options.plot:
        plot(report, options.plot)


def split_result(given: str) -> tuple[str, Path]:
    """Split ``NAME=FOLDER``."""
    name, found, folder = given.partition("=")
    if not found or not Path(folder).is_dir():
        raise InputError(f"--result takes NAME=FOLDER with a folder that exists, got {given!r}")
    return name, Path(folder)


def drawn_cases(options: argparse.Namespace) -> tuple[list[Case], dict[str, object]]:
    """The cases of the synthetic benchmark, and the settings that they depend on."""
    from ..evaluation.cases import synthetic_cases

    tiers = tuple(options.tier or ("easy", "medium"))
    what = {"tiers": list(tiers), "clips": options.clips, "seed": options.seed, "size": options.size}
    cases = synthetic_cases(tiers, options.clips, options.seed, options.size, options.frames)
    return cases, what | {"frames": options.frames}


def found_cases(options: argparse.Namespace) -> tuple[list[Case], dict[str, object]]:
    """The cases in a folder, and the settings that they depend on."""
    from ..evaluation.cases import folder_cases

    cases = folder_cases(options.root, options.frames, tuple(options.names) if options.names else None)
    return cases, {"root": str(options.root), "frames": options.frames}


def real_cases(options: argparse.Namespace) -> tuple[list[Case], dict[str, object]]:
    """The cases of the benchmark on people, and the settings that they depend on."""
    from ..evaluation.cases import people_cases

    numbers = {name: getattr(options, name) for name in ("clips", "views", "seed", "size", "frames")}
    pools = released_folder().parent / "cutouts"
    cases = people_cases(options.subjects, options.backgrounds, pools, **numbers)
    what = {name: [str(path) for path in getattr(options, name)] for name in ("subjects", "backgrounds")}
    return cases, {**what, **numbers}
