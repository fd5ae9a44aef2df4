"""How much refining edges improves mattes, by how much frames were shrunk, for a network without mistakes at its size.

The true mattes of drawn clips, shrunk and scaled back to the frames' size, stand for such a network. So all errors come
from shrinking. Prints a line of JSON for each factor: MAD, MAD where the truth is soft, dtSSD, before and after
refining.

    python benchmarks/bench_refine.py
"""

from __future__ import annotations

import argparse
import json
from statistics import fmean

import torch

from gvm_core.evaluation.cases import synthetic_cases
from gvm_core.metrics import MatteScorer
from gvm_core.post.guided import alpha_by_colour, alpha_of
from gvm_core.post.resize import resize

MEASURES = ("mad", "soft_mad", "dtssd")


def main() -> None:
    """Draw, shrink, bring back both ways, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4, help="of the easy and of the medium tier")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--radius", type=int, default=1)
    options = parser.parse_args()
    cases = synthetic_cases(("easy", "medium"), options.clips, 0, options.size, options.frames)
    clips = [tuple(torch.stack(layer) for layer in zip(*case.open(), strict=True)) for case in cases]
    full = (options.size, options.size)
    for factor in (1.0, 1.25, 1.5, 2.0, 3.0, 4.0):
        small = (round(options.size / factor), round(options.size / factor))
        scores: dict[str, list[dict[str, float]]] = {"before": [], "after": []}
        for frames, truth in clips:
            seen = resize(truth, small)
            functions = resize(alpha_by_colour(resize(frames, small), seen, options.radius), full)
            for name, matte in (("before", resize(seen, full)), ("after", alpha_of(functions, frames))):
                scorer = MatteScorer()
                scorer.add(matte.clamp(0, 1), truth)
                scores[name].append(scorer.score().as_dict())
        means = {
            name: {measure: round(fmean(row[measure] for row in rows), 2) for measure in MEASURES}
            for name, rows in scores.items()
        }
        print(json.dumps({"shrunk": factor, **means}), flush=True)


if __name__ == "__main__":
    main()
