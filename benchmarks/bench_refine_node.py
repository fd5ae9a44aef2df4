"""What finishing a matte costs and brings: seconds and memory of every operation, and how much flicker goes.

    python benchmarks/bench_refine_node.py [--part seconds|chatter|memory]

`seconds`: the operations take turns on frames of a drawn clip; medians. A busy machine takes longer by the clock, so
seconds of processor time stand beside those of the clock. `chatter`: the true mattes of drawn clips, with independent
noise where they are soft, before plates with grain; dtSSD and MAD before and after, and what happens to the clean matte.
`memory`: the most memory that the whole chain takes on a window of frames, without the window itself.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time

import torch

from gvm_core.metrics import dtssd, mad, soft_mad
from gvm_core.post.chatter import chatter
from gvm_core.post.refine import RefineSettings, refine
from gvm_core.synthesis.scene import Scene

CHAIN = RefineSettings(
    guided=8, clean_black=0.05, clean_white=0.05, rollback=6, despeckle=50, fill_holes=50, expand=2.5, feather=2
)
OPERATIONS = {
    "all, without chatter": CHAIN,
    "guided 4": RefineSettings(guided=4),
    "guided 8": RefineSettings(guided=8),
    "levels": RefineSettings(clean_black=0.05, clean_white=0.05),
    "levels, rollback 6": RefineSettings(clean_black=0.05, clean_white=0.05, rollback=6),
    "gamma": RefineSettings(gamma=1.2),
    "despeckle": RefineSettings(despeckle=50, fill_holes=50),
    "expand 0.5": RefineSettings(expand=0.5),
    "expand 2.5": RefineSettings(expand=2.5),
    "expand 64": RefineSettings(expand=64),
    "feather 2": RefineSettings(feather=2),
    "feather 64": RefineSettings(feather=64),
    "chatter 1": RefineSettings(chatter=1),
    "chatter 2": RefineSettings(chatter=2),
    "chatter 4": RefineSettings(chatter=4),
}
CLIPS = ((6, "easy"), (1, "easy"), (2, "medium"), (5, "medium"), (4, "hard"), (3, "hard"))


def drawn(seed: int, size: tuple[int, int], frames: int, tier: str = "medium") -> tuple[torch.Tensor, torch.Tensor]:
    """Frames and mattes of a drawn clip."""
    scene = Scene(seed, size, tier)
    layers = [scene.frame(index) for index in range(frames)]
    return torch.stack([each.image for each in layers]), torch.stack([each.alpha for each in layers])


def flickering(alpha: torch.Tensor, strength: float, blur: int) -> torch.Tensor:
    """Independent noise in every frame, strongest at one half, of the given deviation there; blurred over pixels."""
    noise = torch.randn(alpha.shape, generator=torch.Generator().manual_seed(0))
    size = 2 * blur + 1
    noise = torch.nn.functional.avg_pool2d(noise, size, 1, blur) * size
    return (alpha + strength * noise * 4 * alpha * (1 - alpha)).clamp(0, 1)


def seconds(options: argparse.Namespace) -> None:
    """Median seconds a frame of every operation."""
    frames, alpha = drawn(5, (options.height, options.width), 6)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in OPERATIONS}
    for lap in range(options.rounds + 1):
        for name, settings in OPERATIONS.items():
            count = len(alpha) if settings.chatter else 1
            clock, processor = time.perf_counter(), time.process_time()
            refine(alpha[:count], frames[:count], settings)
            if lap:
                spent[name].append(((time.perf_counter() - clock) / count, (time.process_time() - processor) / count))
    for name, times in spent.items():
        clock, processor = (statistics.median(column) for column in zip(*times, strict=True))
        row = {"operation": name, "seconds": round(clock, 4), "processor": round(processor, 4)}
        row |= {"frames a second": round(1 / clock, 1), "fastest": round(min(times)[0], 4)}
        print(json.dumps(row | {"threads": options.threads, "load": round(os.getloadavg()[0], 1)}), flush=True)


def flicker(options: argparse.Namespace) -> None:
    """What chatter does to drawn clips."""
    for seed, tier in CLIPS:
        frames, truth = drawn(seed, (360, 640), 9, tier)
        for blur, grain in ((0, 0.0), (0, 0.02), (0, 0.06), (1, 0.02)):
            alpha = flickering(truth, 0.2, blur)
            plate = frames + grain * torch.randn(frames.shape, generator=torch.Generator().manual_seed(1))
            found, clean = (chatter(matte, plate, options.reach) for matte in (alpha, truth))
            row: dict[str, object] = {"clip": f"{tier} {seed}", "noise": "blurred" if blur else "fine", "grain": grain}
            for name, measure in (("dtSSD", dtssd), ("MAD", mad), ("MAD where soft", soft_mad)):
                row[name] = [round(float(measure(matte, truth).nanmean()), 3) for matte in (alpha, found, clean)]
            print(json.dumps(row | {"columns": ["before", "after", "clean matte after"]}), flush=True)


def memory(options: argparse.Namespace) -> None:
    """The most memory of the chain with chatter."""
    generator = torch.Generator().manual_seed(0)
    small_frames, small = drawn(5, (270, 480), options.frames)
    size = (options.height, options.width)
    frames = torch.cat([torch.nn.functional.interpolate(each[None], size, mode="bilinear") for each in small_frames])
    alpha = torch.cat([torch.nn.functional.interpolate(each[None], size, mode="bilinear") for each in small])
    if options.busy:
        alpha = alpha.add_(0.03 * torch.rand(alpha.shape, generator=generator)).clamp_(0, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    settings = {name: getattr(CHAIN, name) for name in CHAIN.__dataclass_fields__}
    refine(alpha, frames, RefineSettings(**(settings | {"chatter": options.reach})))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    held = (alpha.numel() + frames.numel()) * 4 / 2**20
    row = {"size": list(size), "frames": options.frames, "window": round(held), "more at most": round(peak / 1024)}
    print(json.dumps(row | {"unit": "MiB", "matte with traces everywhere": options.busy}), flush=True)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("seconds", "chatter", "memory"), help="default: seconds and chatter")
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--reach", type=int, default=2, help="chatter's frames before and after")
    parser.add_argument("--frames", type=int, default=8, help="in the window whose memory is measured")
    parser.add_argument("--busy", action="store_true", help="measure memory with noise in the whole matte")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    parts = {"seconds": seconds, "chatter": flicker, "memory": memory}
    for name in [options.part] if options.part else ["seconds", "chatter"]:
        parts[name](options)


if __name__ == "__main__":
    main()
