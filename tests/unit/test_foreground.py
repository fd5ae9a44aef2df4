"""The subject's own colours: what a user loses here is an edge without the old background."""

from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gvm_core.errors import InputError
from gvm_core.post.color import srgb_to_linear
from gvm_core.post.despill import LUMINANCE, despill, edge_share, limit_of, screen_of
from gvm_core.post.foreground import ForegroundSettings, estimate_foreground
from gvm_core.post.multilevel import limited
from gvm_core.synthesis.scene import Scene

ALONE = ForegroundSettings(margin=0)
SUBJECT = torch.tensor([0.8, 0.5, 0.3]).view(1, 3, 1, 1)
WALL = torch.tensor([0.1, 0.3, 0.4]).view(1, 3, 1, 1)


@lru_cache
def frame(seed, tier, index):
    return Scene(seed, (96, 160), tier).frame(index)


def drawn(seed, tier="easy", frames=1):
    """Plate, alpha and foreground of a drawn clip."""
    found = [frame(seed, tier, index) for index in range(frames)]
    return tuple(torch.stack([getattr(each, name) for each in found]) for name in ("image", "alpha", "foreground"))


def smooth(height, width, seed=0, low=0.0, high=1.0):
    """Alpha ``[1, 1, H, W]`` that rises and falls softly between two levels beyond ``low`` and ``high``, clamped."""
    coarse = torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(seed))
    coarse = (coarse - coarse.min()) / (coarse.max() - coarse.min())
    fine = F.interpolate(coarse, (height, width), mode="bilinear")
    return (low + (high - low) * (2 * fine - 0.5).clamp(0, 1)).clamp(0, 1)


def strands(height, width, seed=0):
    """A matte of single random hairs that get rarer to the right of something opaque."""
    random = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(seed))
    return (random * torch.linspace(2.5, 0, width) - 0.3).clamp(0, 1)


def noisy(values, amount, seed=0):
    return values + amount * torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))


def error(found, truth, alpha):
    """Mean absolute error where alpha is soft."""
    soft = ((alpha > 0.05) & (alpha < 0.95)).expand_as(found)
    return float((found - truth).abs()[soft].mean())


def random_plates(data, frames, height, width):
    """Plates with noise, highlights and blacks below 0, and mattes with soft, opaque and empty parts."""
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    plate = torch.randn(frames, 3, height, width, generator=generator) * data.draw(st.sampled_from([0.0, 0.1, 8.0]))
    alpha = torch.rand(frames, 1, height, width, generator=generator)
    alpha = data.draw(st.sampled_from([alpha, (3 * alpha - 1).clamp(0, 1), alpha.round(), 0 * alpha, 0 * alpha + 1]))
    return plate + 0.4, alpha


# What is opaque


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 13), st.integers(1, 13), st.integers(0, 2))
def test_what_is_opaque_stays_as_it_was_filmed_bit_by_bit(data, frames, height, width, margin):
    plate, alpha = random_plates(data, frames, height, width)
    plate = plate.to(data.draw(st.sampled_from([torch.float32, torch.float16, torch.float64])))
    before = plate.clone(), alpha.clone()
    found = estimate_foreground(plate, alpha, ForegroundSettings(margin=margin))
    opaque = (alpha == 1).expand_as(plate)
    assert found.shape == plate.shape and found.dtype == plate.dtype and found.isfinite().all()
    assert torch.equal(found[opaque], plate[opaque])
    assert torch.equal(plate, before[0]) and torch.equal(alpha, before[1])


def test_a_pixel_that_is_no_number_spoils_neither_the_frame_nor_itself():
    plate, alpha, _ = (each.clone() for each in drawn(3))
    whole = estimate_foreground(plate, alpha)
    opaque, empty = (alpha[0, 0] == 1).nonzero()[40], (alpha[0, 0] == 0).nonzero()[0]
    for place, value in ((opaque, float("inf")), (empty, float("nan"))):
        plate[0, 1, place[0], place[1]] = value
    found = estimate_foreground(plate, alpha)
    assert found[0, 1, opaque[0], opaque[1]] == float("inf")
    found[0, 1, opaque[0], opaque[1]] = 0
    assert found.isfinite().all()
    assert ((found - whole).abs() < 0.02).float().mean() > 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (3, 3), (97, 131)])
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_frames_of_any_size_with_one_alpha_everywhere_work(size, level):
    plate = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = estimate_foreground(plate, torch.full((2, 1, *size), level))
    assert found.shape == plate.shape and found.isfinite().all()
    if level == 1:
        assert torch.equal(found, plate)
    if level == 0:  # no subject: the mean of the plate, not black
        assert (found - found[..., :1, :1]).abs().max() < 1e-5 and 0.05 < found.min() < found.max() < 0.95


def test_frames_as_comfyui_lays_them_out_give_the_same():
    plate, alpha, _ = drawn(3)
    apart = plate.movedim(1, -1).contiguous().movedim(-1, 1)
    assert torch.equal(estimate_foreground(apart, alpha), estimate_foreground(plate, alpha))


def test_no_frames_give_no_frames():
    assert estimate_foreground(torch.rand(0, 3, 4, 4), torch.rand(0, 1, 4, 4)).shape == (0, 3, 4, 4)


# What is soft


@pytest.mark.parametrize("light", [1.0, 8.0, 1000.0])
@pytest.mark.parametrize("matte", [smooth(61, 90), strands(64, 96)], ids=["edge", "hair"])
def test_a_subject_of_one_colour_loses_all_of_the_wall_behind_it(light, matte):
    plate = light * (SUBJECT * matte + WALL * (1 - matte))
    found = estimate_foreground(plate, matte)
    off = (found / light - SUBJECT).abs().amax(dim=1, keepdim=True)
    assert off[matte > 0.25].max() < 0.01 and off[matte > 0.02].mean() < 2e-3
    assert (plate / light - SUBJECT).abs().amax(dim=1, keepdim=True)[(matte > 0.25) & (matte < 0.9)].mean() > 0.2


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.9), (0.0, 0.3), (0.3, 0.7)])
def test_smoke_keeps_its_colour_though_it_is_nowhere_opaque(low, high):
    matte = smooth(96, 128, seed=1, low=low, high=high)
    assert float(matte.max()) == pytest.approx(high)
    found = estimate_foreground(SUBJECT * matte + WALL * (1 - matte), matte)
    assert (found - SUBJECT).abs()[(matte > 0.05).expand_as(found)].mean() < 0.06


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("tier", ["easy", "medium", "hard"])
def test_colours_of_drawn_hair_are_at_least_as_good_as_those_of_the_published_method(seed, tier):
    pymatting = pytest.importorskip("pymatting", reason="colours beside the published method's are NOT tested")
    plate, alpha, truth = drawn(seed, tier)
    published = pymatting.estimate_foreground_ml(plate[0].movedim(0, -1).double().numpy(), alpha[0, 0].double().numpy())
    published = torch.from_numpy(published).movedim(-1, 0)[None].float()
    assert error(estimate_foreground(plate, alpha), truth, alpha) < 1.05 * error(published, truth, alpha)


@pytest.mark.parametrize(("seed", "tier"), [(3, "easy"), (2, "medium"), (3, "hard")])
def test_the_old_background_is_gone_from_most_of_a_drawn_edge(seed, tier):
    plate, alpha, truth = drawn(seed, tier)
    assert error(estimate_foreground(plate, alpha), truth, alpha) < 0.55 * error(plate, truth, alpha)


def test_beyond_its_edge_lies_the_subjects_colour_and_not_the_plate():
    matte = smooth(64, 96)
    plate = SUBJECT * matte + WALL * (1 - matte)
    found = estimate_foreground(plate, matte)
    empty = (matte == 0).expand_as(found)
    assert empty.float().mean() > 0.15 and (found - SUBJECT).abs()[empty].max() < 0.02
    small = F.interpolate(found, scale_factor=0.5, mode="bilinear", antialias=True)
    assert (small - SUBJECT).abs().max() < 0.02


def test_light_beyond_white_survives_in_soft_pixels():
    matte, lamp = smooth(64, 64), torch.tensor([8.0, 7.0, 5.0]).view(1, 3, 1, 1)
    found = estimate_foreground(lamp * matte + 0.02 * (1 - matte), matte)
    assert (found / lamp - 1).abs()[(matte > 0.1).expand_as(found)].max() < 0.01


def test_a_brighter_plate_gives_the_same_colours_brighter():
    plate, alpha, _ = drawn(2, "medium")
    assert torch.equal(estimate_foreground(plate, alpha, ALONE) * 16, estimate_foreground(plate * 16, alpha, ALONE))


# Neon


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(2, 24), st.integers(2, 24))
def test_no_plate_and_no_matte_give_a_colour_that_the_plate_has_not(data, height, width):
    plate, alpha = random_plates(data, 1, height, width)
    alpha[..., :2, :2], alpha[..., -2:, -2:] = 0, 1  # something opaque and something empty
    found = estimate_foreground(plate, alpha)
    least, most = plate.amin(dim=(2, 3), keepdim=True), plate.amax(dim=(2, 3), keepdim=True)
    room = 1e-5 * plate.abs().max()
    assert (found >= least - room).all() and (found <= most + room).all()


@pytest.mark.parametrize("wrong", ["exact", "shifted", "too thin", "too wide", "noisy"])
@pytest.mark.parametrize("light", [1.0, 8.0])
def test_thin_hair_does_not_go_neon_even_with_a_wrong_matte(wrong, light):
    plate, alpha, _ = drawn(3)
    seen = {
        "exact": alpha,
        "shifted": alpha.roll(2, dims=3),
        "too thin": alpha**3,
        "too wide": alpha**0.3,
        "noisy": torch.where(alpha > 0, noisy(alpha, 0.2).clamp(0, 1), alpha),
    }[wrong]
    found, plate = estimate_foreground(light * plate, seen), light * plate
    most, least = (F.max_pool2d(sign * plate, 65, 1, 32) * sign for sign in (1, -1))  # 32 pixels around
    thin = ((seen > 0) & (seen < 0.3)).expand_as(found)
    assert thin.float().mean() > 0.015
    assert (found <= most + 0.01 * light)[thin].all() and (found >= least - 0.01 * light)[thin].all()


def test_a_colour_at_its_limit_keeps_its_hue():
    torch.manual_seed(0)
    colour, change = torch.rand(3, 500), 2 * torch.rand(3, 500) - 1
    found = limited(colour, change, torch.zeros(3, 500), torch.ones(3, 500))
    share = (found - colour) / change
    assert (share - share[:1]).abs().max() < 1e-3 and 0.2 < (share < 0.999).float().mean() < 0.9
    assert found.min() >= -1e-6 and found.max() <= 1 + 1e-6


def test_less_is_amplified_the_higher_the_floor():
    plate, alpha, _ = drawn(3)
    spreads = [
        (estimate_foreground(noisy(plate, 0.05), alpha, ForegroundSettings(margin=0, gain_floor=floor)) - plate)
        .diff(dim=-1)
        .abs()[((alpha > 0) & (alpha < 0.5)).expand_as(plate)[..., 1:]]
        .mean()
        for floor in (0.02, 0.15, 1.0)
    ]
    assert spreads[0] > 1.2 * spreads[1] > 1.2 * spreads[2]


# Steady


def flicker(found, alpha):
    soft = (alpha > 0) & (alpha < 1)
    both = (soft[1:] & soft[:-1]).expand(-1, 3, -1, -1)
    return float(found.diff(dim=0).abs()[both].mean())


def still(seed, tier, frames, grain, chatter):
    """A still subject with noise in its plate and its matte."""
    plate, alpha, _ = drawn(seed, tier)
    alpha = alpha.expand(frames, -1, -1, -1)
    shaken = torch.where((alpha > 0) & (alpha < 1), noisy(alpha, chatter, 1).clamp(0, 1), alpha)
    return noisy(plate.expand(frames, -1, -1, -1), grain), shaken


@pytest.mark.parametrize(("grain", "chatter"), [(0.004, 0.0), (0.01, 0.03), (0.03, 0.01), (0.05, 0.05)])
@pytest.mark.parametrize(("seed", "tier"), [(3, "easy"), (3, "hard")])
def test_edges_of_a_still_subject_flicker_half_as_much(seed, tier, grain, chatter):
    plate, alpha = still(seed, tier, 5, grain, chatter)
    alone, one, two = (
        flicker(estimate_foreground(plate, alpha, ForegroundSettings(margin=each)), alpha) for each in (0, 1, 2)
    )
    assert one < 0.45 * alone and two < 0.75 * one


def test_light_beyond_white_is_steadied_as_well():
    plate, alpha = still(3, "easy", 4, 0.01, 0.01)
    alone, one = (
        flicker(estimate_foreground(20 * plate, alpha, ForegroundSettings(margin=each)), alpha) for each in (0, 1)
    )
    assert one < 0.6 * alone


@settings(max_examples=12, deadline=None)
@given(st.data(), st.integers(0, 3), st.sampled_from([(9, 14), (24, 31), (40, 64)]))
def test_a_frame_is_the_same_in_every_window_that_holds_its_neighbours(data, margin, size):
    count = 2 * margin + 1 + data.draw(st.integers(1, 3))
    plate, alpha = random_plates(data, count, *size)
    if data.draw(st.booleans()):
        plate = plate[:1] + 0.01 * plate  # alike
    settings = ForegroundSettings(margin=margin)
    whole = estimate_foreground(plate, alpha, settings)
    index = data.draw(st.integers(0, count - 1))
    first, last = max(index - margin, 0), index + margin + 1
    part = estimate_foreground(plate[first:last], alpha[first:last], settings)
    assert torch.equal(part[index - first], whole[index])


def test_nothing_is_taken_from_beyond_a_cut_or_a_flash():
    one, other = (drawn(seed, "easy") for seed in (3, 2))
    plate = torch.cat([one[0], one[0], other[0], one[0], one[0]])
    alpha = torch.cat([one[1], one[1], other[1], one[1], one[1]])
    truth, steady = (estimate_foreground(plate, alpha, ForegroundSettings(margin=each)) for each in (0, 2))
    assert (truth - steady).abs().max() < 1e-3


def test_a_flash_between_frames_that_are_alike_keeps_them_apart():
    plate, alpha = still(3, "easy", 3, 0.01, 0.01)
    plate[1] = 1 - plate[1]
    alone, steady = (estimate_foreground(plate, alpha, ForegroundSettings(margin=each)) for each in (0, 2))
    assert (alone - steady).abs().max() < 0.02


def test_a_texture_that_moves_is_not_smeared():
    """A pan over coarse gravel, seen through a soft edge."""
    gravel = torch.rand(1, 3, 48, 80, generator=torch.Generator().manual_seed(0))
    plate = torch.cat([gravel[..., 3 * step : 3 * step + 64] for step in range(5)])
    alpha = smooth(48, 64).expand(5, -1, -1, -1)
    alone, steady = (estimate_foreground(plate, alpha, ForegroundSettings(margin=each)) for each in (0, 2))
    assert (alone - steady).abs().max() < 0.01


@pytest.mark.parametrize(("seed", "tier"), [(2, "easy"), (3, "medium"), (2, "hard")])
def test_moving_people_keep_the_colours_of_their_own_frame(seed, tier):
    plate, alpha, truth = drawn(seed, tier, 3)
    alone, steady = (
        error(estimate_foreground(plate, alpha, ForegroundSettings(margin=each)), truth, alpha) for each in (0, 2)
    )
    assert steady < 1.03 * alone


def test_a_matte_that_errs_in_one_frame_does_not_spoil_the_next():
    plate, alpha, _ = drawn(3)
    plate, alpha = plate.expand(3, -1, -1, -1), alpha.repeat(3, 1, 1, 1)
    alpha[1] = 1  # a frame whose matte is lost
    alone, steady = (estimate_foreground(plate, alpha, ForegroundSettings(margin=each)) for each in (0, 1))
    thin = ((alpha > 0.01) & (alpha < 0.3)).expand_as(plate)[::2]
    assert (alone - steady)[::2].abs()[thin].max() < 0.01


# Despill

GREEN = torch.tensor([0.4, 0.9, 0.2]).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("screen", "limit", "strength", "kept", "wanted"),
    [
        ("green", "average", 1, False, (0.4, 0.3, 0.2)),
        ("green", "double average", 1, False, (0.4, 1 / 3, 0.2)),
        ("green", "maximum", 1, False, (0.4, 0.4, 0.2)),
        ("green", "average", 0.5, False, (0.4, 0.6, 0.2)),
        ("green", "maximum", 1, True, (0.4 + 0.3576, 0.4 + 0.3576, 0.2 + 0.3576)),
        ("blue", "average", 1, False, (0.4, 0.9, 0.2)),
        ("off", "average", 1, False, (0.4, 0.9, 0.2)),
    ],
)
def test_despill_computes_the_keyers_formulas(screen, limit, strength, kept, wanted):
    found = despill(
        GREEN, ForegroundSettings(screen=screen, limit=limit, strength=strength, keep_brightness=kept)
    ).flatten()
    assert found.tolist() == pytest.approx(wanted)
    swapped = {"green": "blue", "blue": "green", "off": "off"}[screen]
    settings = ForegroundSettings(screen=swapped, limit=limit, strength=strength, keep_brightness=False)
    if not kept:
        assert despill(GREEN[:, [0, 2, 1]], settings).flatten()[[0, 2, 1]].tolist() == pytest.approx(wanted)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(["green", "blue"]), st.sampled_from(["average", "double average", "maximum"]))
def test_spill_is_gone_and_nothing_else_has_changed(data, screen, limit):
    colour, _ = random_plates(data, 2, 5, 6)
    colour, kept = 20 * colour, data.draw(st.booleans())
    found = despill(colour, ForegroundSettings(screen=screen, limit=limit, keep_brightness=kept))
    channel = {"green": 1, "blue": 2}[screen]
    others = [found[:, each] for each in range(3) if each != channel]
    room = 1e-5 * colour.abs().max()
    assert (found[:, channel] <= limit_of(*others, limit) + room).all()
    clean = (found[:, channel] == colour[:, channel])[:, None].expand_as(colour)
    assert torch.equal(found[clean], colour[clean])
    if kept:
        weights = torch.tensor(LUMINANCE).view(1, 3, 1, 1)
        assert (((found - colour) * weights).sum(dim=1).abs() <= room).all()
    else:
        assert torch.equal(torch.stack(others), colour[:, [c for c in range(3) if c != channel]].movedim(1, 0))


def test_the_limits_take_less_in_the_order_of_their_names():
    torch.manual_seed(0)
    one, other = torch.randn(2, 99)
    average, double, maximum = (limit_of(one, other, each) for each in ("average", "double average", "maximum"))
    assert (average <= double + 1e-6).all() and (double <= maximum + 1e-6).all() and (average < maximum).any()


@pytest.mark.parametrize("off", [{"screen": "off"}, {"screen": "green", "strength": 0}])
def test_without_despill_not_a_bit_changes(off):
    colour = torch.tensor([float("nan"), 8.0, -0.0]).view(1, 3, 1, 1)
    assert despill(colour, ForegroundSettings(**off), torch.ones(1, 1, 1, 1)) is colour


def test_a_green_dress_stays_green_where_only_edges_are_despilled():
    alpha = torch.zeros(1, 1, 64, 64)
    alpha[..., 8:56, 8:56] = 1
    alpha[..., 7, 8:56] = 0.5
    dress = GREEN.expand(1, 3, 64, 64)
    settings = ForegroundSettings(screen="green", reach=9)
    found = despill(dress, settings, alpha)
    assert torch.equal(found[..., 20:44, 20:44], dress[..., 20:44, 20:44])
    torch.testing.assert_close(found[..., :10, :], despill(dress, settings)[..., :10, :])
    assert (found[0, 1, 9:19, 32].diff() >= 0).all() and 0.35 < found[0, 1, 13, 32] < 0.85


def test_without_reach_pixels_are_despilled_as_far_as_they_are_soft():
    alpha = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    assert edge_share(alpha, 0).flatten().tolist() == [1.0, 0.75, 0.0]


@pytest.mark.parametrize("reach", [1, 2, 16, 64])
def test_reach_is_counted_in_pixels(reach):
    alpha = torch.ones(1, 1, 1, 200)
    alpha[..., :10] = 0
    share = edge_share(alpha, reach).flatten()
    assert share[10 + reach - 1] > 0 and (share[10 + reach :] == 0).all() and (share[:10] == 1).all()


# Which screen


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("colour", "wanted"),
    [
        ((0.0, 0.69, 0.25), "green"),
        ((0.35, 0.67, 0.4), "green"),
        ((0.21, 0.58, 0.29), "green"),
        ((0.12, 0.35, 0.18), "green"),
        ((0.0, 0.28, 0.73), "blue"),
        ((0.16, 0.31, 0.67), "blue"),
        ((0.5, 0.5, 0.5), "off"),
        ((0.27, 0.43, 0.16), "off"),  # a lawn
        ((0.47, 0.67, 0.9), "off"),  # a sky
        ((0.01, 0.04, 0.01), "off"),  # night
    ],
)
def test_screens_are_known_by_their_colour(colour, wanted, seed):
    _, alpha, subject = drawn(2 + seed % 2)
    light = 0.75 + 0.25 * smooth(96, 160, seed)  # a screen is not lit evenly
    backing = noisy(torch.tensor(colour).view(1, 3, 1, 1) * light, 0.015, seed)
    plate = subject * alpha + backing * (1 - alpha)
    assert screen_of(plate, alpha) == wanted
    if wanted != "off" and max(colour) > 0.5:
        assert screen_of(srgb_to_linear(plate.clamp(min=0)), alpha) == wanted


@pytest.mark.parametrize("tier", ["easy", "medium", "hard"])
@pytest.mark.parametrize("seed", [2, 3])
def test_a_background_that_is_no_screen_is_none(tier, seed):
    plate, alpha, _ = drawn(seed, tier)
    assert screen_of(plate, alpha) == "off"


def test_a_screen_is_known_though_much_of_the_background_is_studio():
    plate = torch.full((2, 3, 60, 100), 0.3)
    plate[..., 40:] = torch.tensor([0.1, 0.6, 0.2]).view(3, 1, 1)
    assert screen_of(plate, torch.zeros(2, 1, 60, 100)) == "green"
    assert screen_of(plate[..., :60], torch.zeros(2, 1, 60, 60)) == "off"


def test_a_green_subject_does_not_make_a_screen():
    plate, alpha = GREEN.expand(1, 3, 60, 60).clone(), torch.ones(1, 1, 60, 60)
    assert screen_of(plate, alpha) == "off"
    plate[..., :20], alpha[..., :20] = 0.4, 0
    assert screen_of(plate, alpha) == "off"


def test_lost_pixels_do_not_decide():
    plate = torch.full((1, 3, 32, 32), float("nan"))
    assert screen_of(plate, torch.zeros(1, 1, 32, 32)) == "off"


# What is said


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"margin": -1}, "margin must be a whole number from 0 to 4, got -1"),
        ({"margin": 1.0}, "margin must be a whole number from 0 to 4, got 1.0"),
        ({"reach": 65}, "reach must be a whole number from 0 to 64, got 65"),
        ({"gain_floor": 0}, "gain_floor must be a number from 0.01 to 1, got 0"),
        ({"strength": float("nan")}, "strength must be a number from 0 to 1, got nan"),
        ({"strength": "1"}, "strength must be a number from 0 to 1, got '1'"),
        ({"screen": "red"}, "screen must be 'off', 'green', 'blue' or 'auto', got 'red'"),
        ({"limit": "minimum"}, "limit must be 'average', 'double average' or 'maximum', got 'minimum'"),
        ({"keep_brightness": "no"}, "keep_brightness must be False or True, got 'no'"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(wrong, words):
    with pytest.raises(InputError) as error:
        ForegroundSettings(**wrong)
    assert str(error.value) == words


def test_a_screen_that_was_never_decided_is_asked_for():
    with pytest.raises(InputError, match="screen_of"):
        despill(GREEN, ForegroundSettings(screen="auto"))


@pytest.mark.parametrize(
    ("frames", "alpha", "words"),
    [
        (torch.rand(2, 3, 4, 4), torch.rand(2, 1, 4, 5), "same size"),
        (torch.rand(2, 3, 4, 4), torch.rand(1, 1, 4, 4), "as many frames"),
        (torch.rand(3, 4, 4), torch.rand(1, 4, 4), "T, 3, H, W"),
        (torch.rand(1, 4, 4, 4), torch.rand(1, 1, 4, 4), "T, 3, H, W"),
        (torch.ones(1, 3, 4, 4).byte(), torch.rand(1, 1, 4, 4), "floating-point"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_a_sentence(frames, alpha, words):
    for function in (estimate_foreground, screen_of, lambda *both: despill(both[0], ForegroundSettings(), both[1])):
        with pytest.raises(InputError, match=words):
            function(frames, alpha)
