"""From image latents to alpha latents: the loop of network calls, and its noise.

A network is only a function here. This module does not know windows, devices or weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .errors import MissingPackageError

Predictor = Callable[[Tensor, Tensor], Tensor]
"""``(latents [B, T, 8, h, w], timestep) -> [B, T, 4, h, w]``."""

LAST_TIMESTEP = 999


def denoise_from_zeros(network: Predictor, image_latents: Tensor, steps: int = 1) -> Tensor:
    """The released one-step mode: no noise, and the network's output *is* the alpha latents.

    With more steps, each output takes the place of the noise in the next call, always at the last timestep. The
    reference does the same. No scheduler is used, and no training with more steps is known.

    Args:
        network: See `Predictor`.
        image_latents: ``[B, T, 4, h, w]``.
        steps: Number of network calls.

    Returns:
        Alpha latents ``[B, T, 4, h, w]``.
    """
    timestep = torch.tensor(LAST_TIMESTEP, device=image_latents.device)
    alpha_latents = torch.zeros_like(image_latents)
    for _ in range(steps):
        alpha_latents = network(torch.cat([alpha_latents, image_latents], dim=2), timestep)
    return alpha_latents


def denoise_from_noise(network: Predictor, image_latents: Tensor, noise: Tensor, scheduler: Any, steps: int) -> Tensor:
    """Flow matching from gaussian noise with Euler steps. Experimental: the released weights were not made for it.

    Args:
        network: See `Predictor`; its output is used as the velocity ``noise - alpha_latents``, as in diffusers.
        image_latents: ``[B, T, 4, h, w]``.
        noise: ``[B, T, 4, h, w]``, unit variance.
        scheduler: A diffusers ``FlowMatchEulerDiscreteScheduler``.
        steps: Number of network calls.

    Returns:
        Alpha latents ``[B, T, 4, h, w]``.
    """
    scheduler.set_timesteps(steps, device=image_latents.device)
    alpha_latents = noise
    for timestep in scheduler.timesteps:
        velocity = network(torch.cat([alpha_latents, image_latents], dim=2), timestep)
        alpha_latents = scheduler.step(velocity, timestep, alpha_latents, return_dict=False)[0]
    return alpha_latents


def flow_scheduler(config: dict[str, Any]) -> Any:
    """A new scheduler for `denoise_from_noise`: diffusers' ``FlowMatchEulerDiscreteScheduler``.

    Args:
        config: Content of the published ``scheduler_config.json``; empty for diffusers' defaults.

    Raises:
        MissingPackageError: If diffusers is not installed. Nothing else in this package needs it.
    """
    try:
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
    except ImportError as error:
        raise MissingPackageError(
            "noise 'gaussian' is experimental and needs diffusers, which is not installed. Install it with: "
            "pip install 'diffusers>=0.32'. In ComfyUI's environment, add --dry-run first, and install it only if pip "
            "would not change huggingface_hub and transformers. Or use noise 'zeros', which does not need diffusers."
        ) from error
    return FlowMatchEulerDiscreteScheduler.from_config(config)


def frame_noise(seed: int, index: int, shape: tuple[int, ...]) -> Tensor:
    """Unit gaussian noise of frame ``index`` in a run with ``seed``. It is the same in every window.

    It is drawn on the CPU from its own generator, so it is also the same on every machine.

    Example:
        >>> bool((frame_noise(1, 5, (4, 2, 2)) == frame_noise(1, 5, (4, 2, 2))).all())
        True
    """
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    return torch.randn(shape, generator=generator)
