"""`Host`: what a pipeline needs from its caller. `Network`: the networks that a host loads."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..frames import Clip


class Network(nn.Module):
    """A network. Its host may store the weights in one precision and compute in another.

    Attributes:
        compute_dtype: The precision to compute in, if it is not the precision of the weights.
        checkpointing: In training, compute the activations of `run`'s layers twice instead of keeping them.
    """

    compute_dtype: torch.dtype | None = None
    checkpointing: bool = False

    def run(self, layer: nn.Module, x: Tensor, *inputs: object) -> Tensor:
        """``layer(x, *inputs)``."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(layer, x, *inputs, use_reentrant=False)
        return layer(x, *inputs)

    @property
    def weight_dtype(self) -> torch.dtype:
        """Precision of the weights in memory."""
        return next(p.dtype for p in self.parameters())

    @property
    def dtype(self) -> torch.dtype:
        """The precision that inputs must have."""
        return self.compute_dtype or self.weight_dtype


class Host(Protocol):
    """Owns device, memory, progress and cancelling. The caller gives it to a pipeline."""

    device: torch.device
    """Where networks compute."""

    def resident(self, network: Network, activation_bytes: int) -> AbstractContextManager[None]:
        """Keep ``network`` ready on `device` inside the ``with`` block, with this much memory for activations."""
        ...

    def widened(self, network: Network, activation_bytes: int) -> AbstractContextManager[None]:
        """Let ``network`` compute in float32 inside the ``with`` block, with memory for the larger activations."""
        ...

    def free_bytes(self) -> int | None:
        """Bytes that activations may take on `device`, as far as is known; None if no limit is known."""
        ...

    def release_memory(self) -> None:
        """Free cached memory. Called after `device` ran out of memory."""
        ...

    def check_cancelled(self) -> None:
        """Raise if the user asked to stop. Called before every network call."""
        ...

    def advance(self, alpha: Clip) -> None:
        """Take note of finished frames ``[T, 1, H, W]``: show the progress and, if possible, the matte."""
        ...
