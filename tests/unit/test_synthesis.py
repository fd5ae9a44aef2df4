"""Drawn clips: what a user loses here is ground truth."""

import pytest
import torch

from gvm_core.training.synthesis import HELD_OUT_SEEDS, Scene, draw_clip, draw_frames


@pytest.mark.parametrize("seed", [0, 11, 23, HELD_OUT_SEEDS])
def test_the_same_seed_draws_the_same_bytes_and_another_does_not(seed):
    a, b, c = (draw_clip(s, (40, 56), 2) for s in (seed, seed, seed + 1))
    assert all(torch.equal(getattr(a, k), getattr(b, k)) for k in ("image", "alpha", "foreground", "background"))
    assert not torch.equal(a.image, c.image)


@pytest.mark.parametrize("seed", range(6))
def test_the_layers_make_up_the_picture(seed):
    scene = Scene(seed, (48, 48))
    scene.noise = 0.0
    frame = scene.frame(3)
    composite = frame.foreground * frame.alpha + frame.background * (1 - frame.alpha)
    assert (composite - frame.image).abs().max() < 1 / 255


@pytest.mark.parametrize("seed", range(6))
def test_values_stay_in_range_and_someone_is_there(seed):
    clip = draw_clip(seed, (64, 64), 2)
    for layer in (clip.image, clip.alpha, clip.foreground, clip.background):
        assert layer.min() >= 0 and layer.max() <= 1 + 1e-5 and layer.isfinite().all()
    assert 0.02 < clip.alpha.mean() < 0.95


def test_hair_is_drawn_softer_than_a_pixel():
    soft = [(clip.alpha > 0.05) & (clip.alpha < 0.95) for clip in (draw_clip(s, (64, 64), 1) for s in range(12))]
    assert torch.stack([s.float().mean() for s in soft]).mean() > 0.03


def test_a_stretch_drawn_alone_equals_the_same_stretch_of_the_whole():
    whole = draw_clip(5, (32, 40), 6)
    part = draw_clip(5, (32, 40), 2, first=3)
    assert torch.equal(whole.image[3:5], part.image) and torch.equal(whole.alpha[3:5], part.alpha)


def test_frames_come_one_by_one():
    frames = draw_frames(1, (16, 16), 10**9)
    assert next(frames).image.shape == (3, 16, 16)
    frames.close()


def test_subjects_move():
    clip = draw_clip(2, (64, 64), 8)
    assert clip.alpha.diff(dim=0).abs().mean() > 1e-3
