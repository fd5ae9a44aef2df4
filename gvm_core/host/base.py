"""`Host`: what a pipeline asks of whoever runs it, and `Network`: what it asks that for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..frames import Clip


class Network(nn.Module):
    """A network whose host may keep its weights in another precision than it computes in.

    Attributes:
        compute_dtype: The precision to compute in where it is not that of the weights.
        checkpointing: While it learns, compute the activations of `run`'s layers twice rather than keep them.
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
    """Owner of device, memory, progress and cancel, given to a pipeline by its caller."""

    device: torch.device
    """Where networks compute."""

    def resident(self, network: Network, activation_bytes: int) -> AbstractContextManager[None]:
        """Have ``network``'s weights ready on `device` inside the ``with`` block, with that much room beside them."""
        ...

    def widened(self, network: Network, activation_bytes: int) -> AbstractContextManager[None]:
        """Have ``network`` compute in float32 inside the ``with`` block, with room for the wider activations."""
        ...

    def free_bytes(self) -> int | None:
        """What activations may take on `device`, as far as is known; None if they need not be sparing."""
        ...

    def release_memory(self) -> None:
        """Give back what was kept for later, after `device` ran out of memory."""
        ...

    def check_cancelled(self) -> None:
        """Raise if the user asked to stop. Called before every network call."""
        ...

    def advance(self, alpha: Clip) -> None:
        """Note finished frames ``[T, 1, H, W]``: progress, and a look at the matte where there is someone to look."""
        ...
