"""Should windows be joined in latents or in alpha, and how far should the decoder's windows overlap?

Runs the bundled model on drawn clips in each arrangement. Prints a line and a JSON line for each: MAD (x1e3), the seam
score (change of the error at joins, divided by its change elsewhere; 1 means no seam), and how many frames the UNet and
the decoder compute per frame of video.

    python benchmarks/bench_windows.py [--clips 8] [--frames 44]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

import torch

from gvm_core import Clip, MatteSettings, MattingPipeline, TorchHost, WindowPlan, load_model
from gvm_core.evaluation.cases import synthetic_cases
from gvm_core.metrics import seam_score
from gvm_core.windows import crossfade, cut


def in_latents(pipeline: MattingPipeline, latents: list[Clip]) -> Iterator[Clip]:
    """Cross-fade alpha latents, then decode in windows of `decode_plan`."""
    return pipeline.decode(pipeline.denoise(latents))


def in_alpha(pipeline: MattingPipeline, latents: list[Clip]) -> Iterator[Clip]:
    """Decode every window by itself and cross-fade the mattes."""
    windows = cut(latents, pipeline.settings.plan)
    return crossfade(alpha for window in windows for alpha in pipeline.decode(pipeline.denoise([window])))


def work(plan: WindowPlan, frames: int) -> float:
    """Frames computed per frame of video."""
    return sum(stop - start for start, stop in plan.spans(frames)) / frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=44)
    options = parser.parse_args()
    model, host = load_model("small"), TorchHost("cpu")
    drawn = [
        zip(*case.open(), strict=True) for case in synthetic_cases(("medium",), options.clips, 9, 128, options.frames)
    ]
    clips = [tuple(torch.stack(layer) for layer in layers) for layers in drawn]  # images and alpha
    cases = []
    for overlap in (0, 2, 4):
        plan = WindowPlan(8, overlap)
        cases.append((f"alpha   8/{overlap}", in_alpha, plan, plan))
        cases += [(f"latents 8/{overlap}, decode 8/{d}", in_latents, plan, WindowPlan(8, d)) for d in (0, 1, 2, 4)]
    for name, arrange, plan, decode_plan in cases:
        pipeline = MattingPipeline(
            model, MatteSettings(plan=plan, decode_plan=decode_plan, short_edge="own", max_edge="own"), host
        )
        error, seam = 0.0, 0.0
        for images, truth in clips:
            fit, frames = pipeline.fit(images)
            latents = list(pipeline.encode(frames))
            refined = pipeline.refine(arrange(pipeline, latents), fit)
            alpha = torch.cat([part.data for part in pipeline.finish(refined)])
            difference = alpha - truth
            change = difference.diff(dim=0).abs().mean(dim=(1, 2, 3))
            at = plan.joins(options.frames) | decode_plan.joins(options.frames)
            error += 1e3 * float(difference.abs().mean()) / len(clips)
            seam += seam_score(change, at) / len(clips)
        result = {
            "case": name,
            "mad": round(error, 2),
            "seam": round(seam, 3),
            "unet_work": round(work(plan, options.frames), 2),
            "decode_work": round(work(decode_plan, options.frames), 2),
        }
        print(
            f"{name:28s} MAD {error:6.2f}  seam {seam:5.3f}  UNet x{result['unet_work']}  decode x{result['decode_work']}"
        )
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
