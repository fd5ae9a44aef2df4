"""Stored numbers of a toy network: what a user loses here is yesterday's matte, when both sides of a comparison move.

Made by this project, in double precision, when its networks equalled those of diffusers 0.42.1 to 1e-10:
``python tests/unit/test_golden.py`` writes them anew, which only a change that means to change mattes may do.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from support import SAME_STORED, moving_clip, write_tiny_model

from gvm_core import MatteSettings, MattingPipeline, TorchHost, WindowPlan, load_model

GOLDEN = Path(__file__).parents[1] / "golden" / "tiny.safetensors"


def stages(folder, frames):
    """What each stage makes of ``frames`` in two overlapping windows, in double precision."""
    settings = MatteSettings(plan=WindowPlan(4, 1), short_edge="own", max_edge="own", pad_multiple=4, refine=0)
    pipeline = MattingPipeline(load_model(folder, torch.double), settings, TorchHost("cpu"))
    join = lambda clips: torch.cat([clip.data for clip in clips])  # noqa: E731
    image_latents = [*pipeline.encode(pipeline.fit(frames)[1])]
    alpha_latents = [*pipeline.denoise(image_latents)]
    return {
        "image_latents": join(image_latents),
        "alpha_latents": join(alpha_latents),
        "alpha": pipeline.matte(frames),
    }


def test_every_stage_gives_the_numbers_it_always_gave(tiny_folder):
    golden = load_file(GOLDEN)
    for name, found in stages(tiny_folder, golden["frames"]).items():
        assert found.shape == golden[name].shape
        assert (found - golden[name]).abs().max() < SAME_STORED * max(1, golden[name].abs().max()), name


if __name__ == "__main__":
    import tempfile

    clip = moving_clip(6, 20, 36)
    with tempfile.TemporaryDirectory() as place:
        numbers = stages(write_tiny_model(Path(place) / "tiny"), clip)
    GOLDEN.parent.mkdir(exist_ok=True)
    save_file({"frames": clip.contiguous(), **numbers}, GOLDEN)
    print({name: (tuple(value.shape), float(value.std())) for name, value in numbers.items()}, file=sys.stderr)
