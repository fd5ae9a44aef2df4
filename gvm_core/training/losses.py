"""The losses on latents and on decoded mattes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Parts = dict[str, Tensor]


def weighted_mean(error: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``error``, weighted by ``weight`` (broadcast against it)."""
    weight = weight.expand_as(error)
    return (error * weight).sum() / weight.sum().clamp(min=1e-6)


def latent_loss(predicted: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error of latents ``[B, T, C, h, w]``, with ``weight`` ``[B, T, 1, H, W]`` scaled to their size."""
    small = F.adaptive_avg_pool2d(weight.flatten(0, 1), (wanted.shape[-2], wanted.shape[-1]))
    return weighted_mean((predicted - wanted).square(), small.unflatten(0, weight.shape[:2]))


def laplacian_loss(predicted: Tensor, wanted: Tensor, weight: Tensor, levels: int = 5) -> Tensor:
    """L1 between Laplacian pyramids; each level counts twice as much as the next finer one.

    As in Niklaus and Liu, Context-aware Synthesis for Video Frame Interpolation (2018), with pooling as the filter.

    Args:
        predicted: ``[B, T, 1, H, W]``.
        wanted: ``[B, T, 1, H, W]``.
        weight: ``[B, T, 1, H, W]``: 1 where the truth is known.
        levels: Levels of the pyramid; a small picture has fewer.
    """
    difference, weight = (predicted - wanted).flatten(0, 1), weight.flatten(0, 1)
    total = difference.new_zeros(())
    for level in range(levels):
        height, width = difference.shape[-2:]
        if level == levels - 1 or min(height, width) < 2:
            return total + 2**level * weighted_mean(difference.abs(), weight)
        coarse = F.avg_pool2d(difference, 2, ceil_mode=True)
        fine = difference - F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
        total = total + 2**level * weighted_mean(fine.abs(), weight)
        difference, weight = coarse, F.avg_pool2d(weight, 2, ceil_mode=True)
    return total


def gradient_loss(predicted: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute error of horizontal plus that of vertical pixel differences."""
    difference = predicted - wanted
    across = weighted_mean(difference.diff(dim=-1).abs(), weight[..., 1:])
    return across + weighted_mean(difference.diff(dim=-2).abs(), weight[..., 1:, :])


def coherence_loss(predicted: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute error of the changes from frame to frame; 0 for single frames."""
    if predicted.shape[1] < 2:
        return predicted.new_zeros(())
    return weighted_mean((predicted - wanted).diff(dim=1).abs(), weight[:, 1:])


def matte_losses(predicted: Tensor, alpha: Tensor, weight: Tensor) -> Parts:
    """The losses on decoded mattes, by their names in a configuration."""
    return {
        "l1": weighted_mean((predicted - alpha).abs(), weight),
        "soft": weighted_mean((predicted - alpha).abs(), weight * soft_pixels(alpha)),
        "laplacian": laplacian_loss(predicted, alpha, weight),
        "gradient": gradient_loss(predicted, alpha, weight),
        "coherence": coherence_loss(predicted, alpha, weight),
    }


def soft_pixels(alpha: Tensor) -> Tensor:
    """1 where ``alpha`` is clearly neither 0 nor 1, 0 elsewhere."""
    return ((alpha > 0.02) & (alpha < 0.98)).float()


def autoencoder_losses(returned: Tensor, clips: Tensor, latents: Tensor) -> Parts:
    """Reconstruction losses of pictures (the first half of the batch) and mattes (the second half).

    Differences of averages over 4 and 16 pixels are added, because without them the network learns colour late. Soft
    pixels of mattes have five times the weight, because there are few. A small loss on the size of latents stops the
    encoder from making them so large that the noise added to them has no effect.
    """
    difference = returned - clips
    coarse = sum(F.avg_pool2d(difference.flatten(0, 1), k).abs().mean() for k in (4, 16))
    images, mattes = difference.chunk(2)
    truth = clips.chunk(2)[1]
    soft = soft_pixels(truth)
    rgb, matte = images.abs().mean(), (mattes.abs() * (1 + 4 * soft)).mean()
    edges = gradient_loss(*(part[:, :, :1] for part in (returned.chunk(2)[1], truth, torch.ones_like(truth))))
    size = latents.square().mean()
    return {
        "loss": rgb + matte + coarse + 0.5 * edges + 1e-3 * size,
        "rgb": rgb,
        "alpha": mattes.abs().mean(),
        "soft": (mattes.abs() * soft).sum() / soft.sum().clamp(min=1),
        "size": size,
    }
