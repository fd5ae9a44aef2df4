"""Computes the stages: in the fastest variant that fits into memory, and in float32 if half precision overflows.

All variants of a stage give the same picture; they differ in memory and time. Networks list their variants and the
bytes that each one needs. This module chooses a variant, and takes the next one when memory runs out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import GVMError, OutOfMemoryError
from .host.base import Host, Network

log = logging.getLogger(__name__)

PATIENCE = 16
"""Calls in a slower variant before a faster one is tried again. The number doubles each time that fails."""
PIXELS_AT_ONCE = 2**20
"""On a GPU, spatial layers take several frames at once, up to this many pixels."""
NO_MEMORY = (
    "out of memory",  # CUDA, ROCm, MPS
    "out of device memory",  # XPU
    "can't allocate memory",  # CPU; the next text is the one on Windows
    "not enough memory",
    "status alloc failed",  # cuBLAS and cuDNN, which allocate memory themselves
)


@dataclass(frozen=True)
class Variant:
    """One variant of a stage: the same result as the others, with other memory and time.

    Attributes:
        name: For the log, after "trying again".
        bytes: Approximate size of its activations.
        run: Computes the stage's output from its input, on the device of the input.
    """

    name: str
    bytes: int
    run: Callable[[Tensor], Tensor]


@dataclass
class Attempts:
    """Which variants of a stage ran out of memory so far.

    Attributes:
        refused: Number of variants that ran out of memory, counted from the fastest.
        calls: Calls since a variant last ran out of memory or worked again.
        patience: Calls until the last refused variant is tried again. The memory may be free by then.
    """

    refused: int = 0
    calls: int = 0
    patience: int = PATIENCE

    @property
    def due(self) -> bool:
        """Whether it is time to try a refused variant again."""
        return self.refused > 0 and self.calls >= self.patience

    def note(self, first: int, used: int) -> bool:
        """Record that a call began with variant ``first`` and ended with ``used``. True if a refused one works."""
        tried_again = self.due
        if used > first:
            self.patience = 2 * self.patience if tried_again else PATIENCE
        elif tried_again and used < self.refused:
            self.patience = PATIENCE
        else:
            self.calls += 1
            return False
        self.refused, self.calls = used, 1
        return used == first


class Executor:
    """Computes stages on a host's device.

    Args:
        host: Owns the device and knows its free memory.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.attempts: dict[str, Attempts] = {}

    def frames_at_once(self, pixels: int) -> int:
        """How many frames of ``pixels`` pixels a spatial layer should take at once: several small ones on a GPU.

        A CPU is twice as fast with one frame, because it fits into the caches. The result is the same.
        """
        return 1 if self.host.device.type == "cpu" else max(1, PIXELS_AT_ONCE // pixels)

    def run(
        self, stage: str, variants: Sequence[Variant], data: Tensor, start: int, network: Network | None = None
    ) -> Tensor:
        """Compute a stage in the first variant that fits. If that runs out of memory, take the next one.

        Args:
            stage: Name of the stage, for the log.
            variants: Fastest first, at least one. Every call for a stage must give the same number, in the same order.
            data: The stage's input.
            start: Index of its first frame, for the log.
            network: Made resident on the device to compute the stage. None leaves ``data`` on its device, in its dtype.

        Returns:
            The result, float32 on the CPU.

        Raises:
            OutOfMemoryError: If the last variant does not fit either.
            GVMError: If a network's result is not finite even in float32.
        """
        attempts = self.attempts.setdefault(stage, Attempts())
        free = self.host.free_bytes()
        fitting = (index for index, variant in enumerate(variants) if free is None or variant.bytes <= free)
        index = first = max(attempts.refused - int(attempts.due), next(fitting, len(variants) - 1))
        while True:
            try:
                result = self.compute(variants[index], data, start, network)
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                index += 1
                if index == len(variants):
                    raise OutOfMemoryError(
                        f"{stage} at frame {start} does not fit into memory, even in the smallest variant. "
                        "Lower max_edge or the window's length, or close other programs that use the device."
                    ) from error
            self.host.release_memory()  # after the except block: the error keeps tensors
            name = variants[index].name
            log.warning(
                "out of memory in %s at frame %d; trying again %s: slower, the same picture", stage, start, name
            )
        if attempts.note(first, index):
            log.warning(
                "%s runs %s again from frame %d: there is memory for it now", stage, variants[index].name, start
            )
        return result

    @torch.no_grad()
    def compute(self, variant: Variant, data: Tensor, start: int, network: Network | None) -> Tensor:
        """Run ``variant`` in the network's precision, or in float32 if that overflows.

        Each call decides this on its own, so a frame's matte does not depend on earlier windows.
        """
        if network is None:
            return variant.run(data)
        with self.host.resident(network, variant.bytes):
            self.host.check_cancelled()
            result = variant.run(data.to(self.host.device, network.dtype)).float().cpu()
            if result.isfinite().all():
                return result
            name = f"{type(network).__name__} gave values that are not finite at frame {start}"
            if network.dtype != torch.float32:
                precision = str(network.dtype).removeprefix("torch.")
                log.warning(
                    "%s in %s; repeating in float32. If this happens often, load the model in fp32: it will be faster.",
                    name,
                    precision,
                )
                with self.host.widened(network, 2 * variant.bytes):
                    result = variant.run(data.to(self.host.device, network.dtype)).float().cpu()
            if not result.isfinite().all():
                raise GVMError(
                    f"{name}, even in float32. The weights or the LoRA are damaged, or do not belong together."
                )
            return result


def is_out_of_memory(error: Exception) -> bool:
    """Whether ``error`` means that a device is out of memory, on any backend.

    Example:
        >>> is_out_of_memory(RuntimeError("MPS backend out of memory")), is_out_of_memory(RuntimeError("no"))
        (True, False)
        >>> is_out_of_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
        True
    """
    kinds = (torch.cuda.OutOfMemoryError, MemoryError)
    words = str(error).lower().replace("_", " ")
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and any(said in words for said in NO_MEMORY))
