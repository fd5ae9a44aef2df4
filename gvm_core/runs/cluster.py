"""Mattes one shot with several Ray workers. Each worker loads the model and finishes parts; the caller joins them.

Every worker makes the same part (see `matte`). So it does not matter which worker makes which part, in what order, or
how often a worker dies. Workers on other machines need this package and the shot's folders under the same paths.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..errors import GVMError, InputError, NoSuchFrameError, optional
from ..host.torch_host import TorchHost, fastest_device, suitable_dtype
from ..models.weights import SMALL, load_model, named
from ..pipeline import MattingPipeline
from ..settings import MatteSettings
from .makers import Matting
from .matte import Advance, do_nothing, fill
from .parts import FRAMES, Parts
from .resume import begin, parts_folder, run_key
from .shot import Shot
from .write import finish

log = logging.getLogger(__name__)

LONGEST_PIECE = 16 * FRAMES
"""Most frames that a worker gets at once. The frames just before them are computed twice, for the first windows."""
RESTARTS = 3
"""How often a worker that died is started again."""
CPUS_EACH = 4
WATCH_EVERY, PATIENCE = 1.0, 30.0
"""Seconds between checks for finished parts, and between log lines while workers start."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to make a pipeline. A recipe can be sent to another process; a loaded model cannot.

    Attributes:
        settings: Settings of the mattes.
        model: Model name or folder, as for `load_model`.
        dtype: Precision, as for `load_model`; None takes the one that suits the device.
        lora: LoRA, as for `load_model`.
        lora_strength: Strength of the LoRA, as for `load_model`.
        device: Where to compute; None takes the fastest device.
        threads: Number of CPU threads; None lets torch decide. The last bits of a matte depend on it.
        compiled: Compile the networks with torch.
    """

    settings: MatteSettings
    model: str = SMALL
    dtype: torch.dtype | None = None
    lora: str | None = "auto"
    lora_strength: float = 1.0
    device: torch.device | None = None
    threads: int | None = None
    compiled: bool = False

    def pipeline(self) -> MattingPipeline:
        """Load the model in this process, and make the pipeline.

        Raises:
            ModelError: If the model is missing or damaged.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        device = self.device or fastest_device()
        model = load_model(self.model, self.dtype or suitable_dtype(device), self.lora, self.lora_strength)
        if self.compiled:
            model.compile()
        return MattingPipeline(model, self.settings, TorchHost(device))

    def elsewhere(self) -> Recipe:
        """This recipe for a process with another folder and other GPUs: absolute paths, no device number."""
        model = named(self.model) or str(Path(self.model).expanduser().absolute())
        lora = self.lora if self.lora in ("auto", None) else str(Path(self.lora).expanduser().absolute())
        return replace(self, model=model, lora=lora, device=self.device and torch.device(self.device.type))


class Worker:
    """Finishes pieces of a shot in its own process.

    Args:
        shot: The shot, with absolute paths.
        recipe: How to make the pipeline.
    """

    def __init__(self, shot: Shot, recipe: Recipe) -> None:
        self.shot, self.recipe = shot, recipe

    @cached_property
    def pipeline(self) -> MattingPipeline:
        """The pipeline. It is loaded when it is first needed."""
        return self.recipe.pipeline()

    def key(self) -> str:
        """The key of the run, as this worker computes it."""
        return run_key(self.shot, Matting(self.pipeline))

    def fill(self, key: str, first: int, last: int | None) -> None:
        """Finish the missing frames from ``first`` to ``last``."""
        parts = Parts(parts_folder(self.shot, key), self.shot.first, self.shot.last)
        for begins, ends in parts.missing(first, last):
            fill(self.shot, Matting(self.pipeline), parts, begins, ends, do_nothing)


def matte_shot_with_ray(
    shot: Shot, recipe: Recipe, advance: Advance = do_nothing, *, workers: int | None = None, overwrite: bool = False
) -> int:
    """`matte_shot` with ``workers`` processes of the connected Ray cluster, or of a new cluster on this machine.

    Args:
        shot: What to matte and what to write.
        recipe: How to make the pipeline.
        advance: Called with the number of newly finished frames, but without mattes: other processes make them.
        workers: Number of workers; None takes one per GPU, or, without GPUs, one per four CPUs.
        overwrite: Replace outputs that exist.

    Raises:
        MediaError: If a file cannot be read or written, an output exists, or another process is matting the shot.
        InputError: If the workers would make different mattes, or no worker is possible.
        GVMError: If Ray cannot be reached, or a worker died too often.
    """
    ray = optional("ray", "ray")
    if workers is not None and workers < 1:
        raise InputError(f"a shot needs at least one worker, got {workers}")
    shot = replace(
        shot,
        source=shot.source.absolute(),
        matte=shot.matte.absolute(),
        preview=shot.preview and shot.preview.absolute(),
        review=shot.review and shot.review.absolute(),
        subject=shot.subject and shot.subject.absolute(),
        region=shot.region and shot.region.absolute(),
    )
    try:
        with cluster(ray), crew_for(ray, shot, recipe.elsewhere(), workers) as crew:
            key = common_key(ray, crew)
            with begin(shot, key, overwrite=overwrite) as parts:
                if done := parts.count():
                    advance(done, resumed=True)
                try:
                    hand_out(ray, crew, shot, parts, advance)
                finally:
                    dismiss(ray, crew)  # before any folder is deleted
                return finish(shot, parts)
    except ray.exceptions.RayTaskError as error:
        raise getattr(error, "cause", error) from error
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise GVMError(
            f"Ray failed on {shot.matte}: {reason}. Start the same command again: it continues with the finished parts."
        ) from error


@contextmanager
def cluster(ray: Any) -> Iterator[None]:
    """Use the connection to Ray if there is one, or connect for the ``with`` block."""
    if ray.is_initialized():
        yield
        return
    environment = {"OMP_WAIT_POLICY": "PASSIVE"}  # else waiting threads of one worker slow down another worker
    ray.init(runtime_env={"env_vars": environment}, log_to_driver=False, include_dashboard=False)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def crew_for(ray: Any, shot: Shot, recipe: Recipe, count: int | None) -> Iterator[list[Any]]:
    """Start ``count`` workers: on GPUs if there are any, unless the recipe names another device."""
    there = ray.cluster_resources()
    cards, processors = int(there.get("GPU", 0)), max(int(there.get("CPU", 1)), 1)
    on_cards = cards > 0 if recipe.device is None else recipe.device.type == "cuda"
    if on_cards and not cards:
        raise InputError("Ray finds no GPU; use --device cpu, or start Ray's nodes where it can see GPUs")
    count = count or (cards if on_cards else max(1, processors // CPUS_EACH))
    share = 1 / math.ceil(count / (cards if on_cards else processors))  # of one GPU or CPU: no worker is on two
    if not on_cards:
        recipe = replace(recipe, device=recipe.device or torch.device("cpu"))
        recipe = replace(recipe, threads=recipe.threads or max(1, processors // count))
    log.info("%d workers on %s", count, "GPUs" if on_cards else f"CPUs, with {recipe.threads} threads each")
    needs = {"num_gpus": share} if on_cards else {"num_cpus": share}
    kind = ray.remote(Worker).options(max_restarts=RESTARTS, max_task_retries=RESTARTS, **needs)
    crew = [kind.remote(shot, recipe) for _ in range(count)]
    try:
        yield crew
    finally:
        dismiss(ray, crew)


def dismiss(ray: Any, crew: list[Any]) -> None:
    """End every worker's process."""
    for worker in crew:
        ray.kill(worker)
    crew.clear()


def common_key(ray: Any, crew: list[Any]) -> str:
    """Wait until all workers have started. Return the key of the run, which must be the same for all."""
    asked = [worker.key.remote() for worker in crew]
    while len(started := ray.wait(asked, num_returns=len(asked), timeout=PATIENCE)[0]) < len(asked):
        log.info("%d of %d workers have started; waiting for free resources in the cluster", len(started), len(asked))
    keys = set(ray.get(asked))
    if len(keys) > 1:
        raise InputError("the workers have different devices, versions or weights, so their mattes would differ")
    return keys.pop()


def hand_out(ray: Any, crew: list[Any], shot: Shot, parts: Parts, advance: Advance) -> None:
    """Let the workers finish all missing pieces. A worker that has finished a piece gets the next one."""
    key = parts.folder.name.rpartition("-")[2]
    with shot.open(shot.first, shot.last) as reader:
        total = reader.count
    waiting = pieces(parts, total, len(crew))
    at_work: dict[Any, Any] = {}
    idle, known, beyond = list(crew), parts.count(), None
    while True:
        for worker, piece in zip(list(idle), waiting, strict=False):
            at_work[worker.fill.remote(key, *piece)] = worker
            idle.remove(worker)
        if not at_work:
            break
        done, _ = ray.wait(list(at_work), timeout=WATCH_EVERY)
        for each in done:
            idle.append(at_work.pop(each))
            try:
                ray.get(each)
            except NoSuchFrameError as error:  # the file has fewer frames than its header says
                beyond = error
        if (now := parts.count()) > known:
            advance(now - known)
            known = now
    if beyond is not None and not parts.end_at(beyond.count):
        raise beyond


def pieces(parts: Parts, total: int | None, workers: int) -> Iterator[tuple[int, int | None]]:
    """Cut the missing frames into pieces. They begin and end where parts do.

    Args:
        parts: The parts of the run.
        total: Number of frames of the run, if the file says it.
        workers: Number of workers. Each gets three pieces or more, so that none waits long for the slowest.

    Example:
        >>> list(pieces(Parts(Path("none-there")), 100, 1))
        [(0, 63), (64, None)]
    """
    for first, last in parts.missing():
        end = last if last is not None else None if total is None else parts.first + total - 1
        if end is None:
            yield first, last
            continue
        share = math.ceil((end + 1 - first) / (3 * workers) / FRAMES) * FRAMES
        length = min(max(share, FRAMES), LONGEST_PIECE)
        start = first
        while (stop := start - start % FRAMES + length) <= end:
            yield start, stop - 1
            start = stop
        yield start, last
