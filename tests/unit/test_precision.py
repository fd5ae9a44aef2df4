"""bfloat16 training: what a user loses here is a night of it, to NaN."""

import torch
from support import assert_rounds_like
from torch import nn

from gvm_core.training.precision import TrainingLayers


def layers(made_of):
    torch.manual_seed(0)
    over_time = {"kernel_size": (3, 1, 1), "padding": (1, 0, 0)}
    return nn.Sequential(made_of.GroupNorm(4, 8), made_of.Conv3d(8, 8, **over_time))


def test_layers_for_training_compute_the_same_and_have_the_same_names():
    plain, fitted = layers(nn), layers(TrainingLayers)
    clip = torch.randn(2, 8, 2, 6, 5)
    with torch.no_grad():
        assert_rounds_like(fitted(clip), plain(clip), layers(nn).double()(clip.double()))
    assert plain.state_dict().keys() == fitted.state_dict().keys()


def test_gradients_over_time_are_close_to_those_in_full_precision():
    plain, fitted = layers(nn), layers(TrainingLayers)
    clip = torch.randn(4, 8, 2, 16, 16)
    plain(clip).square().mean().backward()
    with torch.autocast("cpu", torch.bfloat16):
        fitted(clip).float().square().mean().backward()
    for a, b in zip(plain.parameters(), fitted.parameters(), strict=True):
        assert (a.grad - b.grad).norm() < 0.05 * a.grad.norm() + 1e-4
