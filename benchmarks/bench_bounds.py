"""How small the error on the synthetic benchmark can be, if the true colours are known at every pixel.

The inputs are the camera's curve, and the true colours of subject and background at every pixel as the camera saw them.
Alpha is the position of the picture's colour between the two. Noise, compression and lost detail remain as errors.
Where the two colours are similar, the picture does not help, and the blurred true mask is used. A method that must
estimate the colours cannot be expected to be better, unless it knows how hair looks. Prints a line of JSON for each
tier and for both.

    python benchmarks/bench_bounds.py
"""

from __future__ import annotations

import argparse
import json
from statistics import fmean

import torch
from torch import Tensor

from gvm_core.evaluation.cases import FIRST_SEED, scene_and_camera
from gvm_core.evaluation.contestants import blurred_mask
from gvm_core.metrics import MatteScorer
from gvm_core.synthesis.backdrop import blur
from gvm_core.synthesis.degrade import Degradation
from gvm_core.synthesis.scene import Frame

MEASURES = ("mad", "soft_mad", "dtssd")
REACHES = (1, 2, 4, 8, 16)


def main() -> None:
    """Draw each clip with its layers, read alpha from the degraded picture, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=16, help="of the easy and of the medium tier")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--floor", type=float, nargs="+", default=[1e-3, 1e-2], help="how much the mask counts")
    options = parser.parse_args()
    scores = {
        tier: [score(FIRST_SEED + number, tier, options) for number in range(options.clips)]
        for tier in ("easy", "medium")
    }
    scores["easy and medium"] = scores["easy"] + scores["medium"]
    for tier, clips in scores.items():
        for floor in options.floor:
            means = {measure: round(fmean(clip[floor][measure] for clip in clips), 2) for measure in MEASURES}
            print(json.dumps({"tier": tier, "floor": floor, **means}), flush=True)


def score(seed: int, tier: str, options: argparse.Namespace) -> dict[float, dict[str, float]]:
    """Score one clip of the benchmark for each floor."""
    scene, camera = scene_and_camera(seed, tier, options.size)
    scorers = {floor: MatteScorer() for floor in options.floor}
    for index in range(options.frames):
        frame = scene.frame(index)
        along, distance, mask = told_colours(frame, camera(frame.image, index), camera)
        for floor, scorer in scorers.items():
            alpha = ((along + floor * mask) / (distance + floor)).clamp(0, 1)
            scorer.add(alpha[None], frame.alpha[None])
    return {floor: scorer.score().as_dict() for floor, scorer in scorers.items()}


def told_colours(frame: Frame, seen: Tensor, camera: Degradation) -> tuple[Tensor, Tensor, Tensor]:
    """What the picture ``[3, H, W]`` that ``camera`` made of ``frame`` says of alpha, ``[1, H, W]`` each.

    Returns:
        Alpha times the squared distance between the true colours, that distance, and the blurred true mask.
    """
    picture = ((seen - camera.lift) / (1 - camera.lift)).clamp(0, 1) ** (1 / camera.gamma) / camera.gain
    subject, background = camera.lose_detail(continued(frame)), camera.lose_detail(frame.background)
    apart = subject - background
    along = ((picture - background) * apart).sum(dim=0, keepdim=True)
    mask = next(iter(blurred_mask([frame.alpha]))).data[0]
    return along, apart.square().sum(dim=0, keepdim=True), mask


def continued(frame: Frame) -> Tensor:
    """The subject's colour ``[3, H, W]``, continued outward to where there is no subject."""
    colour, known = frame.foreground.clone(), frame.alpha > 0.02
    for reach in REACHES:
        near, weight = blur(frame.foreground * frame.alpha, reach), blur(frame.alpha, reach)
        new = ~known & (weight > 1e-3)
        colour = torch.where(new, near / weight.clamp(min=1e-3), colour)
        known = known | new
    return colour


if __name__ == "__main__":
    main()
