"""The bundled demo model: what a user loses here is the first impression."""

from pathlib import Path

import pytest
import torch

from gvm_core import MattingPipeline, TorchHost, load_model
from gvm_core.evaluation.cases import synthetic_cases
from gvm_core.media import open_frames
from gvm_core.models.weights import DEMO_FOLDER
from gvm_core.post.composite import over
from gvm_core.post.foreground import estimate_foreground
from gvm_core.synthesis.scene import Scene

SAMPLES = Path(__file__).parents[2] / "web" / "samples"


@pytest.fixture(scope="module")
def demo():
    return MattingPipeline(load_model("demo"), host=TorchHost("cpu"))


@pytest.mark.slow
def test_it_mattes_drawn_people_it_has_never_seen(demo):
    errors = []
    for case in synthetic_cases(("easy", "medium"), 6, 7, 128, 4):
        image, truth = (torch.stack(layer) for layer in zip(*case.open(), strict=True))
        errors.append((demo.matte(image) - truth).abs().mean())
    assert torch.stack(errors).mean() < 0.03


@pytest.mark.slow
def test_its_mattes_put_the_subject_back_into_its_own_plate(demo):
    """Plate, matte, foreground, composite over the plate's own background: what is lost is what the matte gets wrong."""
    lost = []
    for tier, seed in ((tier, 500 + seed) for tier in ("easy", "medium") for seed in range(4)):
        scene = Scene(seed, (256, 384), tier)
        frames = [scene.frame(index) for index in range(4)]
        plate, truth, behind = (
            torch.stack([getattr(frame, name) for frame in frames]) for name in ("image", "alpha", "background")
        )
        errors = [
            float((over(estimate_foreground(plate, alpha), alpha, behind) - plate).abs().mean() * 255)
            for alpha in (truth, demo.matte(plate))
        ]
        assert errors[0] < 1, "with the true matte"
        lost.append(errors[1])
    assert sum(lost) / len(lost) < 2


@pytest.mark.slow
def test_it_cuts_the_real_person_of_the_sample_out(demo):
    with open_frames(SAMPLES / "gvm_sample_walker.mp4", first=12, last=19) as reader:
        alpha = demo.matte(torch.stack(list(reader)))
    back, wall = alpha[:, :, 60:230, 150:220], alpha[:, :, :200, :80]
    assert back.mean() > 0.95 and wall.mean() < 0.02


def test_it_is_small_half_precision_and_in_the_published_layout():
    files = [path for path in DEMO_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25 * 2**20
    names = {path.relative_to(DEMO_FOLDER).as_posix() for path in files}
    assert {"unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"} <= names
    model = load_model("demo", torch.float16)
    assert model.unet.dtype == torch.float16
