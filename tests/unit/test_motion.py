"""Motion and flicker: what a user loses here is a steady edge, or detail smeared by what should have steadied it."""

from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F

from gvm_core.metrics import dtssd, mad
from gvm_core.post.chatter import NEAR, chatter
from gvm_core.post.motion import flow, one_shot, warped
from gvm_core.synthesis.scene import Scene

SIZE = (108, 144)


@lru_cache
def all_drawn(seed, tier):
    """Seven frames and mattes of a drawn clip."""
    scene = Scene(seed, SIZE, tier)
    layers = [scene.frame(index) for index in range(7)]
    return torch.stack([each.image for each in layers]), torch.stack([each.alpha for each in layers])


def drawn(seed, frames=7, tier="easy"):
    """Some frames and mattes of a drawn clip."""
    return tuple(layer[:frames] for layer in all_drawn(seed, tier))


def shaken(values, strength, seed=0):
    """Values with independent noise in every pixel and frame."""
    return values + strength * torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))


def flickering(alpha, strength=0.25, seed=1):
    """A matte whose soft parts flicker, without a bias at 0 and 1."""
    return torch.lerp(alpha, shaken(alpha, strength, seed), 4 * alpha * (1 - alpha)).clamp(0, 1)


def texture(seed, size=96):
    """A smooth picture ``[2, H, W]`` with detail everywhere."""
    generator, picture = torch.Generator().manual_seed(seed), torch.zeros(2, size, size)
    for step in (4, 8, 16, 32):
        rough = torch.rand(1, 2, size // step, size // step, generator=generator)
        picture += step / 32 * F.interpolate(rough, (size, size), mode="bicubic")[0]
    return picture


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (0.4, 0.7), (-9, 6)])
def test_flow_finds_a_motion_by_whole_and_part_pixels(shift):
    picture = texture(0)
    there = warped(picture[None], -torch.tensor(shift, dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 96, 96))[0]
    found = flow(picture, there)[:, 16:-16, 16:-16]
    assert (found - torch.tensor(shift).view(2, 1, 1)).abs().mean() < 0.12


def test_flow_follows_a_turn_and_a_zoom():
    picture, size = texture(1, 128), 128
    y, x = torch.meshgrid(*(torch.arange(size) - 63.5,) * 2, indexing="ij")
    wanted = torch.stack([0.03 * x + 0.02 * y, -0.03 * y + 0.02 * x])  # up to four pixels
    there = picture
    here = warped(there[None], wanted[None])[0]
    found = flow(here, there)
    assert (found - wanted)[:, 12:-12, 12:-12].abs().mean() < 0.15


def test_a_channel_with_no_weight_does_not_steer_the_flow():
    picture, other = texture(2), texture(3)
    here = torch.stack([picture[0], other[0]])
    there = torch.stack([picture[0].roll(1, 1), other[0]])  # the second one stands still
    weights = [torch.tensor([1.0, 0.0])] * 5
    found = flow(here, there, weights)[:, 16:-16, 16:-16]
    assert (found - torch.tensor([0.0, 1.0]).view(2, 1, 1)).abs().mean() < 0.1


@pytest.mark.parametrize("tier", ["easy", "medium", "hard"])
def test_motion_is_not_a_cut_and_another_scene_is_one(tier):
    frames, others = (
        torch.stack([Scene(seed, (72, 96), tier).frame(at).image for at in range(2)]) for seed in (11, 12)
    )
    noisy = shaken(frames, 0.03)
    assert one_shot(noisy[0], noisy[1]) and one_shot(noisy[1], noisy[0])
    assert not one_shot(frames[0], others[0]) and not one_shot(others[0], frames[0])


@pytest.mark.parametrize(("seed", "tier", "grain"), [(1, "easy", 0.02), (6, "easy", 0.06), (2, "medium", 0.03)])
def test_flicker_falls_by_a_third_and_moving_edges_stay_as_true(seed, tier, grain):
    frames, truth = drawn(seed, tier=tier)
    alpha = flickering(truth)
    found = chatter(alpha, shaken(frames, grain), 2)
    assert dtssd(found, truth).mean() < 0.67 * dtssd(alpha, truth).mean()
    moving = truth[1:] != truth[:-1]
    before, after = ((matte - truth)[1:][moving].abs().mean() for matte in (alpha, found))
    assert after < 0.9 * before
    assert (mad(found, truth) < mad(alpha, truth)).all()


def test_more_frames_steady_more():
    frames, truth = drawn(6)
    alpha = flickering(truth)
    left = [float(dtssd(chatter(alpha, frames, reach), truth).mean()) for reach in (0, 1, 4)]
    assert left[0] > 1.3 * left[1] and left[1] > 1.1 * left[2]


def test_a_clean_matte_in_motion_stays_clean():
    frames, truth = drawn(6, 5)
    lost = (chatter(truth, frames, 2) - truth).abs().mean()
    assert lost < 0.35 * (flickering(truth) - truth).abs().mean()


def test_hard_parts_stay_to_the_bit():
    frames, truth = drawn(2, 4, "medium")
    alpha = flickering(truth)
    found = chatter(alpha, frames, 1)
    soft = ((alpha > 0) & (alpha < 1)).float()
    far = F.max_pool2d(soft, 2 * NEAR + 1, 1, NEAR) == 0
    assert far.float().mean() > 0.3 and torch.equal(found[far], alpha[far])
    hard = (truth > 0.5).float()
    assert torch.equal(chatter(hard, frames, 2), hard)


def test_nothing_crosses_a_cut():
    (one, first), (two, second), (three, third) = (drawn(seed, frames=3) for seed in (1, 6, 4))
    first, second, third = (flickering(matte) for matte in (first, second, third))
    found = chatter(torch.cat([first, second]), torch.cat([one, two]), 2)
    assert torch.equal(found[:3], chatter(torch.cat([first, third]), torch.cat([one, three]), 2)[:3])
    assert torch.equal(found[:3], chatter(first, one, 2)) and torch.equal(found[3:], chatter(second, two, 2))
    assert not torch.equal(found[:3], first)


def test_a_place_that_motion_does_not_explain_is_left_alone():
    frames, truth = drawn(6, 3)
    alpha = flickering(truth)
    steady = chatter(alpha, frames, 1)
    other = frames.clone()
    sparkle = torch.rand(3, 1, 27, 16, generator=torch.Generator().manual_seed(3)) - 0.5
    other[..., :64] += 0.4 * sparkle.repeat_interleave(4, 2).repeat_interleave(4, 3)  # in half of the picture
    found = chatter(alpha, other, 1)
    assert one_shot(other[0], other[1])
    changed = [(matte - alpha)[1, 0].abs() for matte in (steady, found)]
    assert changed[1][:, :56].sum() < 0.1 * changed[0][:, :56].sum()
    assert changed[1][:, 80:].sum() > 0.7 * changed[0][:, 80:].sum() > 0


def test_one_and_two_frames_are_given_back():
    frames, alpha = drawn(1, frames=2)
    alpha = flickering(alpha)
    assert torch.equal(chatter(alpha, frames, 2), alpha) and torch.equal(chatter(alpha[:1], frames[:1], 2), alpha[:1])


@pytest.mark.parametrize("factor", [2, 3])
def test_large_frames_are_steadied_by_the_motion_of_smaller_ones(factor, monkeypatch):
    monkeypatch.setattr("gvm_core.post.chatter.SHORT_EDGE", 108 / factor)
    frames, truth = drawn(6)
    alpha = flickering(truth)
    found = chatter(alpha, shaken(frames, 0.02), 2)
    assert dtssd(found, truth).mean() < 0.75 * dtssd(alpha, truth).mean()
