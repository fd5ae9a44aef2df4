"""The bundled demo model: what a user loses here is the first impression."""

from pathlib import Path

import pytest
import torch

from gvm_core import MattingPipeline, TorchHost, load_model
from gvm_core.media import open_frames
from gvm_core.models.weights import DEMO_FOLDER
from gvm_core.training.synthesis import HELD_OUT_SEEDS, draw_clip

SAMPLES = Path(__file__).parents[2] / "web" / "samples"


@pytest.fixture(scope="module")
def demo():
    return MattingPipeline(load_model("demo"), host=TorchHost("cpu"))


def test_it_mattes_drawn_people_it_has_never_seen(demo):
    errors, constant = [], []
    for seed in range(HELD_OUT_SEEDS + 50, HELD_OUT_SEEDS + 58):
        clip = draw_clip(seed, (64, 64), 8)
        errors.append((demo.matte(clip.image) - clip.alpha).abs().mean())
        constant.append((clip.alpha - clip.alpha.mean()).abs().mean())
    assert torch.stack(errors).mean() < 0.25 * torch.stack(constant).mean()


def test_it_finds_the_person_in_the_photographed_sample(demo):
    with open_frames(SAMPLES / "gvm_sample_photo.mp4", last=7) as reader:
        frames = torch.nn.functional.interpolate(torch.stack(list(reader)), (64, 64), mode="area")
    alpha = demo.matte(frames)
    face, wall = alpha[:, :, 6:18, 22:31], alpha[:, :, :20, 44:]
    assert face.mean() > 0.6 and wall.mean() < 0.2


def test_it_is_small_half_precision_and_in_the_published_layout():
    files = [path for path in DEMO_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25 * 2**20
    names = {path.relative_to(DEMO_FOLDER).as_posix() for path in files}
    assert {"unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"} <= names
    model = load_model("demo", torch.float16)
    assert model.unet.dtype == torch.float16
