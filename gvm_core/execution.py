"""How much a stage computes at once: by what memory is free, and less for a while after the device has run out of it.

Every way gives the same picture; they differ in memory and time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import OutOfMemoryError
from .host.base import Host, Network

log = logging.getLogger(__name__)

PATIENCE = 16
"""Calls in a leaner way before a quicker one is tried again; twice as many each time that fails."""
NO_MEMORY = (
    "out of memory",  # CUDA, ROCm, MPS
    "out of device memory",  # XPU
    "can't allocate memory",  # processors; the next is what Windows' say
    "not enough memory",
    "status alloc failed",  # cuBLAS and cuDNN, which allocate by themselves
)


@dataclass(frozen=True)
class Way:
    """One exact way to compute a stage.

    Attributes:
        name: For the log, after "going on".
        room: Bytes of activations it needs, about.
        run: From the stage's input to its output, where the stage wants them.
    """

    name: str
    room: int
    run: Callable[[Tensor], Tensor]


class Choice:
    """Chooses among a stage's ways, call by call, and remembers for a while what turned out to be too much.

    Args:
        stage: For the log.
        host: Knows what is free.
    """

    def __init__(self, stage: str, host: Host) -> None:
        self.stage, self.host = stage, host
        self.refused = 0  # ways that were too much, from the quickest on
        self.calls, self.patience = 0, PATIENCE  # since the last of them was refused, and until it is tried again

    def attempt(
        self, network: Network | None, ways: Sequence[Way], start: int, call: Callable[[Way], Tensor]
    ) -> Tensor:
        """``call`` with the first of ``ways``, quickest first, that fits; with the next after running out of memory.

        What else uses the device may go away, so a way that was too much is tried again after `PATIENCE` calls.

        Args:
            network: To be resident while it is called; None where the stage has none.
            ways: Not empty; always as many, in the same order.
            start: Frame at which the input begins, for the log.
            call: Computes in a given way.

        Raises:
            OutOfMemoryError: If the last of them does not fit either.
        """
        free = self.host.free_bytes()
        fits = (index for index, way in enumerate(ways) if free is None or way.room <= free)
        again = self.refused > 0 and self.calls >= self.patience
        index = first = max(self.refused - int(again), next(fits, len(ways) - 1))
        while True:
            try:
                with self.host.resident(network, ways[index].room) if network else nullcontext():
                    result = call(ways[index])
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                index += 1
                if index == len(ways):
                    raise OutOfMemoryError(
                        f"{self.stage} at frame {start} does not fit into the device's memory in the leanest way there "
                        "is. Lower max_edge or the window's length, or close what else uses the device."
                    ) from error
            self.host.release_memory()
            log.warning(
                "out of memory in %s at frame %d; going on %s: slower, the same picture",
                self.stage,
                start,
                ways[index].name,
            )
        if index > first:
            self.refused, self.calls = index, 0
            self.patience = 2 * self.patience if again else PATIENCE
        elif again and index < self.refused:
            self.refused, self.calls, self.patience = index, 0, PATIENCE
            log.warning(
                "%s goes on %s again from frame %d: there is memory for it now", self.stage, ways[index].name, start
            )
        self.calls += 1
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
