"""bfloat16 training: what a user loses here is a night of it, to NaN."""

import torch
from torch import nn

from gvm_core.training.precision import fit_for_cpu


def layers():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.GroupNorm(4, 8), nn.Conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0)), nn.Conv3d(8, 4, 3, padding=1)
    )


def test_exchanged_layers_compute_the_same_and_keep_their_names():
    plain, fitted = layers(), layers()
    fit_for_cpu(fitted)
    clip = torch.randn(2, 8, 2, 6, 5)
    assert torch.allclose(plain(clip), fitted(clip), atol=1e-5)
    assert plain.state_dict().keys() == fitted.state_dict().keys() and type(fitted[2]) is nn.Conv3d


def test_gradients_over_time_are_close_to_those_in_full_precision():
    plain, fitted = layers()[:2], layers()[:2]
    fit_for_cpu(fitted)
    clip = torch.randn(4, 8, 2, 16, 16)
    plain(clip).square().mean().backward()
    with torch.autocast("cpu", torch.bfloat16):
        fitted(clip).float().square().mean().backward()
    for a, b in zip(plain.parameters(), fitted.parameters(), strict=True):
        assert (a.grad - b.grad).norm() < 0.05 * a.grad.norm() + 1e-4
