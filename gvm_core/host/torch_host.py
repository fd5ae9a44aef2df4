"""`TorchHost`: the host of scripts, tests and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ..frames import Clip
from .base import Network


class TorchHost:
    """One device, weights moved there on first use and left there.

    Args:
        device: A torch device or its name; ``None`` takes the fastest there is.
        on_frames: Called with every finished clip of alpha; raising from it stops the run.

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
        """Move ``network`` to the device, where it stays; torch finds room for the rest, or says so."""
        network.to(self.device)
        yield

    @contextmanager
    def widened(self, network: Network, activation_bytes: int) -> Iterator[None]:  # noqa: ARG002
        """Hold ``network``'s weights in float32, then put them back; widening and narrowing again loses nothing.

        Where the device runs out of memory half way, in either direction, all of them are put back too.
        """
        narrow = network.weight_dtype
        try:
            network.to(torch.float32)
            yield
        finally:
            self.release_memory()
            try:
                network.to(narrow)
            except RuntimeError:  # no room to narrow even one weight on the device
                for parameter in network.parameters():
                    parameter.data = parameter.data.cpu().to(narrow)
                network.to(self.device)

    def free_bytes(self) -> int | None:
        """On CUDA: free on the card, or held by torch and not in use, within the share that this process may take."""
        if self.device.type != "cuda":
            return None
        free, total = torch.cuda.mem_get_info(self.device)
        used = torch.cuda.memory_allocated(self.device)
        share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)(
            self.device
        )  # torch 2.8 and later
        return min(free + torch.cuda.memory_reserved(self.device), int(share * total)) - used

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
