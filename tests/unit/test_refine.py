"""Finished mattes: what a user loses here is hair, an edge in its place, or a matte that should not have changed."""

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from support import moving_clip

from gvm_core.errors import InputError
from gvm_core.post import guided
from gvm_core.post.chatter import chatter
from gvm_core.post.despeckle import connected, despeckle
from gvm_core.post.expand import busy, expand, feather
from gvm_core.post.levels import levels
from gvm_core.post.refine import RefineSettings, refine, refine_edges
from gvm_core.synthesis.scene import Scene

NEUTRAL = (
    {}, {"mix": 0.0, "expand": 3.0, "chatter": 2, "clean_black": 0.1}, {"rollback": 5.0},
    {"despeckle": 1, "fill_holes": 1},
)  # fmt: skip
EACH = (
    {"guided": 3}, {"chatter": 1}, {"clean_black": 0.1}, {"clean_white": 0.1}, {"gamma": 1.5}, {"despeckle": 9},
    {"fill_holes": 9}, {"expand": 1.5}, {"expand": -0.5}, {"feather": 1.0},
    {"clean_black": 0.2, "rollback": 3.0},
)  # fmt: skip


@lru_cache
def drawn(seed, size, frames, tier="easy"):
    """Frames and mattes of a drawn clip."""
    layers = [Scene(seed, size, tier).frame(index) for index in range(frames)]
    return torch.stack([each.image for each in layers]), torch.stack([each.alpha for each in layers])


def soft_matte(seed, frames, height, width):
    """A matte with 0, 1 and soft edges, at random."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(frames, 1, 2 + height // 6, 2 + width // 6, generator=generator)
    return (3 * F.interpolate(coarse, (height, width), mode="bicubic") - 1).clamp(0, 1)


def ramp(degrees, width, size, shift=0.0):
    """A soft edge through the middle, 1 where the distance along ``degrees`` is negative, and that distance."""
    y, x = torch.meshgrid(*(torch.arange(size) - size // 2,) * 2, indexing="ij")
    away = x * math.cos(math.radians(degrees)) + y * math.sin(math.radians(degrees)) + shift
    return (0.5 - away / width).clamp(0, 1)[None, None], away


def moved(before, after, away, within):
    """How far the edge went, in pixels: the alpha gained in a strip across it, by the strip's width."""
    along = away.movedim(0, 1).flip(0)  # the distance at right angles, as the edge runs through the middle
    strip = torch.exp(-((along / 6) ** 2)) * (away.abs() < within)
    return float(((after - before)[0, 0] * strip).sum()) / (6 * math.sqrt(math.pi))


# The whole chain


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.sampled_from(NEUTRAL), st.sampled_from([torch.float32, torch.float16, torch.float64]))
def test_without_a_setting_the_matte_is_given_back_to_the_bit(seed, neutral, dtype):
    alpha = (1.2 * torch.rand(3, 1, 9, 7, generator=torch.Generator().manual_seed(seed)) - 0.1).to(dtype)
    chosen = RefineSettings(**neutral)
    found = refine(alpha.clone(), None, chosen)
    assert chosen.identity and not chosen.needs_frames and chosen.margin == 0
    assert found.dtype == dtype and torch.equal(found, alpha)


@pytest.mark.parametrize("chosen", EACH)
def test_every_setting_does_something_and_stays_in_range(chosen):
    frames, alpha = moving_clip(3, 40, 48), soft_matte(1, 3, 40, 48)
    alpha[..., :12], alpha[..., -12:] = 0, 1
    alpha[:, :, 9:11, 4:6], alpha[:, :, 30:32, -6:-4] = 0.7, 0.2
    alpha[1] = (alpha[1] + 0.1).clamp(0, 1)  # flicker
    found = refine(alpha, frames, RefineSettings(**chosen))
    assert not RefineSettings(**chosen).identity
    assert found.shape == alpha.shape and not torch.equal(found, alpha)
    assert found.min() >= 0 and found.max() <= 1


def test_the_chain_is_its_operations_in_the_order_it_says():
    frames, alpha = moving_clip(3, 40, 48), soft_matte(2, 3, 40, 48)
    chosen = RefineSettings(
        guided=3, chatter=1, clean_black=0.1, clean_white=0.05, rollback=2, gamma=1.2, despeckle=6, fill_holes=4,
        expand=1.3, feather=1.1, mix=0.7,
    )  # fmt: skip
    wanted = chatter(refine_edges(alpha, frames, 3), frames, 1)
    wanted = despeckle(levels(wanted, clean_black=0.1, clean_white=0.05, rollback=2, gamma=1.2), 6, 4)
    wanted = torch.lerp(alpha, feather(expand(wanted, 1.3), 1.1), 0.7)
    before = alpha.clone()
    assert torch.equal(refine(alpha, frames, chosen), wanted)
    assert torch.equal(alpha, before)


def test_a_frame_is_the_same_in_any_window_with_its_neighbours():
    frames, alpha = drawn(3, (48, 64), 7)
    alpha = (alpha + 0.3 * torch.randn(alpha.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    chosen = RefineSettings(guided=4, chatter=2, clean_black=0.1, rollback=3, despeckle=4, expand=-0.7, feather=2)
    whole = refine(alpha, frames, chosen)
    assert chosen.margin == 2
    for first, last in ((0, 4), (1, 5), (2, 6)):
        part = refine(alpha[first : last + 1], frames[first : last + 1], chosen)
        assert torch.equal(part[2], whole[first + 2])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("guided", (-1, 65, 1.5)), ("chatter", (-1, 5, 0.5)), ("clean_black", (-0.1, 0.6, math.nan)),
        ("clean_white", (-0.1, 0.6)), ("rollback", (-1, 65)), ("gamma", (0, -1, math.inf, math.nan)),
        ("despeckle", (-1, 10**6)), ("fill_holes", (-1, 10**6)), ("expand", (-129, 129, "2")), ("feather", (-1, 65)),
        ("mix", (-0.1, 1.1)),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused_by_name(name, values):
    for value in values:
        with pytest.raises(InputError, match=name):
            RefineSettings(**{name: value})


def test_missing_and_other_frames_are_refused_in_words():
    alpha = torch.rand(3, 1, 8, 8)
    for chosen in (RefineSettings(chatter=1), RefineSettings(guided=2)):
        with pytest.raises(InputError, match="need the frames"):
            refine(alpha, None, chosen)
        for shape in ((2, 3, 8, 8), (3, 3, 8, 9), (3, 4, 8, 8)):
            with pytest.raises(InputError, match="same size"):
                refine(alpha, torch.rand(shape), chosen)
    with pytest.raises(InputError, match=r"\[T, 1, H, W\]"):
        refine(alpha[:, 0], None, RefineSettings(expand=1))


# Levels


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 99), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0.2, 5))
@example(0, 0.5, 0.5, 1.0)
@example(0, 0.49999999999999994, 0.49999999999999994, 1.0)
def test_levels_give_exactly_black_and_white_where_asked_and_keep_the_order_between(seed, black, white, gamma):
    alpha = soft_matte(seed, 1, 12, 17)
    alpha[..., 0, :3] = torch.tensor([black, 1 - white, 0.5])
    found = levels(alpha, clean_black=black, clean_white=white, gamma=gamma)
    if torch.tensor(black) < torch.tensor(1 - white):  # in the matte's precision
        assert (found[alpha >= torch.tensor(1 - white)] == 1).all()
    assert (found[alpha <= torch.tensor(black)] == 0).all() and (found[alpha == 1] == 1).all()
    order = alpha.flatten().argsort()
    assert (found.flatten()[order].diff() >= 0).all()
    if max(black, white) < 0.4:
        wanted = ((alpha.double() - black) / (1 - black - white)).clamp(0, 1)
        torch.testing.assert_close(found.double() ** gamma, wanted, rtol=0, atol=3e-6)


def test_gamma_above_one_thickens_and_leaves_black_and_white():
    alpha = soft_matte(5, 2, 20, 20)
    thick, thin = levels(alpha, gamma=2.0), levels(alpha, gamma=0.5)
    inside = (alpha > 0) & (alpha < 1)
    assert (thick > alpha)[inside].all() and (thin < alpha)[inside].all()
    assert torch.equal(thick[~inside], alpha[~inside]) and torch.equal(thin[~inside], alpha[~inside])


def test_rollback_returns_faint_hair_at_an_edge_and_no_haze_far_from_it():
    alpha, away = ramp(90, 1, 81)
    alpha = torch.where(away[None, None] > 0.6, 0.08, alpha)  # haze, as faint as the ends of hair
    clean = levels(alpha, clean_black=0.1)
    assert (clean[0, 0][away > 0.6] == 0).all()
    for pixels in (0.5, 2, 4, 10):
        near = levels(alpha, clean_black=0.1, rollback=pixels)[0, 0]
        assert (near >= clean[0, 0]).all() and (near <= alpha[0, 0]).all()
        assert (near[away > pixels + 4] == 0).all()
        assert near[(away > 0.6) & (away <= max(pixels / 2, 1))].min() > (0.079 if pixels >= 1 else 0.035)


# Moving edges


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 180), st.floats(2, 12), st.sampled_from([0.5, -0.5]), st.floats(-0.5, 0.5))
@example(45.0, 2.0, 0.5, 0.0)
def test_half_a_pixel_is_half_a_pixel_at_any_angle(degrees, width, pixels, shift):
    before, away = ramp(degrees, width, 49, shift)
    assert abs(moved(before, expand(before, pixels), away, width + 6) - pixels) < 0.05


@pytest.mark.parametrize("pixels", [0.1, 1.0, 2.0, 2.9, 3.5, -4.5, 6.2, -8.0, 16.0, 31.3])
def test_larger_moves_are_within_two_percent_or_a_fraction_of_a_pixel(pixels):
    for degrees in range(0, 180, 15):
        before, away = ramp(degrees, 4, 45 + 4 * round(abs(pixels)), 0.3)
        found = moved(before, expand(before, pixels), away, abs(pixels) + 10)
        assert abs(found - pixels) < max(0.02 * abs(pixels), 0.11 if abs(pixels) > 1.5 else 0.05), degrees


@pytest.mark.parametrize("pixels", [1.5, 2.0, 3.0, 4.2, 7.0, 13.0, 40.0, 90.0, 128.0])
def test_a_point_grows_to_a_round_disc_without_holes(pixels):
    size = 2 * math.ceil(pixels) + 21
    point = torch.zeros(1, 1, size, size)
    point[..., size // 2 - 1 : size // 2 + 2, size // 2 - 1 : size // 2 + 2] = 1
    y, x = torch.meshgrid(*(torch.arange(size) - size // 2,) * 2, indexing="ij")
    away, found = (x * x + y * y).float().sqrt(), expand(point, pixels)[0, 0]
    slack = max(0.02 * pixels, 0.2)
    assert found[away < pixels - slack].min() > 0.99
    assert found[away > pixels + math.sqrt(2) + 1 + slack].max() < 0.01


def test_soft_edges_keep_their_slope():
    for width in (3, 6, 12):
        for degrees in (0, 20, 45):
            before, _ = ramp(degrees, width, 61)
            steepest = before.diff(dim=3).abs().max()
            for pixels in (0.5, 2.5, -2.5, 9.0):
                found = expand(before, pixels)[..., 5:-5, 5:-5].diff(dim=3).abs().max()
                assert 0.8 * steepest < found < 1.25 * steepest


def test_thin_hair_grows_when_expanded_and_fades_when_contracted_but_does_not_break():
    y, x = torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij")
    away = (x - 30 + 8 * torch.sin(y / 9.0)).abs()
    hair = (0.6 * (1.5 - away).clamp(0, 1))[None, None]
    weight = [float(expand(hair, pixels)[..., 5:-5, :].sum()) for pixels in (-1.0, -0.5, -0.25, 0, 0.5, 2.5)]
    assert all(thinner < thicker for thinner, thicker in pairwise(weight))
    along = expand(hair, -0.5)[0, 0, 5:-5].amax(dim=1)
    assert along.min() > 0.15 and along.max() <= 0.6
    assert expand(hair, 2.5)[0, 0].amax(dim=1).min() > 0.55 and expand(hair, 2.5).max() <= 0.6


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.floats(0.05, 9), st.integers(1, 30), st.integers(1, 30))
def test_expanding_never_loses_and_contracting_is_expanding_the_rest(seed, pixels, height, width):
    alpha = soft_matte(seed, 1, height, width)
    larger, smaller = expand(alpha, pixels), expand(alpha, -pixels)
    assert (larger >= alpha).all() and larger.max() <= alpha.max()
    assert (smaller <= alpha).all() and smaller.min() >= alpha.min()
    torch.testing.assert_close(1 - smaller, expand(1 - alpha, pixels), rtol=0, atol=2e-6)


@pytest.mark.parametrize("change", [lambda a: expand(a, -6.3), lambda a: expand(a, 6.3), lambda a: feather(a, 5)])
def test_a_subject_cut_by_the_border_stays_cut_there(change):
    wide = torch.zeros(1, 1, 40, 200)
    wide[..., 60:140] = 1
    wide[..., 140] = 0.4
    assert torch.equal(change(wide[:, :, :12]), change(wide)[:, :, :12])
    assert torch.equal(change(torch.ones(1, 1, 9, 9)), torch.ones(1, 1, 9, 9))
    cut = change(wide[..., 100:])  # the border runs through the subject
    assert torch.equal(cut[..., :20], torch.ones(1, 1, 40, 20))


def test_only_the_busy_part_is_computed_and_it_is_what_the_whole_would_be(monkeypatch):
    alpha = torch.zeros(1, 1, 90, 110)
    alpha[..., 40:60, 50:80] = soft_matte(3, 1, 20, 30)
    alpha[0, 0, 50, 50] = 1
    assert busy(alpha[0, 0], 2) == (slice(37, 63), slice(47, 83))
    steps = torch.zeros(1, 1, 20, 20)
    steps[..., 10:, :] = 1
    assert busy(steps[0, 0], 0) == (slice(9, 11), slice(0, 20))
    changes = [lambda a: expand(a, 5.5), lambda a: expand(a, -2.2), lambda a: feather(a, 6)]
    changes += [lambda a: levels(a, clean_black=0.1, rollback=4, gamma=1.3)]
    parts = [change(alpha) for change in changes]
    for module in ("expand", "levels"):
        monkeypatch.setattr(f"gvm_core.post.{module}.busy", lambda frame, reach: (slice(None), slice(None)))
    for change, part in zip(changes, parts, strict=True):
        torch.testing.assert_close(change(alpha), part, rtol=0, atol=1e-6)


# Softening


@pytest.mark.parametrize("pixels", [0.3, 1, 2, 5.7, 20, 64])
def test_feather_is_a_gaussian_of_half_its_pixels_that_keeps_all_alpha(pixels):
    point = torch.zeros(1, 1, 1, 421)
    point[..., 210] = 1
    found, away = feather(point, pixels).flatten().double(), torch.arange(421).double() - 210
    assert abs(float((found * away**2).sum().sqrt()) - pixels / 2) < 0.01 * pixels
    assert (found - found.flip(0)).abs().max() < 1e-7 and abs(float(found.sum()) - 1) < 5e-4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.floats(0.1, 64), st.integers(1, 40), st.integers(1, 40))
def test_feather_keeps_the_sum_at_any_size_also_at_the_border(seed, pixels, height, width):
    alpha = soft_matte(seed, 1, height, width)
    found = feather(alpha, pixels)
    assert found.min() >= 0 and found.max() <= 1
    assert abs(float((found - alpha).double().mean())) < 5e-6


def test_feather_leaves_solid_parts_solid():
    alpha, away = ramp(30, 2, 121)
    found = feather(alpha, 10)[0, 0]
    assert (found[away < -20] == 1).all() and (found[away > 20] == 0).all()
    assert 0.4 < found[60, 60] < 0.6


# Despeckling


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.integers(1, 30), st.integers(1, 30), st.floats(0, 1))
def test_connected_pixels_are_those_that_scipy_finds(seed, height, width, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    wanted, count = ndimage.label(mask, np.ones((3, 3)))
    runs, found = connected(mask), np.zeros(mask.size, int)
    for start, end, group in zip(runs.starts, runs.ends, runs.groups, strict=True):
        found[start:end] = group + 1
    assert np.array_equal(found.reshape(mask.shape), wanted)
    assert np.array_equal(runs.areas, np.bincount(wanted.ravel(), minlength=count + 1)[1:])


def test_a_snake_through_the_whole_frame_is_one_group():
    mask = np.zeros((101, 60), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    assert connected(mask).areas.tolist() == [mask.sum()]
    spiral = np.zeros((61, 61), bool)
    for ring in range(0, 30, 2):
        spiral[ring : 61 - ring, ring : 61 - ring] = True
        spiral[ring + 1 : 60 - ring, ring + 1 : 60 - ring] = False
        spiral[ring + 1, ring + 2] = True
    assert len(connected(spiral).areas) == ndimage.label(spiral, np.ones((3, 3)))[1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.integers(0, 20), st.integers(0, 20))
def test_groups_of_fewer_pixels_vanish_and_all_others_stay_to_the_bit(seed, islands, holes):
    alpha = (torch.rand(2, 1, 20, 24, generator=torch.Generator().manual_seed(seed)) > 0.6).float()
    found = despeckle(alpha, islands, holes)
    for before, after in zip(alpha[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        for level, size in ((1, islands), (0, holes)):
            labels, count = ndimage.label(before == level, np.ones((3, 3)))
            areas = ndimage.sum_labels(np.ones_like(before), labels, range(1, count + 1))
            small = np.isin(labels, 1 + np.flatnonzero(areas < size))
            before = np.where(small, 1 - level, before)
        assert np.array_equal(after, before)


def test_soft_specks_vanish_with_their_rims_and_the_subject_stays_to_the_bit():
    subject = F.avg_pool2d(F.pad(torch.ones(1, 1, 24, 20), (20, 20, 18, 18)), 9, 1, 4, count_include_pad=True)
    subject[..., 30, 30] = 0.97  # not quite solid
    y, x = torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij")
    speck = torch.exp(-((y - 6) ** 2 + (x - 8) ** 2) / 5.0)
    hole = torch.exp(-((y - 30) ** 2 + (x - 29) ** 2) / 3.0)
    dirty = torch.maximum(subject, torch.where(speck > 1e-3, speck, 0)) * (1 - torch.where(hole > 1e-3, hole, 0))
    found = despeckle(dirty, 80, 80)
    assert (dirty[..., :14, :] > 0).sum() > 80 and torch.equal(found[..., :14, :], torch.zeros(1, 1, 14, 60))
    around = (y - 30) ** 2 + (x - 29) ** 2 < 6**2
    assert (found[0, 0][around] == 1).all()
    assert torch.equal(found[0, 0][14:][~around[14:]], dirty[0, 0][14:][~around[14:]])
    assert torch.equal(despeckle(dirty, 10, 4), dirty)  # which are larger than this


def test_a_diagonal_hair_and_a_diagonal_gap_are_one_thing_each():
    hair = torch.eye(12)[None, None]
    assert torch.equal(despeckle(hair, 12), hair) and despeckle(hair, 13).sum() == 0
    assert torch.equal(despeckle(1 - hair, 0, 12), 1 - hair) and (despeckle(1 - hair, 0, 13) == 1).all()


def test_a_hole_in_a_speck_goes_with_the_speck():
    speck = torch.zeros(1, 1, 9, 9)
    speck[..., 3:6, 3:6] = 1
    speck[..., 4, 4] = 0
    assert despeckle(speck, 20, 20).sum() == 0


# Edges from the plate


def test_edges_are_those_of_the_guided_filter_where_nothing_is_reduced():
    frames, alpha = drawn(5, (70, 90), 2)
    rough = F.avg_pool2d(alpha, 5, 1, 2)
    found = refine_edges(rough, frames, 2)
    wanted = guided.refined(frames, rough, 2, neighbours=False).clamp(0, 1)
    soft = (rough > 0.2) & (rough < 0.8)
    torch.testing.assert_close(found[soft], wanted[soft], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("radius", "share"), [(2, 0.7), (4, 0.75)])
def test_a_matte_from_a_small_network_comes_back_nearer_to_the_plates_hair(radius, share):
    frames, truth = drawn(1, (190, 191), 1)
    rough = F.interpolate(F.interpolate(truth, scale_factor=1 / 3, mode="area"), (190, 191), mode="bilinear")
    found, soft = refine_edges(rough, frames, radius), (truth > 0.05) & (truth < 0.95)
    assert (found - truth)[soft].abs().mean() < share * (rough - truth)[soft].abs().mean()


def test_solid_parts_stay_to_the_bit_whatever_the_plate_shows():
    frames = torch.rand(2, 3, 90, 100, generator=torch.Generator().manual_seed(0))
    alpha, away = ramp(10, 4, 90)
    found = refine_edges(alpha.repeat(2, 1, 1, 1), frames[..., :90], 6)
    far = away.abs() > 2 * 6 + 6
    assert torch.equal(found[0, 0][far], alpha[0, 0][far]) and not torch.equal(found[0], alpha[0])
    assert found.min() >= 0 and found.max() <= 1


def test_the_plate_moves_an_edge_the_same_wherever_the_subject_stands():
    frames, alpha = drawn(5, (70, 90), 1)
    wide = F.pad(alpha, (60, 60, 24, 24)), F.pad(frames, (60, 60, 24, 24), mode="replicate")
    inner = (slice(None), slice(None), slice(24 + 12, 24 + 40), slice(60 + 12, 60 + 78))
    found = refine_edges(*wide, 5)
    shifted = refine_edges(F.pad(wide[0], (6, 0, 6, 0)), F.pad(wide[1], (6, 0, 6, 0), mode="replicate"), 5)
    torch.testing.assert_close(shifted[:, :, 6:, 6:][inner], found[inner], rtol=0, atol=1e-4)
