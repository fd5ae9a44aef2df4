"""`TorchHost`: the host for scripts, tests and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ..frames import Clip
from .base import Network


class TorchHost:
    """Uses one device. Weights move there on first use, and stay there.

    Args:
        device: A torch device or its name; ``None`` takes the fastest device.
        on_frames: Called with every finished clip of alpha. An error that it raises stops the run.

    Example:
        >>> TorchHost("cpu").device
        device(type='cpu')
    """

    def __init__(
        self, device: str | torch.device | None = None, on_frames: Callable[[Clip], None] | None = None
    ) -> None:
        self.device = fastest_device() if device is None else torch.device(device)
        self.on_frames = on_frames

    @contextmanager
    def resident(self, network: Network, activation_bytes: int) -> Iterator[None]:  # noqa: ARG002
        """Move ``network`` to the device, where it stays. Torch raises an error if the activations do not fit."""
        network.to(self.device)
        yield

    @contextmanager
    def widened(self, network: Network, activation_bytes: int) -> Iterator[None]:  # noqa: ARG002
        """Convert ``network``'s weights to float32, and back after the block. This loses nothing.

        If the device runs out of memory during a conversion, all weights are still converted back.
        """
        narrow = network.weight_dtype
        try:
            network.to(torch.float32)
            yield
        finally:
            self.release_memory()
            try:
                network.to(narrow)
            except RuntimeError:  # not enough memory to convert even one weight on the device
                for parameter in network.parameters():
                    parameter.data = parameter.data.cpu().to(narrow)
                network.to(self.device)

    def free_bytes(self) -> int | None:
        """On CUDA: memory that is free, or cached by torch, within the share of this process; else None."""
        if self.device.type != "cuda":
            return None
        index = torch.cuda.current_device() if self.device.index is None else self.device.index
        free, total = torch.cuda.mem_get_info(index)
        share_of = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)  # torch 2.8; wants an index
        limit = min(free + torch.cuda.memory_reserved(index), int(share_of(index) * total))
        return limit - torch.cuda.memory_allocated(index)

    def release_memory(self) -> None:
        """Empty torch's cache."""
        if self.device.type in ("cuda", "xpu", "mps"):
            getattr(torch, self.device.type).empty_cache()

    def check_cancelled(self) -> None:
        """Do nothing: Ctrl-C raises by itself."""

    def advance(self, alpha: Clip) -> None:
        """Pass finished frames on to ``on_frames``."""
        if self.on_frames:
            self.on_frames(alpha)


def fastest_device() -> torch.device:
    """CUDA (or ROCm), else XPU, else Apple's GPU, else the CPU."""
    backends = {"cuda": torch.cuda, "xpu": getattr(torch, "xpu", None), "mps": getattr(torch.backends, "mps", None)}
    kind = next((kind for kind, backend in backends.items() if backend and backend.is_available()), "cpu")
    return torch.device(kind)


def suitable_dtype(device: torch.device) -> torch.dtype:
    """Half precision where it is fast and safe, else float32.

    float16 is preferred to bfloat16: on this model its alpha is about ten times closer to float32's. Apple's GPU
    turns float16 attention into NaN, and CPUs gain nothing from it.
    """
    return torch.float16 if device.type in ("cuda", "xpu") else torch.float32
