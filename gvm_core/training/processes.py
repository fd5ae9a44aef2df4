"""The processes that train together: one alone, or as many as ``accelerate launch`` started."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ..errors import optional


class Team:
    """This process alone, on one device.

    Attributes:
        device: Where to compute.
        member: The number of this process.
        leads: Whether this process writes files.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.member = 0
        self.leads = True

    def leader_first(self) -> AbstractContextManager[None]:
        """Have the process that writes files go through the ``with`` block before the others do."""
        return nullcontext()

    def share_gradients(self, weights: list[nn.Parameter]) -> None:
        """Give every process the mean of all processes' gradients."""


class AcceleratedTeam(Team):
    """The processes of ``accelerate launch``. Needs accelerate."""

    def __init__(self) -> None:
        self.accelerator: Any = optional("accelerate", "accelerate").Accelerator()
        self.device = self.accelerator.device
        self.member = self.accelerator.process_index
        self.leads = self.accelerator.is_main_process

    def leader_first(self) -> AbstractContextManager[None]:
        """Have the process that writes files go through the ``with`` block before the others do."""
        return self.accelerator.main_process_first()

    def share_gradients(self, weights: list[nn.Parameter]) -> None:
        """Give every process the mean of all processes' gradients, in one exchange."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = self.accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
        for gradient, part in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def assemble(device: str | None = None) -> Team:
    """The team this process belongs to: ``accelerate``'s if it was started by that, else itself on ``device``."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return AcceleratedTeam()
    return Team(device or ("cuda" if torch.cuda.is_available() else "cpu"))
