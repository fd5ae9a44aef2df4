"""What a region and `follow` improve: drawn people who are small in large frames, with the bundled model.

Prints a line of JSON for each clip: how well the first pass finds the box around the person (intersection over union),
and MAD and MAD where the truth is soft, with whole frames, with a region (the true matte, cut at one half) and with
`follow`; then the means over all clips, and over those where the first pass finds the person.

    python benchmarks/bench_region.py
"""

from __future__ import annotations

import argparse
import json
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from gvm_core import MatteSettings, MattingPipeline, load_model
from gvm_core.follow import follow
from gvm_core.metrics import MatteScorer
from gvm_core.region import Box, box_of, from_masks, glide
from gvm_core.synthesis.figure import Shot
from gvm_core.synthesis.scene import Scene

FOUND = 0.3
"""The first pass finds a person if its box and the true one have at least this intersection over union."""


def main() -> None:
    """Draw, matte in three ways, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=12, help="of each height")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", type=int, nargs=2, default=(1080, 1920), help="height and width")
    parser.add_argument("--heights", type=float, nargs="+", default=(0.25, 0.45), help="of people, in frame heights")
    parser.add_argument("--tier", default="easy")
    parser.add_argument("--model", default="small")
    options = parser.parse_args()
    pipeline = MattingPipeline(load_model(options.model), MatteSettings())
    for height in options.heights:
        lines = []
        for seed in range(options.clips):
            frames, truth = small_person(seed, tuple(options.size), height, options.frames, options.tier)
            lines.append({"height": height, "seed": seed, **scores(pipeline, frames, truth)})
            print(json.dumps(lines[-1]), flush=True)
        found = [line for line in lines if line["found"] >= FOUND]
        for name, chosen in (("all", lines), ("found", found)):
            if chosen:
                keys = [key for key in chosen[0] if key not in ("height", "seed")]
                means = {key: round(fmean(line[key] for line in chosen), 2) for key in keys}
                print(json.dumps({"height": height, "clips": f"{name}: {len(chosen)}", **means}), flush=True)


def small_person(seed: int, size: tuple[int, int], height: float, frames: int, tier: str) -> tuple[Tensor, Tensor]:
    """Frames and true alpha of one person of ``height`` frame heights, somewhere in the frame."""
    scene, random = Scene(seed, size, tier), np.random.default_rng([7, seed])
    place = random.uniform(-0.45 + 0.1 * height, 0.45 - 0.9 * height), random.uniform(-0.6, 0.6)
    scene.people = scene.people[-1:]
    scene.people[0].shot = Shot(height, (float(place[0]), float(place[1])))
    drawn = [scene.frame(index) for index in range(frames)]
    return torch.stack([frame.image for frame in drawn]), torch.stack([frame.alpha for frame in drawn])


def scores(pipeline: MattingPipeline, frames: Tensor, truth: Tensor) -> dict[str, float]:
    """The scores of the three ways."""
    masks = (truth[:, 0] > 0.5).float()
    settings = pipeline.settings.region
    true = [*glide(map(box_of, masks), settings)]
    regions = [*follow(pipeline, frames)]
    result = {"found": round(fmean(overlap(a.box, b) for a, b in zip(regions, true, strict=True)), 2)}
    for name, chosen in (("whole", None), ("region", from_masks(masks, settings)), ("follow", regions)):
        scorer = MatteScorer()
        scorer.add(pipeline.matte(frames, regions=chosen), truth)
        score = scorer.score().as_dict()
        result |= {f"{name} mad": round(score["mad"], 2), f"{name} soft_mad": round(score["soft_mad"], 1)}
    return result


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    high = min(one.bottom, other.bottom) - max(one.top, other.top)
    wide = min(one.right, other.right) - max(one.left, other.left)
    shared = max(high, 0) * max(wide, 0)
    return shared / (one.height * one.width + other.height * other.width - shared)


if __name__ == "__main__":
    main()
