"""The studio: what a user loses here is training data that teaches the truth."""

import time

import numpy as np
import pytest
import torch

from gvm_core.synthesis.canvas import Canvas, splat
from gvm_core.synthesis.degrade import Degradation
from gvm_core.synthesis.scene import TIERS, Scene, draw_frames

LAYERS = ("image", "alpha", "foreground", "background")


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("seed", range(4))
def test_the_layers_make_up_the_picture_and_stay_in_range(seed, tier):
    frame = next(draw_frames(seed, (72, 96), 1, tier=tier))
    whole = frame.foreground * frame.alpha + frame.background * (1 - frame.alpha)
    assert (whole - frame.image).abs().max() < 1 / 255
    for name in LAYERS:
        layer = getattr(frame, name)
        assert layer.isfinite().all() and layer.min() >= 0 and layer.max() <= 1, name


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS)
def test_the_same_seed_draws_the_same_bytes_and_a_stretch_alone_equals_the_whole(tier):
    whole = list(draw_frames(7, (48, 64), 4, tier=tier))
    part = list(draw_frames(7, (48, 64), 2, first=2, tier=tier))
    for a, b in zip(whole[2:], part, strict=True):
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in LAYERS)
    assert not torch.equal(whole[0].image, next(draw_frames(8, (48, 64), 1, tier=tier)).image)


@pytest.mark.slow
def test_somebody_is_there_moves_and_has_soft_hair():
    present, moving, soft = [], [], []
    for seed in range(16):
        a, b = (Scene(seed, (96, 96), "medium").frame(i) for i in (0, 6))
        present.append(float(a.alpha.mean()))
        moving.append(float((a.alpha - b.alpha).abs().mean()))
        soft.append(float(((a.alpha > 0.05) & (a.alpha < 0.95)).float().mean()))
    assert min(present) > 0.01 and max(present) < 0.98
    assert np.mean(moving) > 2e-3 and np.mean(soft) > 0.02


def test_a_seed_names_the_same_scene_at_any_size():
    small, large = (next(draw_frames(11, (edge, edge), 1)) for edge in (64, 192))
    shrunk = torch.nn.functional.interpolate(large.alpha[None], (64, 64), mode="area")[0]
    assert (shrunk - small.alpha).abs().mean() < 0.02


def test_splatting_keeps_all_that_falls_inside():
    random = torch.Generator().manual_seed(0)
    places = 2 + 12 * torch.rand(500, 2, generator=random)
    assert splat((16, 16), places, torch.ones(1, 500)).sum() == pytest.approx(500, rel=1e-4)
    assert splat((16, 16), places + 100, torch.ones(1, 500)).sum() == 0
    one = splat((4, 4), torch.tensor([[1.5, 2.5]]), torch.tensor([[3.0]]))
    assert one[0, 1, 2] == 3 and one.sum() == 3


def test_painting_over_is_compositing_over():
    canvas = Canvas((4, 4))
    everywhere = (slice(0, 4), slice(0, 4))
    canvas.paint(everywhere, torch.full((4, 4), 0.5), torch.ones(3, 1, 1))
    canvas.paint(everywhere, torch.full((4, 4), 0.5), torch.zeros(3, 1, 1))
    assert torch.allclose(canvas.alpha, torch.tensor(0.75)) and torch.allclose(canvas.colour, torch.tensor(0.25))


@pytest.mark.parametrize("seed", range(12))
def test_degraded_frames_stay_pictures_and_nothing_is_done_at_strength_zero(seed):
    image = torch.rand(3, 31, 45, generator=torch.Generator().manual_seed(seed))
    worse = Degradation(np.random.default_rng(seed), 1.5)(image, 3)
    assert worse.shape == image.shape and worse.min() >= 0 and worse.max() <= 1
    assert torch.allclose(Degradation(np.random.default_rng(seed), 0.0)(image, 3), image, atol=1e-6)


def test_noise_changes_from_frame_to_frame_and_not_from_run_to_run():
    noisy = next(d for d in (Degradation(np.random.default_rng(s), 1.0) for s in range(50)) if d.noise > 0)
    image = torch.full((3, 16, 16), 0.5)
    assert torch.equal(noisy(image, 1), noisy(image, 1)) and not torch.equal(noisy(image, 1), noisy(image, 2))


@pytest.mark.slow
def test_large_clips_cost_no_more_for_each_pixel_than_small_ones():
    def seconds(size):
        started = time.process_time()
        for _ in draw_frames(3, (size, size), 4, tier="hard"):
            pass
        return time.process_time() - started

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds(64)  # what is made once
        assert seconds(512) < 1.5 * 4 * seconds(256)
    finally:
        torch.set_num_threads(threads)
