"""Foreground colours: time beside pymatting's, error against what was drawn, and flicker.

    python benchmarks/bench_foreground.py --threads 2 >> benchmarks/results/foreground.jsonl

Prints one line of JSON. Times: pymatting, one frame by itself, and a window of frames with the default margin (by the
frame) take turns in one process; the medians are compared. pymatting is warm. Errors: mean absolute error of the colours
where alpha is between 0.05 and 0.95, of pymatting, of this and of the plate. Flicker: difference from frame to frame in
soft pixels of a still subject with noise in plate and matte, as a share of that without margin.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from pathlib import Path
from statistics import fmean, median

import torch
from pymatting import estimate_foreground_ml
from torch import Tensor

from gvm_core.post.foreground import ForegroundSettings, estimate_foreground
from gvm_core.synthesis.scene import TIERS, Frame, Scene

ALONE = ForegroundSettings(margin=0)


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", type=int, nargs=2, default=[1080, 1920], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--window", type=int, default=6, help="frames")
    parser.add_argument("--clips", type=int, default=8, help="of each tier, for errors")
    parser.add_argument("--small", type=int, nargs=2, default=[192, 320], metavar=("HEIGHT", "WIDTH"), help="of errors")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = {
        "date": f"{datetime.date.today()}",
        "processor": processor(),
        "threads": options.threads,
        "torch": torch.__version__,
        "size": options.size,
    }
    for tier, seed in zip(TIERS, (3, 5, 2), strict=True):
        drawn = Scene(seed, tuple(options.size), tier).frame(0)
        result[tier] = {"soft": soft_share(drawn), **times(drawn, options.times, options.window), **errors([drawn])}
    clips = [Scene(seed, tuple(options.small), tier).frame(0) for tier in TIERS for seed in range(options.clips)]
    result["small"] = {"size": options.small, "clips": len(clips), **errors(clips)}
    result["flicker"] = {f"margin {margin}": round(flicker(margin) / flicker(0), 2) for margin in (1, 2)}
    print(json.dumps(result))


def processor() -> str:
    """The processor's name."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def soft_share(drawn: Frame) -> float:
    """Share of pixels that are neither subject nor background."""
    return round(float(((drawn.alpha > 0) & (drawn.alpha < 1)).float().mean()), 3)


def rival(drawn: Frame) -> Tensor:
    """Pymatting's colours ``[3, H, W]``."""
    found = estimate_foreground_ml(drawn.image.movedim(0, -1).numpy(), drawn.alpha[0].numpy())
    return torch.from_numpy(found).movedim(-1, 0)


def times(drawn: Frame, repeats: int, window: int) -> dict[str, object]:
    """Milliseconds a frame, and how many times pymatting's that is."""
    frames, alpha = (each.expand(window, -1, -1, -1).contiguous() for each in (drawn.image, drawn.alpha))
    ways = {
        "pymatting": lambda: rival(drawn),
        "alone": lambda: estimate_foreground(frames[:1], alpha[:1], ALONE),
        "window": lambda: estimate_foreground(frames, alpha),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if turn:  # the first one warms up
                taken[name].append((time.perf_counter() - began) / (window if name == "window" else 1))
    middle = {name: median(seconds) for name, seconds in taken.items()}
    return {
        "ms": {name: round(1e3 * seconds, 1) for name, seconds in middle.items()},
        "times_faster": {name: round(middle["pymatting"] / middle[name], 2) for name in ("alone", "window")},
    }


def errors(clips: list[Frame]) -> dict[str, object]:
    """Mean errors of all clips, and how this compares with pymatting where it compares worst."""
    rows = []
    for drawn in clips:
        soft = ((drawn.alpha > 0.05) & (drawn.alpha < 0.95)).expand(3, -1, -1)
        own = estimate_foreground(drawn.image[None], drawn.alpha[None], ALONE)[0]
        rows.append([float((each - drawn.foreground).abs()[soft].mean()) for each in (rival(drawn), own, drawn.image)])
    means = [round(fmean(column), 4) for column in zip(*rows, strict=True)]
    worst = round(max(own / theirs for theirs, own, _ in rows), 2)
    return {"error": dict(zip(("pymatting", "this", "plate"), means, strict=True)), "worst_ratio": worst}


def flicker(margin: int, frames: int = 8, noise: float = 0.02) -> float:
    """Mean change from frame to frame in the soft pixels of a still subject."""
    drawn, generator = Scene(3, (192, 320), "easy").frame(0), torch.Generator().manual_seed(0)
    plate, alpha = (each.expand(frames, -1, -1, -1) for each in (drawn.image, drawn.alpha))
    plate = plate + noise * torch.randn(plate.shape, generator=generator)
    chatter = (alpha + noise * torch.randn(alpha.shape, generator=generator)).clamp(0, 1)
    alpha = torch.where((alpha > 0) & (alpha < 1), chatter, alpha)
    found = estimate_foreground(plate, alpha, ForegroundSettings(margin=margin))
    soft = (alpha > 0) & (alpha < 1)
    return float(found.diff(dim=0).abs()[(soft[1:] & soft[:-1]).expand(-1, 3, -1, -1)].mean())


if __name__ == "__main__":
    main()
