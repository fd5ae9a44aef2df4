"""The command line: ``python -m gvm_core matte | fetch | train``. The one module that prints."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from .errors import GVMError, InputError
from .host.torch_host import TorchHost, fastest_device, suitable_dtype
from .models.weights import load_model, released_folder
from .pipeline import MattingPipeline
from .settings import MatteSettings
from .windows import WindowPlan, trim

DEFAULTS = MatteSettings()
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 with a sentence when it did not, 130 when the user stopped it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
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
    top = argparse.ArgumentParser(prog="python -m gvm_core", description="Generative Video Matting")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    matte = commands.add_parser("matte", help="matte a video, a picture or a folder of pictures")
    matte.set_defaults(run=run_matte)
    matte.add_argument("input", type=Path, help="a video, a picture, or a folder of numbered pictures")
    matte.add_argument("output", type=Path, help=".mp4, .mov or .mkv (lossless), or a folder for 16-bit PNGs")
    matte.add_argument("--model", default="demo", help="demo (default), gvm, or a model folder")
    matte.add_argument("--lora", default="auto", help="auto (default), none, or a LoRA file")
    matte.add_argument("--lora-strength", type=float, default=1.0)
    matte.add_argument("--window", type=int, default=DEFAULTS.plan.length, help="frames the network sees at once")
    matte.add_argument("--overlap", type=int, default=DEFAULTS.plan.overlap, help="frames neighbouring windows share")
    matte.add_argument(
        "--short-edge", type=edge, help="scale the shorter side to this; 'own' keeps it (default: as suits the model)"
    )
    matte.add_argument("--max-edge", type=edge, help="then limit the longer side to this, or 'own'")
    matte.add_argument("--noise", choices=["zeros", "gaussian"], default=DEFAULTS.noise, help="gaussian: experimental")
    matte.add_argument("--steps", type=int, default=DEFAULTS.steps)
    matte.add_argument("--seed", type=int, default=DEFAULTS.seed, help="for gaussian noise")
    matte.add_argument("--low", type=float, default=DEFAULTS.low, help="alpha at or below becomes 0")
    matte.add_argument("--high", type=float, default=DEFAULTS.high, help="alpha at or above becomes 1")
    matte.add_argument("--first", type=int, default=0, help="index of the first frame, from 0")
    matte.add_argument("--last", type=int, help="index of the last frame")
    matte.add_argument("--device", help="cpu, cuda, mps, ... (default: the fastest)")
    matte.add_argument("--precision", choices=["auto", *PRECISIONS], default="auto")
    matte.add_argument("--overwrite", action="store_true", help="replace what is there")

    fetch = commands.add_parser("fetch", help="fetch the released GVM weights (6.5 GB)")
    fetch.set_defaults(run=run_fetch)
    fetch.add_argument("--to", type=Path, default=released_folder(), help="model folder (default: %(default)s)")
    fetch.add_argument("--yes", action="store_true", help="do not ask; you have read the licence notice")

    train = commands.add_parser("train", help="train the small demo model from nothing")
    train.set_defaults(run=run_train)
    train.add_argument("output", type=Path, help="folder for checkpoints, losses and the finished model")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--threads", type=int, help="CPU threads to use")
    train.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="bf16 takes half the time on processors with AVX-512 BF16 or AMX, and far longer on others",
    )
    return top


def edge(text: str) -> int:
    """A number of pixels, or ``own``, for which 0 stands."""
    return 0 if text == "own" else int(text)


def run_matte(options: argparse.Namespace) -> None:
    """Read, matte and write, one window at a time."""
    from .media import open_frames, open_matte

    if options.first < 0 or (options.last is not None and options.last < options.first):
        raise InputError(f"frames {options.first} to {options.last} are no range: it needs 0 <= first <= last")
    device = fastest_device() if options.device is None else torch.device(options.device)
    dtype = suitable_dtype(device) if options.precision == "auto" else PRECISIONS[options.precision]
    settings = MatteSettings(
        plan=WindowPlan(options.window, options.overlap),
        noise=options.noise,
        steps=options.steps,
        seed=options.seed,
        low=options.low,
        high=options.high,
    )
    with open_frames(options.input, options.first, options.last) as wanted:
        writer = open_matte(options.output, wanted, overwrite=options.overwrite)
        total = wanted.count
    model = load_model(options.model, dtype, None if options.lora == "none" else options.lora, options.lora_strength)
    settings = replace(
        settings,
        short_edge=model.config.short_edge if options.short_edge is None else options.short_edge or None,
        max_edge=model.config.max_edge if options.max_edge is None else options.max_edge or None,
    )
    pipeline = MattingPipeline(model, settings, TorchHost(device))
    first, last = pipeline.context(options.first, options.last)
    progress = Progress(total)
    with open_frames(options.input, first, last) as reader, writer, closing(pipeline.stream(reader, first)) as clips:
        for clip in trim(clips, options.first, options.last):
            for alpha in clip.data:
                writer.write(alpha)
            progress.advance(len(clip))
        if not progress.done:
            raise InputError(f"{options.input} has no frame {options.first}")
    print(f"\n{progress.done} frames matted with {model.config.name} -> {options.output}", file=sys.stderr)


@dataclass
class Progress:
    """A line that says how far a run is and how long it will take.

    Attributes:
        total: Frames to come, if known.
        done: Frames finished.
    """

    total: int | None
    done: int = 0
    started: float = field(default_factory=time.monotonic)

    def advance(self, frames: int) -> None:
        """Count finished frames and redraw the line."""
        self.done += frames
        rate = self.done / max(time.monotonic() - self.started, 1e-6)
        if self.total:
            left = max(self.total - self.done, 0) / rate
            filled = min(30 * self.done // self.total, 30)
            line = f"[{'#' * filled}{'.' * (30 - filled)}] {self.done}/{self.total}  {left:.0f} s left"
        else:
            line = f"{self.done} frames"
        print(f"\r{line}  {rate:.2f} frames/s ", end="", file=sys.stderr, flush=True)


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
    fetch_release(GVM, options.to, show_bytes)
    print(f"\nready: python -m gvm_core matte IN OUT --model {options.to}")


def show_bytes(done: int, total: int) -> None:
    """Redraw the line of a download."""
    print(f"\r{done / 1e6:,.0f} of {total / 1e6:,.0f} MB  {100 * done / max(total, 1):.1f} % ", end="", flush=True)


def run_train(options: argparse.Namespace) -> None:
    """Train the demo model, or go on where it stopped."""
    from .training.train import train

    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"the model is in {train(options.output, seed=options.seed, dtype=PRECISIONS[options.precision])}")
