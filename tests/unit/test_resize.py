"""Fitting frames to the network and back: what a user loses here is the matte's size or place."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gvm_core.post.resize import Fit, mirrored

edges = st.one_of(st.integers(1, 70), st.sampled_from([127, 256, 333]))


@settings(max_examples=80, deadline=None)
@given(
    edges, edges, st.sampled_from([None, 32, 64, 100]), st.sampled_from([None, 64, 96, 128]), st.sampled_from([8, 32])
)
def test_a_matte_always_comes_back_at_the_frames_own_size(height, width, short_edge, max_edge, multiple):
    fit = Fit.plan((height, width), short_edge, max_edge, multiple)
    if max(fit.padded) > 2000:  # a sliver blown up: the plan is tested, the pixels are not worth the memory
        return
    padded = fit.fit(torch.rand(1, 3, height, width))
    assert padded.shape[-2:] == fit.padded
    assert all(edge % multiple == 0 for edge in fit.padded)
    assert fit.restore(padded).shape == (1, 3, height, width)


@pytest.mark.parametrize("size", [(1, 1), (1, 4096), (2304, 4096), (7, 5), (720, 720), (1920, 1080), (33, 32)])
def test_odd_square_portrait_tiny_and_huge_frames_fit(size):
    fit = Fit.plan(size, 96, 160)
    assert fit.restore(fit.fit(torch.rand(1, 1, *size))).shape[-2:] == size


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_without_scaling_the_way_back_is_exact(height, width):
    fit, frames = Fit.plan((height, width)), torch.rand(2, 3, height, width)
    assert torch.equal(fit.restore(fit.fit(frames)), frames)


def test_sizes_the_network_takes_already_are_left_alone():
    frames = torch.rand(1, 3, 32, 96)
    assert Fit.plan((32, 96)).fit(frames) is frames


@pytest.mark.parametrize(
    ("source", "rule", "scaled", "padded"),
    [
        ((1080, 1920), (720, 1024), (576, 1024), (576, 1024)),
        ((1080, 1920), (720, 960), (540, 960), (544, 960)),
        ((1080, 1920), (1024, 1820), (1024, 1820), (1024, 1824)),
        ((2160, 4096), (720, 1024), (540, 1024), (544, 1024)),
        ((858, 2048), (720, 960), (402, 960), (416, 960)),
        ((1024, 1024), (1024, 1024), (1024, 1024), (1024, 1024)),
        ((480, 640), (720, 1024), (720, 960), (736, 960)),
    ],
)
def test_published_sizes_are_met_and_squares_do_not_crash(source, rule, scaled, padded):
    fit = Fit.plan(source, *rule)
    assert (fit.scaled, fit.padded) == (scaled, padded)


@given(st.integers(2, 40), st.integers(0, 30))
def test_padding_mirrors_as_torch_does_where_torch_can(edge, extra):
    target = edge + min(extra, 2 * (edge - 1))
    before, after = (target - edge) // 2, target - edge - (target - edge) // 2
    if max(before, after) < edge:
        line = torch.arange(edge, dtype=torch.float32)[None, None]
        expected = torch.nn.functional.pad(line, (before, after), mode="reflect")[0, 0]
        assert mirrored(edge, target).tolist() == expected.long().tolist()
