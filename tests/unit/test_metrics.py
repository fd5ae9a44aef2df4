"""The measures: what a user loses here is the right to believe a number."""

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gvm_core import WindowPlan
from gvm_core.errors import GVMError, InputError
from gvm_core.metrics import MatteScorer, conn, dtssd, flicker, grad, mad, mse, seam_score, soft_mad, warp


def clips(seed, frames=2, height=17, width=13, levels=None):
    """A matte and a truth: soft blobs with holes and specks, a little alike."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.normal(0, 1, (2, 1, frames, 5, 5)))
    fine = torch.from_numpy(random.normal(0, 0.4, (2, 1, frames, height, width)))
    soft = torch.nn.functional.interpolate(coarse, (frames, height, width), mode="trilinear")
    both = (0.5 + 0.6 * soft.roll(1, 0).mul(0.3).add(soft) + fine * random.uniform(0, 1)).clamp(0, 1)[:, 0, :, None]
    return (both * levels).round() / levels if levels else both


# ------------------------------------------------------------------------------------ a slow and literal reading


def literal_gradient(a):
    """Magnitude by a 9x9 correlation with replicated borders, one pixel at a time."""
    sigma, half = 1.4, 4
    gauss = [math.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) for x in range(-half, half + 1)]
    slope = [-x * g / sigma**2 for x, g in zip(range(-half, half + 1), gauss, strict=True)]
    kernel = [[gauss[i] * slope[j] for j in range(9)] for i in range(9)]
    norm = math.sqrt(sum(k * k for row in kernel for k in row))
    height, width = len(a), len(a[0])
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            across = down = 0.0
            for i in range(9):
                for j in range(9):
                    value = a[min(max(y + i - half, 0), height - 1)][min(max(x + j - half, 0), width - 1)]
                    across += kernel[i][j] / norm * value
                    down += kernel[j][i] / norm * value
            out[y, x] = math.hypot(across, down)
    return out


def literal_grad(p, g, normalised):
    if normalised:
        p, g = ((a - a.min()) / (a.max() - a.min()) if a.max() > a.min() else a * 0 for a in (p, g))
    return ((literal_gradient(g.tolist()) - literal_gradient(p.tolist())) ** 2).sum() / 1000


def literal_largest(inside):
    """The largest 4-connected region, by flood fill; the first in reading order of equals."""
    height, width = inside.shape
    seen, best = set(), []
    for start in ((y, x) for y in range(height) for x in range(width)):
        if start in seen or not inside[start]:
            continue
        region, edge = [], [start]
        seen.add(start)
        while edge:
            y, x = edge.pop()
            region.append((y, x))
            for n in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= n[0] < height and 0 <= n[1] < width and inside[n] and n not in seen:
                    seen.add(n)
                    edge.append(n)
        if len(region) > len(best):
            best = region
    omega = np.zeros((height, width), bool)
    for place in best:
        omega[place] = True
    return omega


def literal_conn(p, g):
    round_down = -np.ones_like(g)
    for i in range(1, 11):
        omega = literal_largest((g >= i * 0.1) & (p >= i * 0.1))
        for place in np.ndindex(*g.shape):
            if round_down[place] == -1 and not omega[place]:
                round_down[place] = (i - 1) * 0.1
    total = 0.0
    for place in np.ndindex(*g.shape):
        level = 1.0 if round_down[place] == -1 else round_down[place]
        phi = [1 - (v - level if v - level >= 0.15 else 0.0) for v in (g[place], p[place])]
        total += abs(phi[0] - phi[1])
    return total / 1000


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 255, 10]), st.booleans())
def test_grad_is_what_the_tables_mean(seed, levels, normalised):
    alpha, truth = clips(seed, 1, levels=levels)
    wanted = literal_grad(alpha[0, 0].numpy(), truth[0, 0].numpy(), normalised)
    assert float(grad(alpha, truth, normalised=normalised)) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 255, 10]))
def test_conn_is_what_the_tables_mean(seed, levels):
    alpha, truth = clips(seed, 1, levels=levels)
    wanted = literal_conn(alpha[0, 0].numpy(), truth[0, 0].numpy())
    assert float(conn(alpha, truth)) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_mad_mse_and_dtssd_are_what_the_tables_mean(seed, frames):
    alpha, truth = clips(seed, frames)
    p, g = alpha[:, 0].tolist(), truth[:, 0].tolist()
    size = len(p[0]) * len(p[0][0])
    for t in range(frames):
        rows = [(a, b) for pr, gr in zip(p[t], g[t], strict=True) for a, b in zip(pr, gr, strict=True)]
        assert float(mad(alpha, truth)[t]) == pytest.approx(1e3 * sum(abs(a - b) for a, b in rows) / size, rel=1e-9)
        assert float(mse(alpha, truth)[t]) == pytest.approx(1e3 * sum((a - b) ** 2 for a, b in rows) / size, rel=1e-9)
        total = 0.0
        if t:
            for y in range(len(p[0])):
                for x in range(len(p[0][0])):
                    total += ((p[t][y][x] - p[t - 1][y][x]) - (g[t][y][x] - g[t - 1][y][x])) ** 2
        assert float(dtssd(alpha, truth)[t]) == pytest.approx(1e2 * math.sqrt(total / size), rel=1e-9)


# ------------------------------------------------------------------------------------------------ cases done by hand


def test_a_perfect_matte_scores_nothing():
    alpha, _ = clips(3, 3)
    for measure in (mad, mse, grad, conn, dtssd):
        assert measure(alpha, alpha).abs().max() == 0
    assert grad(alpha, alpha, normalised=True).abs().max() == 0


def test_conn_charges_for_a_speck_apart_and_not_for_one_attached():
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., 2:6, 2:6] = 1
    apart, attached = truth.clone(), truth.clone()
    apart[..., 0, 0] = 1
    attached[..., 6, 3] = 0.14  # within the tolerance
    assert float(conn(apart, truth)) == pytest.approx(1e-3)  # one pixel, opaque, whose level is 0
    assert float(conn(attached, truth)) == 0


def test_soft_mad_looks_at_soft_pixels_alone():
    truth = torch.tensor([0.0, 0.5, 1.0, 0.95]).view(1, 1, 2, 2)
    assert float(soft_mad(truth + torch.tensor([0.9, 0.1, 0.9, 0.9]).view(1, 1, 2, 2), truth)) == pytest.approx(100)
    assert soft_mad(truth.round(), truth.round()).isnan().all()
    scorer = MatteScorer()
    scorer.add(torch.cat([truth, truth.round()]) + 0.1, torch.cat([truth, truth.round()]))
    assert scorer.score().soft_mad == pytest.approx(100)


def test_a_shift_in_opacity_has_no_gradient_error_and_stretching_hides_a_change_of_contrast():
    alpha, _ = clips(5, 1)
    soft = 0.25 + 0.5 * alpha
    assert float(grad(soft, soft + 0.1)) < 1e-20
    assert float(grad(soft, alpha, normalised=True)) < 1e-6 < float(grad(soft, alpha))


def test_flat_mattes_can_be_stretched_without_dividing_by_nothing():
    flat = torch.full((1, 1, 9, 9), 0.3)
    assert float(grad(flat, flat * 0, normalised=True)) == 0


def test_dtssd_of_a_matte_that_jumps_by_a_half_once():
    alpha = torch.tensor([0.0, 0.0, 0.5, 0.5]).view(4, 1, 1, 1).expand(4, 1, 6, 6)
    assert dtssd(alpha, torch.zeros(4, 1, 6, 6)).tolist() == [0.0, 0.0, 50.0, 0.0]


def test_the_seam_score_sees_jumps_at_joins_alone():
    plan, random = WindowPlan(8, 2), torch.Generator().manual_seed(0)
    error = torch.rand(20, 1, 8, 8, generator=random) * 0.01
    joins = plan.joins(20)
    assert joins.nonzero().flatten().tolist() == [5, 7, 11, 13]  # into frames 6 and 12, out of frames 7 and 13
    jumps = torch.zeros(20, 1, 1, 1)
    jumps[6:8], jumps[8:14], jumps[14:] = 0.1, 0.3, 0.5
    change = (error + jumps).diff(dim=0).abs().mean(dim=(1, 2, 3))
    assert seam_score(change, joins) > 3
    assert seam_score(error.diff(dim=0).abs().mean(dim=(1, 2, 3)), joins) == pytest.approx(1, abs=0.1)


def test_flicker_forgives_motion_and_charges_for_flashing():
    pytest.importorskip("skimage")
    random = torch.Generator().manual_seed(1)
    scene = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 52, 52, generator=random), 5, 1)[0]
    scene = (scene - scene.mean()) * 4 + 0.5
    images = torch.stack([scene[:, 4:44, t : t + 40] for t in range(5)])
    solid = (images.mean(dim=1, keepdim=True) > 0.5).float()
    steady, flashing = (
        flicker(solid, images),
        flicker(solid * torch.tensor([1, 0.7, 1, 0.7, 1]).view(5, 1, 1, 1), images),
    )
    assert steady[0] == 0 and steady[1:].mean() < 0.35 * flashing[1:].mean()


def test_warping_reads_where_the_flow_points():
    picture = torch.arange(20.0).view(1, 4, 5)
    right = torch.stack([torch.zeros(4, 5), torch.ones(4, 5)])
    assert torch.allclose(warp(picture, right)[0, :, :4], picture[0, :, 1:], atol=1e-5)


# ------------------------------------------------------------------------------------------------------- the scorer


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_scoring_a_stream_equals_scoring_the_whole(seed, lengths):
    alpha, truth = clips(seed, sum(lengths))
    whole, parts, at = MatteScorer(), MatteScorer(), 0
    whole.add(alpha, truth)
    for length in lengths:
        parts.add(alpha[at : at + length], truth[at : at + length])
        at += length
    joins = WindowPlan(2, 1).joins(at)
    a, b = whole.score(joins).as_dict(), parts.score(joins).as_dict()
    assert a == pytest.approx(b, rel=1e-12, nan_ok=True)
    assert len(parts.per_frame()["conn"]) == at


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(GVMError, match="pip install scipy"):
        conn(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))


def test_what_cannot_be_scored_is_said():
    with pytest.raises(InputError, match="cannot be scored"):
        MatteScorer().add(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))
    with pytest.raises(InputError, match="no frame"):
        MatteScorer().score()
