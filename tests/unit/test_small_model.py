"""The bundled model: what a user loses here is the first impression."""

from pathlib import Path

import pytest
import torch

from gvm_core import MattingPipeline, TorchHost, load_model
from gvm_core.evaluation.cases import synthetic_cases
from gvm_core.media import open_frames
from gvm_core.models.weights import SMALL_FOLDER
from gvm_core.post.composite import over
from gvm_core.post.foreground import estimate_foreground
from gvm_core.synthesis.scene import Scene

SAMPLES = Path(__file__).parents[2] / "web" / "samples"
LARGEST_MAD = 0.04
LARGEST_LOSS = 2
LARGEST_SIZE = 30 * 10**6
SURELY, HARDLY = 0.95, 0.05


@pytest.fixture(scope="module")
def small():
    return MattingPipeline(load_model("small"), host=TorchHost("cpu"))


def matted(pipeline, sample, first=0, last=None):
    """The mattes of frames of a sample."""
    with open_frames(SAMPLES / sample, first=first, last=last) as reader:
        return pipeline.matte(torch.stack(list(reader)))


@pytest.mark.slow
def test_it_mattes_drawn_people_it_has_never_seen(small):
    errors = []
    for case in synthetic_cases(("easy", "medium"), 6, 7, 128, 4):
        image, truth = (torch.stack(layer) for layer in zip(*case.open(), strict=True))
        errors.append((small.matte(image) - truth).abs().mean())
    assert torch.stack(errors).mean() < LARGEST_MAD


@pytest.mark.slow
def test_its_mattes_put_the_subject_back_into_its_own_plate(small):
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
            for alpha in (truth, small.matte(plate))
        ]
        assert errors[0] < 1, "with the true matte"
        lost.append(errors[1])
    assert sum(lost) / len(lost) < LARGEST_LOSS


@pytest.mark.slow
def test_it_cuts_the_walker_out_of_an_empty_room(small):
    alpha = matted(small, "gvm_sample_walker.mp4", first=12, last=19)
    back, wall = alpha[:, :, 60:230, 150:220], alpha[:, :, :200, :80]
    assert back.mean() > SURELY and wall.mean() < 0.02


@pytest.mark.slow
def test_it_cuts_the_man_on_the_bridge_out_while_the_camera_moves(small):
    alpha = matted(small, "gvm_sample_bridge.mp4", first=8, last=15)
    jacket, trees, rail = alpha[:, :, 110:230, 185:225], alpha[:, :, :60, :100], alpha[:, :, 250:, 540:]
    assert (jacket.mean(dim=(1, 2, 3)) > 0.8).all()
    assert (trees.mean(dim=(1, 2, 3)) < HARDLY).all() and (rail.mean(dim=(1, 2, 3)) < HARDLY).all()


@pytest.mark.slow
def test_it_mattes_a_portrait(small):
    (alpha,) = matted(small, "gvm_sample_portrait.jpg")
    face, sleeve = alpha[:, 125:225, 190:265], alpha[:, 410:460, 335:390]
    flag, wall = alpha[:, 100:200, :35], alpha[:, :40, 470:]
    assert face.mean() > SURELY and sleeve.mean() > SURELY
    assert flag.mean() < HARDLY and wall.mean() < HARDLY


def test_it_is_small_half_precision_and_in_the_published_layout():
    files = [path for path in SMALL_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST_SIZE
    names = {path.relative_to(SMALL_FOLDER).as_posix() for path in files}
    assert {"unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"} <= names
    model = load_model("small", torch.float16)
    assert model.unet.dtype == torch.float16


def test_its_earlier_name_still_loads_it():
    today, earlier = load_model("small"), load_model("demo")
    assert earlier.config == today.config and earlier.config.name == "small"
    assert earlier.fingerprint == today.fingerprint
