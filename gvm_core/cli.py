"""The command line, ``gvm COMMAND`` or ``python -m gvm_core COMMAND``: see `parser`. The one module that prints."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .errors import GVMError, InputError
from .host.torch_host import TorchHost, fastest_device, suitable_dtype
from .models.weights import ModelConfig, load_model, model_config, released_folder
from .progress import Progress
from .settings import MatteSettings
from .windows import WindowPlan

if TYPE_CHECKING:
    from .evaluation.cases import Case
    from .training.config import Stage
    from .training.dataset import Source

DEFAULTS = MatteSettings()
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 with a sentence when it did not, 130 when the user stopped it."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)  # of others only what is wrong
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except GVMError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; no half file was left under a final name", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Every command and option."""
    top = argparse.ArgumentParser(prog="gvm", description="Generative Video Matting")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    matte = commands.add_parser("matte", help="matte a video, a picture or a folder of pictures")
    matte.set_defaults(run=run_matte)
    matte.add_argument("input", type=Path, help="a video, a picture, or a folder of numbered pictures")
    matte.add_argument("output", type=Path, help=".mp4, .mov or .mkv (lossless), a folder for 16-bit PNGs, or .png")
    matte.add_argument("--model", default="demo", help="demo (default), gvm, or a model folder")
    matte.add_argument("--lora", default="auto", help="auto (default), none, or a LoRA file")
    matte.add_argument("--lora-strength", type=float, default=1.0)
    add_picture_options(matte)
    matte.add_argument(
        "--noise", choices=["zeros", "gaussian"], default=DEFAULTS.noise, help="gaussian: experimental, needs diffusers"
    )
    matte.add_argument("--steps", type=int, default=DEFAULTS.steps)
    matte.add_argument("--seed", type=int, default=DEFAULTS.seed, help="for gaussian noise")
    matte.add_argument("--low", type=float, default=DEFAULTS.low, help="alpha at or below becomes 0")
    matte.add_argument("--high", type=float, default=DEFAULTS.high, help="alpha at or above becomes 1")
    matte.add_argument("--frames", type=frame_range, default=(0, None), metavar="A-B", help="only these, from 0")
    matte.add_argument("--handles", type=int, default=0, help="so many frames more on either side of --frames")
    matte.add_argument("--preview", type=Path, help="also write the subject over a checkerboard (.mp4, .mov, .png)")
    matte.add_argument("--compile", action="store_true", help="compile the networks first: minutes, then faster")
    matte.add_argument("--ray", action="store_true", help="share the work among the workers of a Ray cluster")
    matte.add_argument("--workers", type=int, help="how many, with --ray (default: one a card)")
    matte.add_argument("--threads", type=int, help="CPU threads to use, of each worker with --ray")
    matte.add_argument("--overwrite", action="store_true", help="replace what is there")

    fetch = commands.add_parser("fetch", help="fetch the released GVM weights (6.5 GB)")
    fetch.set_defaults(run=run_fetch)
    fetch.add_argument("--to", type=Path, default=released_folder(), help="model folder (default: %(default)s)")
    fetch.add_argument("--yes", action="store_true", help="do not ask; you have read the licence notice")

    evaluate = commands.add_parser("evaluate", help="score models and baselines against the truth")
    kinds = evaluate.add_subparsers(required=True, metavar="WHAT")
    synthetic = kinds.add_parser("synthetic", help="on clips drawn from seeds that no training saw")
    synthetic.set_defaults(run=run_evaluate, cases=drawn_cases)
    synthetic.add_argument(
        "--tier", action="append", help="easy, medium or hard; again for more (default: easy, medium)"
    )
    synthetic.add_argument("--clips", type=int, default=16, help="clips of each tier")
    synthetic.add_argument("--seed", type=int, default=0, help="names the set of clips")
    synthetic.add_argument("--size", type=int, default=128, help="edge of the clips in pixels")
    synthetic.add_argument("--frames", type=int, default=16, help="frames of each clip")
    folder = kinds.add_parser("folder", help="on folders of frames with folders of mattes beside them")
    folder.set_defaults(run=run_evaluate, cases=found_cases)
    folder.add_argument("root", type=Path, help="VideoMatte240K's test sets, V-HIM60, P3M-500, AM-2K, or the like")
    folder.add_argument("--names", nargs=2, metavar=("FRAMES", "MATTES"), help="names of the two folders, if others")
    folder.add_argument("--frames", type=int, help="take at most this many frames of a clip")
    people = kinds.add_parser("people", help="on real people: as they are, in motion before other places, and nobody")
    people.set_defaults(run=run_evaluate, cases=real_cases)
    people.add_argument("subjects", type=Path, nargs="+", help="folders of people with mattes that no training saw")
    people.add_argument(
        "--backgrounds", type=Path, action="append", required=True, help="panoramas or pictures without people; again"
    )
    people.add_argument("--clips", type=int, default=24, help="clips in motion")
    people.add_argument("--views", type=int, default=60, help="views of the places alone")
    people.add_argument("--seed", type=int, default=0, help="names the set of clips and views")
    people.add_argument("--size", type=int, default=256, help="their edge in pixels")
    people.add_argument("--frames", type=int, default=16, help="frames of each clip")
    for each in (synthetic, folder, people):
        each.add_argument(
            "--model", action="append", default=[], help="demo, gvm or a folder; @1 after it: frame by frame"
        )
        each.add_argument("--baseline", action="append", default=[], help="background, walker or blurred-mask")
        each.add_argument(
            "--result",
            action="append",
            default=[],
            metavar="NAME=FOLDER",
            help="mattes made elsewhere: of each case a folder, video or picture of its name",
        )
        each.add_argument("--export", type=Path, help="write all frames and truths here, for others to matte, and stop")
        each.add_argument("--json", type=Path, help="keep every result here; run again to go on from it")
        each.add_argument("--plot", type=Path, help="draw the means here (needs Matplotlib)")
        add_picture_options(each)

    synthesize = commands.add_parser("synthesize", help="make clips with exact mattes, drawn or from your own footage")
    synthesize.set_defaults(run=run_synthesize)
    synthesize.add_argument("output", type=Path, help="gets a folder for each clip, with com/ pha/ fgr/ bgr/ in it")
    synthesize.add_argument("--clips", type=int, default=4)
    synthesize.add_argument("--frames", type=int, default=24, help="frames of each clip, at most")
    synthesize.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: 512 512, or as the footage is"
    )
    synthesize.add_argument("--seed", type=int, default=0, help="the first clip's; the next clips count on")
    synthesize.add_argument("--tier", default="medium", help="of drawn clips: easy, medium or hard")
    synthesize.add_argument("--foregrounds", type=Path, help="your subjects: fgr/ beside pha/, or media with alpha")
    synthesize.add_argument("--backgrounds", type=Path, help="videos, pictures, folders of pictures to put them over")
    synthesize.add_argument(
        "--degrade", type=float, default=0.0, help="what cameras do to com/: 1 is ordinary, 2 is bad"
    )

    label = commands.add_parser("label", help="make training clips of real footage and rough masks")
    label.set_defaults(run=run_label)
    label.add_argument("input", type=Path, nargs="+", help="videos, or folders of pictures")
    label.add_argument("output", type=Path, help="gets a folder for each steady stretch: com/ pha/ conf/")
    label.add_argument(
        "--masks", type=Path, help="folder with a mask video or folder of each clip's name; or use --model"
    )
    label.add_argument(
        "--model", default="gvm", help="the model that labels where there are no masks: gvm, demo, folder"
    )
    label.add_argument("--edge", type=float, default=0.01, help="doubtful band about edges, share of the shorter side")
    label.add_argument("--least", type=int, default=8, help="frames a stretch must have")
    add_picture_options(label)

    train = commands.add_parser("train", help="train a model, from nothing or from another, or a LoRA")
    train.set_defaults(run=run_train)
    train.add_argument("output", type=Path, help="folder for checkpoints, losses, samples and the result")
    train.add_argument(
        "--config", default="demo", help="a JSON file, or one of small, demo, demo-detail, demo-quick, lora, paper"
    )
    train.add_argument("--start", help="a model folder, demo or gvm to begin from, in place of the configuration's")
    train.add_argument("--clips", type=Path, action="append", default=[], help="a folder of clips with mattes (repeat)")
    train.add_argument(
        "--subjects", type=Path, action="append", default=[], help="a folder of people with mattes to cut out (repeat)"
    )
    train.add_argument(
        "--backgrounds", type=Path, action="append", default=[], help="pictures and panoramas to put them in (repeat)"
    )
    train.add_argument("--photographs", type=Path, help="a folder of pictures for backgrounds of drawn clips")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--threads", type=int, help="CPU threads to use")
    train.add_argument("--workers", type=int, default=0, help="processes that prepare clips beside the card")
    train.add_argument("--device", help="cuda, mps, cpu; default: cuda if there is one")
    train.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="bf16 takes half the time on processors with AVX-512 BF16 or AMX and on cards, far longer on others",
    )
    return top


def add_picture_options(command: argparse.ArgumentParser) -> None:
    """What several commands let the user choose about the network's work."""
    command.add_argument("--window", type=int, default=DEFAULTS.plan.length, help="frames the network sees at once")
    command.add_argument("--overlap", type=int, default=DEFAULTS.plan.overlap, help="frames neighbouring windows share")
    command.add_argument(
        "--short-edge", type=edge, help="scale the shorter side to this; 'own' keeps it (default: as suits the model)"
    )
    command.add_argument("--max-edge", type=edge, help="then limit the longer side to this, or 'own'")
    command.add_argument(
        "--refine",
        type=int,
        metavar="PIXELS",
        help="bring edges to where the frames have them, looking so far around; 0 for none (default: as suits the model)",
    )
    command.add_argument("--device", help="cpu, cuda, mps, ... (default: the fastest)")
    command.add_argument("--precision", choices=["auto", *PRECISIONS], default="auto")


def edge(text: str) -> int:
    """A number of pixels, or ``own``, for which 0 stands."""
    return 0 if text == "own" else int(text)


def run_matte(options: argparse.Namespace) -> None:
    """Read, matte and write, one window at a time, or go on where an earlier run was stopped."""
    from .farm import Recipe, matte_shot_with_ray
    from .media import open_frames
    from .shot import Shot, interrupted, matte_shot, refuse_taken

    first, last = options.frames
    if options.handles < 0:
        raise InputError(f"--handles must be at least 0, got {options.handles}")
    if last is not None and last < first:
        raise InputError(f"--frames {first}-{last} is no range: the last frame lies before the first")
    if options.workers is not None and not options.ray:
        raise InputError("--workers says how many share the work with --ray; add that, or leave it out")
    first, last = max(first - options.handles, 0), None if last is None else last + options.handles
    shot = Shot(options.input, options.output, options.preview, first, last)
    if not options.overwrite and not interrupted(shot):
        refuse_taken(shot)  # before the model is loaded
    with open_frames(options.input, first, last) as wanted:
        count = wanted.count
    config = model_config(options.model)
    settings = MatteSettings(
        plan=WindowPlan(options.window, options.overlap),
        refine=options.refine,
        noise=options.noise,
        steps=options.steps,
        seed=options.seed,
        low=options.low,
        high=options.high,
    )
    recipe = Recipe(
        settings=sized(settings, options, config),
        model=options.model,
        dtype=PRECISIONS.get(options.precision),
        lora=None if options.lora == "none" else options.lora,
        lora_strength=options.lora_strength,
        device=None if options.device is None else torch.device(options.device),
        threads=options.threads,
        compiled=options.compile,
    )

    with Progress(count) as progress:
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
    print(f"{done} frames matted with {config.name} -> {options.output}", file=sys.stderr)


def frame_range(text: str) -> tuple[int, int | None]:
    """``A-B``, ``A-`` or ``A`` as first and last frame.

    Example:
        >>> frame_range("100-199"), frame_range("100-"), frame_range("7")
        ((100, 199), (100, None), (7, 7))
    """
    first, dash, last = text.partition("-")
    return int(first), int(last) if last else None if dash else int(first)


def sized(settings: MatteSettings, options: argparse.Namespace, config: ModelConfig) -> MatteSettings:
    """``settings`` with the size asked for, or what suits the model."""
    return replace(
        settings,
        short_edge=config.short_edge if options.short_edge is None else options.short_edge or None,
        max_edge=config.max_edge if options.max_edge is None else options.max_edge or None,
    )


def place(options: argparse.Namespace) -> tuple[torch.device, torch.dtype]:
    """The device and precision asked for, or what is fastest here and does well there."""
    device = fastest_device() if options.device is None else torch.device(options.device)
    return device, suitable_dtype(device) if options.precision == "auto" else PRECISIONS[options.precision]


def run_fetch(options: argparse.Namespace) -> None:
    """Show size and licence, ask, download."""
    from .models.download import GVM, fetch_release

    print(f"{GVM.repo}: about {GVM.size / 1e9:.1f} GB, to {options.to}\n\n{GVM.notice}\n")
    if not options.yes:
        if not sys.stdin.isatty():
            raise InputError("nobody is here to agree; run it again with --yes once you have read the notice above")
        if input("Fetch them? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was fetched")
            return
    with Progress(None, "bytes") as progress:
        fetch_release(GVM, options.to, progress.reach)
    print(f"ready: gvm matte IN OUT --model {options.to}")


def run_evaluate(options: argparse.Namespace) -> None:
    """Score, print the table, keep the results."""
    from .evaluation.cases import export
    from .evaluation.contestants import BASELINES, digest_of, fingerprint, model_contestant, results_contestant
    from .evaluation.report import evaluate, plot, table

    if unknown := [name for name in options.baseline if name not in BASELINES]:
        raise InputError(f"there is no baseline {unknown[0]!r}; there are {', '.join(BASELINES)}")
    results = dict(split_result(each) for each in options.result)
    models = options.model or ([] if options.baseline or results else ["demo"])
    cases, what = options.cases(options)
    if options.export:
        for case in cases:
            export(case, options.export)
        print(f"{len(cases)} cases in {options.export}, frames in com, truths in pha; --result takes mattes of them")
        return
    device, dtype = place(options)
    own_size = options.short_edge is not None or options.max_edge is not None
    settings = MatteSettings(
        plan=WindowPlan(options.window, options.overlap),
        short_edge=options.short_edge or None,
        max_edge=options.max_edge or None,
        refine=options.refine,
    )
    described = what | {"window": options.window, "overlap": options.overlap, "precision": str(dtype).partition(".")[2]}
    described |= {"short_edge": options.short_edge, "max_edge": options.max_edge, "refine": options.refine}
    host = TorchHost(device)
    makers = {spec: partial(model_contestant, spec, settings, dtype, host, own_size=own_size) for spec in models}
    makers |= {name: partial(BASELINES.__getitem__, name) for name in options.baseline}
    makers |= {name: partial(results_contestant, name, folder) for name, folder in results.items()}
    weights = {spec: fingerprint(spec) for spec in models}
    weights |= {name: digest_of(folder) for name, folder in results.items()}
    report = evaluate(makers, weights, cases, described, options.json, lambda line: print(line, file=sys.stderr))
    print(table(report))
    if options.plot:
        plot(report, options.plot)


def split_result(given: str) -> tuple[str, Path]:
    """``NAME=FOLDER`` in two."""
    name, found, folder = given.partition("=")
    if not found or not Path(folder).is_dir():
        raise InputError(f"--result takes NAME=FOLDER, with a folder that is there; got {given!r}")
    return name, Path(folder)


def drawn_cases(options: argparse.Namespace) -> tuple[list[Case], dict[str, object]]:
    """The synthetic benchmark, and what it depends on."""
    from .evaluation.cases import synthetic_cases

    tiers = tuple(options.tier or ("easy", "medium"))
    what = {"tiers": list(tiers), "clips": options.clips, "seed": options.seed, "size": options.size}
    cases = synthetic_cases(tiers, options.clips, options.seed, options.size, options.frames)
    return cases, what | {"frames": options.frames}


def real_cases(options: argparse.Namespace) -> tuple[list[Case], dict[str, object]]:
    """The benchmark on people, and what it depends on."""
    from .evaluation.cases import people_cases

    numbers = {name: getattr(options, name) for name in ("clips", "views", "seed", "size", "frames")}
    pools = released_folder().parent / "cutouts"
    cases = people_cases(options.subjects, options.backgrounds, pools, **numbers)
    what = {name: [str(path) for path in getattr(options, name)] for name in ("subjects", "backgrounds")}
    return cases, {**what, **numbers}


def found_cases(options: argparse.Namespace) -> tuple[list[Case], dict[str, object]]:
    """The cases in a folder, and what they depend on."""
    from .evaluation.cases import folder_cases

    cases = folder_cases(options.root, options.frames, tuple(options.names) if options.names else None)
    return cases, {"root": str(options.root), "frames": options.frames}


def run_synthesize(options: argparse.Namespace) -> None:
    """Make clips and write their layers as 16-bit PNGs."""
    from .training.footage import composite_frames, find_subjects, media_in, pair_up
    from .training.studio.scene import draw_frames
    from .training.write import write_clip

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


def run_label(options: argparse.Namespace) -> None:
    """Label clip after clip and write what can be believed."""
    from .media import open_frames
    from .training.pairs import media_named
    from .training.pseudo import Doubt, label_frames, model_labeller, write_labels

    doubt, wanted = Doubt(edge=options.edge, least=options.least), options.input
    names = [path.stem for path in wanted]
    if len(set(names)) < len(names):
        raise InputError("two clips have the same name; rename one, or their labels would be mixed")
    masks = [media_named(options.masks, path.stem) for path in wanted] if options.masks else []
    labeller = None
    if not masks:
        device, dtype = place(options)
        model = load_model(options.model, dtype)
        settings = MatteSettings(plan=WindowPlan(options.window, options.overlap), refine=options.refine)
        labeller = model_labeller(model, sized(settings, options, model.config), TorchHost(device))
    for number, path in enumerate(wanted):
        with ExitStack() as stack:
            frames = stack.enter_context(open_frames(path))
            if labeller:
                given = labeller(stack.enter_context(open_frames(path)))
            else:
                given = (mask[:1] for mask in stack.enter_context(open_frames(masks[number])))
            progress = stack.enter_context(Progress(frames.count))
            for _ in write_labels(options.output, path.stem, label_frames(frames, given, doubt), doubt.least):
                progress.count(1)
    kept = [path for path in options.output.glob("*") if path.name[0] != "."] if options.output.is_dir() else []
    print(f"{len(kept)} clips in {options.output}; train --clips reads them", file=sys.stderr)


def run_train(options: argparse.Namespace) -> None:
    """Train what the configuration says, or go on where it stopped."""
    from .training.config import read_config
    from .training.dataset import read_photographs
    from .training.datasets.backgrounds import read_places
    from .training.datasets.cutouts import read_cutouts
    from .training.pairs import find_labelled
    from .training.sources import stage_source
    from .training.team import assemble
    from .training.train import Training

    if options.threads:
        torch.set_num_threads(options.threads)
    config = read_config(options.config)
    if options.start:
        config = replace(config, start=options.start)
    labelled = [clip for folder in options.clips for clip in find_labelled(folder)]
    photographs = read_photographs(options.photographs)
    if bool(options.subjects) != bool(options.backgrounds):
        raise InputError("--subjects and --backgrounds go together: people are cut out and put before other places")
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

    def source(stage: Stage) -> Source:
        return stage_source(stage, pools, labelled, photographs, lambda done: show("drawn", done, 0), cutouts, places)

    training = Training(
        options.output,
        config,
        source,
        options.seed,
        PRECISIONS[options.precision],
        assemble(options.device),
        partial(show, "steps"),
        options.workers,
    )
    with shown:
        result = training.run()
    print(f"the result is {result}")
