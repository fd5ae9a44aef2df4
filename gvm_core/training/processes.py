"""The processes of one training: a single process, or those that ``accelerate launch`` started."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ..errors import optional


class Processes:
    """A training in this process only, on one device.

    Attributes:
        device: Where to compute.
        index: The number of this process.
        is_main: Whether this is the one process that writes files.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.index = 0
        self.is_main = True

    def main_first(self) -> AbstractContextManager[None]:
        """A ``with`` block that the main process runs before the others do."""
        return nullcontext()

    def average_gradients(self, weights: list[nn.Parameter]) -> None:
        """Replace each process's gradients by their mean over all processes."""


class AcceleratedProcesses(Processes):
    """The processes of ``accelerate launch``. Needs accelerate."""

    def __init__(self) -> None:
        self.accelerator: Any = optional("accelerate", "accelerate").Accelerator()
        self.device = self.accelerator.device
        self.index = self.accelerator.process_index
        self.is_main = self.accelerator.is_main_process

    def main_first(self) -> AbstractContextManager[None]:
        """A ``with`` block that the main process runs before the others do."""
        return self.accelerator.main_process_first()

    def average_gradients(self, weights: list[nn.Parameter]) -> None:
        """Replace each process's gradients by their mean over all processes, in one exchange."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = self.accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
        for gradient, part in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def join_processes(device: str | None = None) -> Processes:
    """The processes of ``accelerate launch`` if this is one of them, else only this process on ``device``."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return AcceleratedProcesses()
    return Processes(device or ("cuda" if torch.cuda.is_available() else "cpu"))
