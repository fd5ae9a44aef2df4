"""Combining, compositing and looking at mattes: what a compositor loses if these are wrong."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gvm_core.errors import InputError
from gvm_core.post.color import linear_to_srgb, srgb_to_linear
from gvm_core.post.combine import combine, core_of, fitted
from gvm_core.post.composite import index_in, light_wrap, over, placed, premultiply, unpremultiply
from gvm_core.post.views import ALMOST_BLACK, ALMOST_WHITE, View, view


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def disc(size=40, radius=12.0, soft=4.0, dx=0.0):
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    away = torch.hypot(rows - size / 2, columns - size / 2 - dx)
    return ((radius - away) / soft + 0.5).clamp(0, 1)[None, None]


def test_a_matte_combined_with_nothing_stays_to_the_bit():
    matte = noise(3, 1, 5, 7)
    assert combine(matte) is matte


@given(st.integers(0, 99), st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_every_mask_does_what_its_name_says(seed, frames):
    matte, mask = noise(3, 1, 6, 5, seed=seed), noise(frames, 1, 6, 5, seed=seed + 100)
    assert torch.equal(combine(matte, add=mask, core=0), matte.maximum(mask))
    assert torch.equal(combine(matte, holdout=mask), matte.maximum(mask))
    assert torch.equal(combine(matte, intersect=mask), matte.minimum(mask))
    assert torch.equal(combine(matte, subtract=mask), matte * (1 - mask))
    assert torch.equal(combine(matte, garbage=mask), matte * (1 - mask))
    one = torch.ones(1, 1, 6, 5)
    assert (combine(matte, add=mask, holdout=one, garbage=one) == 0).all(), "garbage wins"


def test_the_hard_rim_of_an_added_mask_does_not_burn_into_soft_edges():
    """A cup beside a soft shoulder: SAM's mask of both is hard and a little too large."""
    soft = disc(soft=8.0)
    hard = (disc(radius=14.0, soft=0.1) > 0.5).float()
    burnt, added = combine(soft, add=hard, core=0), combine(soft, add=hard, core=8)
    rim = (soft > 0.02) & (soft < 0.9)
    assert (burnt - soft)[rim].max() > 0.5, "the hard rim shows without care"
    assert (added - soft)[rim].mean() < 0.15 * (burnt - soft)[rim].mean()
    cup = torch.zeros(1, 1, 40, 40)
    cup[..., 2:38, 2:16] = 1
    assert combine(torch.zeros_like(soft), add=cup, core=3)[..., 10:30, 9].min() > 0.99, "its core is whole"
    assert (core_of(cup, 3) <= cup).all()


def test_masks_of_other_sizes_are_fitted_with_a_note_and_other_lengths_refused():
    mask, note = fitted(torch.ones(1, 1, 4, 4), (8, 6), 5, "garbage")
    assert mask.shape == (1, 1, 8, 6) and note == "garbage is 4x4, so it was scaled to 6x8"
    assert fitted(mask, (8, 6), 5, "garbage")[1] == ""
    with pytest.raises(InputError, match="garbage has 2 frames, but there are 5; give 1, or one for each frame"):
        fitted(torch.ones(2, 1, 8, 6), (8, 6), 5, "garbage")
    with pytest.raises(InputError, match="masks must have the size of the matte"):
        combine(torch.ones(2, 1, 4, 4), garbage=torch.ones(1, 1, 4, 5))
    with pytest.raises(InputError, match="core must be at least 0"):
        combine(torch.ones(2, 1, 4, 4), core=-1)


@given(st.integers(0, 99), st.booleans(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_composite_is_the_analytic_answer_in_both_lights(seed, linear, premultiplied):
    colour, alpha, behind = (
        noise(2, 3, 5, 6, seed=seed),
        noise(2, 1, 5, 6, seed=seed + 1),
        noise(1, 3, 5, 6, seed=seed + 2),
    )
    given_ = premultiply(colour, alpha) if premultiplied else colour
    found = over(given_, alpha, behind, premultiplied=premultiplied, linear_light=linear)
    f, a, b = colour.double(), alpha.double(), behind.double()
    mixed = linear_to_srgb(srgb_to_linear(f) * a + srgb_to_linear(b) * (1 - a))
    wanted = mixed if linear else f * a + b * (1 - a)
    enough = alpha > 0.01 if premultiplied and linear else alpha > -1  # dividing by less loses digits
    assert ((found - wanted).abs() * enough).max() < 1e-6
    assert torch.allclose(unpremultiply(premultiply(colour, alpha), alpha), colour, atol=1e-6)


def test_light_beyond_white_survives_a_composite():
    bright = torch.full((1, 3, 2, 2), 8.0)
    assert over(bright, torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, 3, 2, 2)).max() == 4


def test_premultiplied_light_without_alpha_is_added():
    """Fire and reflections: colour where alpha is 0."""
    assert (
        over(torch.full((3, 1, 1), 0.5), torch.zeros(1, 1, 1), torch.full((3, 1, 1), 0.25), premultiplied=True)[0]
        == 0.75
    )


@given(st.tuples(*[st.integers(1, 30)] * 4), st.sampled_from(["cover", "contain", "stretch"]))
@settings(max_examples=60, deadline=None)
def test_any_background_fits_any_frame(sizes, how):
    height, width, rows, columns = sizes
    found = placed(torch.ones(1, 3, height, width), (rows, columns), how)
    assert found.shape == (1, 3, rows, columns)
    if how != "contain":
        assert torch.allclose(found, torch.ones(()))
    else:
        assert found.amax() == pytest.approx(1)
        inside = found[0, 0] > 0.5
        assert inside.any(0).all() or inside.any(1).all(), "one side is filled"


def test_cover_keeps_the_shape_and_the_middle():
    picture = torch.zeros(1, 1, 20, 60)
    picture[..., 5:15, 25:35] = 1  # a square in the middle
    found = placed(picture, (20, 20), "cover")
    assert torch.equal(found, picture[..., 20:40])
    assert placed(picture, (20, 20), "contain")[0, 0, :6].max() == 0, "borders above"


def test_short_backgrounds_are_held_or_begin_again():
    assert [index_in(i, 2, "hold") for i in range(4)] == [0, 1, 1, 1]
    assert [index_in(i, 2, "loop") for i in range(4)] == [0, 1, 0, 1]


@pytest.mark.parametrize("linear", [False, True])
def test_light_wraps_over_the_edge_and_nowhere_else(linear):
    alpha = disc()
    behind = torch.ones(1, 3, 40, 40)
    composite = over(torch.zeros(1, 3, 40, 40), alpha, behind)
    lit = light_wrap(composite, alpha, behind, radius=3, strength=0.5, linear_light=linear)
    gain = lit - composite
    assert gain.min() > -1e-6 and gain[alpha.expand_as(gain) == 0].abs().max() < 1e-6
    assert gain[0, 0, 20, 20] < 0.01 < gain[0, 0, 20, 30], "the middle stays dark, the inner edge does not"
    assert light_wrap(composite, alpha, behind, radius=3, strength=0) is composite


def test_every_view_shows_what_it_says():
    frames, alpha = noise(3, 3, 8, 10), noise(3, 1, 8, 10, seed=5)
    for name in get_args(View):
        made = view(name, frames, alpha)
        assert made.shape == (3, 3, 8, 30 if name == "side by side" else 10) and made.min() >= 0 and made.max() <= 1
    assert torch.equal(view("over", frames, alpha, behind=torch.zeros(1, 3, 1, 1)), frames * alpha)
    steps = torch.tensor([0, 0.01, 0.3, 0.99, 1]).view(1, 1, 1, 5)
    colours = view("status", frames[:1, :, :1, :5], steps)[0, :, 0].T
    wanted = torch.tensor([(0.0, 0, 0), ALMOST_BLACK, (0.5, 0.5, 0.5), ALMOST_WHITE, (1, 1, 1)])
    assert torch.allclose(colours, wanted)
    assert view("edges", frames, (alpha > 0.5).float()).max() == 0, "a hard matte has no soft edge"
    with pytest.raises(InputError, match="no view 'wipe'"):
        view("wipe", frames, alpha)


def test_the_difference_view_is_the_same_for_parts_of_a_clip():
    alpha, frames = noise(4, 1, 6, 6), noise(4, 3, 6, 6)
    whole = view("difference", frames, alpha)
    later = view("difference", frames[2:], alpha[2:], before=alpha[1:2])
    assert torch.equal(whole[2:], later) and whole[0].max() == 0
    grown = alpha[1] > alpha[0]
    assert (whole[1, :1][grown] > 0).all() and (whole[1, 2:][grown] == 0).all()
