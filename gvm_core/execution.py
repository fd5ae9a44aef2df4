"""The one place where stages are computed: in the quickest variant that memory allows, in float32 if half overflows.

Every variant of a stage gives the same picture; they differ in memory and time. Networks say which variants they have and
how many bytes each needs; what happens when memory runs out all the same is decided here.
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
"""Calls in a leaner variant before a quicker one is tried again; twice as many each time that fails."""
PIXELS_AT_ONCE = 2**20
"""Layers over space take several frames at once on a card, up to so many pixels."""
NO_MEMORY = (
    "out of memory",  # CUDA, ROCm, MPS
    "out of device memory",  # XPU
    "can't allocate memory",  # processors; the next is what Windows' say
    "not enough memory",
    "status alloc failed",  # cuBLAS and cuDNN, which allocate by themselves
)


@dataclass(frozen=True)
class Variant:
    """One exact way to compute a stage.

    Attributes:
        name: For the log, after "going on".
        bytes: What its activations need, about.
        run: From the stage's input to its output, on the device of the input.
    """

    name: str
    bytes: int
    run: Callable[[Tensor], Tensor]


@dataclass
class Attempts:
    """What a stage has learned about its variants so far.

    Attributes:
        refused: Variants that were too much, from the quickest on.
        calls: Calls since the last of them was refused.
        patience: After so many calls that one is tried again: what else uses the device may have gone.
    """

    refused: int = 0
    calls: int = 0
    patience: int = PATIENCE

    @property
    def due(self) -> bool:
        """Whether a refused variant is to be tried again."""
        return self.refused > 0 and self.calls >= self.patience

    def note(self, first: int, used: int) -> bool:
        """Note that a call began with variant ``first`` and ended with ``used``; whether a refused one works again."""
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
        host: Knows the device and what is free on it.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.attempts: dict[str, Attempts] = {}

    def frames_at_once(self, pixels: int) -> int:
        """How many frames of ``pixels`` pixels a layer over space should see at once: several small ones on a card.

        A processor is twice as fast with one: its caches hold that. The numbers do not depend on it.
        """
        return 1 if self.host.device.type == "cpu" else max(1, PIXELS_AT_ONCE // pixels)

    def run(
        self, stage: str, variants: Sequence[Variant], data: Tensor, start: int, network: Network | None = None
    ) -> Tensor:
        """Compute a stage in the first of its variants that fits; after running out of memory in the next one.

        Args:
            stage: For the log.
            variants: Quickest first, not empty; always as many, in the same order.
            data: The stage's input.
            start: Frame at which it begins, for the log.
            network: What computes it, made resident for that; without one ``data`` stays where it is, as it is.

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
                        f"{stage} at frame {start} does not fit into the device's memory in the leanest way there is. "
                        "Lower max_edge or the window's length, or close what else uses the device."
                    ) from error
            self.host.release_memory()  # out here: the error holds on to what was computed
            leaner = variants[index].name
            log.warning("out of memory in %s at frame %d; going on %s: slower, the same picture", stage, start, leaner)
        if attempts.note(first, index):
            log.warning(
                "%s goes on %s again from frame %d: there is memory for it now", stage, variants[index].name, start
            )
        return result

    @torch.no_grad()
    def compute(self, variant: Variant, data: Tensor, start: int, network: Network | None) -> Tensor:
        """Run ``variant``, in the network's precision; in float32 if that overflows.

        That is decided for every call alone, so a frame's matte does not depend on what came before it.
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
    """Whether ``error`` is torch's way to say that a device has no memory left, in the words of any backend.

    Example:
        >>> is_out_of_memory(RuntimeError("MPS backend out of memory")), is_out_of_memory(RuntimeError("no"))
        (True, False)
        >>> is_out_of_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
        True
    """
    kinds = (torch.cuda.OutOfMemoryError, MemoryError)
    words = str(error).lower().replace("_", " ")
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and any(said in words for said in NO_MEMORY))
