"""One shot over many workers, by Ray: each holds the model and finishes parts, and their caller puts those together.

Whoever does a part, it is the same part (see `matte`), so it does not matter which worker does which, in what order, or
how often one of them dies. Workers on other machines need this package and the shot's folders under the same paths.
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
from ..media import open_frames
from ..models.weights import load_model
from ..pipeline import MattingPipeline
from ..settings import MatteSettings
from .matte import Advance, fill, unheard
from .parts import FRAMES, Parts
from .resume import begin, parts_folder, run_key
from .shot import Shot
from .write import finish

log = logging.getLogger(__name__)

LONGEST_PIECE = 16 * FRAMES
"""Frames that a worker is given at once, at most; what its first windows overlap with is computed twice."""
DEATHS = 3
"""How often a worker is started again."""
CPUS_EACH = 4
WATCH_EVERY, PATIENCE = 1.0, 30.0
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a pipeline is made: what can be sent to another process, where a loaded model cannot.

    Attributes:
        settings: What the picture depends on.
        model: As for `load_model`, like the next three.
        dtype: Precision; None takes what suits the device.
        lora: Which LoRA.
        lora_strength: How much of it.
        device: Where it computes; None takes the fastest there is.
        threads: How many, on processors; None leaves that to torch. Mattes differ with it in their last bits.
        compiled: Have torch compile the networks.
    """

    settings: MatteSettings
    model: str = "demo"
    dtype: torch.dtype | None = None
    lora: str | None = "auto"
    lora_strength: float = 1.0
    device: torch.device | None = None
    threads: int | None = None
    compiled: bool = False

    def pipeline(self) -> MattingPipeline:
        """Load the model and put it to work, in this process.

        Raises:
            ModelError: If it is missing or damaged.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        device = self.device or fastest_device()
        model = load_model(self.model, self.dtype or suitable_dtype(device), self.lora, self.lora_strength)
        if self.compiled:
            model.compile()
        return MattingPipeline(model, self.settings, TorchHost(device))

    def elsewhere(self) -> Recipe:
        """The same for a process in another folder, before other cards."""
        model = self.model if self.model in ("demo", "gvm") else str(Path(self.model).expanduser().absolute())
        lora = self.lora if self.lora in ("auto", None) else str(Path(self.lora).expanduser().absolute())
        return replace(self, model=model, lora=lora, device=self.device and torch.device(self.device.type))


class Worker:
    """Finishes stretches of a shot in a process of its own.

    Args:
        shot: The shot, its paths absolute.
        recipe: How it is matted.
    """

    def __init__(self, shot: Shot, recipe: Recipe) -> None:
        self.shot, self.recipe = shot, recipe

    @cached_property
    def pipeline(self) -> MattingPipeline:
        """Loaded when it is first needed."""
        return self.recipe.pipeline()

    def key(self) -> str:
        """This worker's name for the run."""
        return run_key(self.shot, self.pipeline)

    def fill(self, key: str, first: int, last: int | None) -> None:
        """Finish what is missing of frames ``first`` to ``last``."""
        parts = Parts(parts_folder(self.shot, key), self.shot.first, self.shot.last)
        for begins, ends in parts.missing(first, last):
            fill(self.shot, self.pipeline, parts, begins, ends, unheard)


def matte_shot_with_ray(
    shot: Shot, recipe: Recipe, advance: Advance = unheard, *, workers: int | None = None, overwrite: bool = False
) -> int:
    """`matte_shot` over ``workers`` processes of the Ray cluster that is connected to, or of one on this machine.

    Args:
        shot: From what to what.
        recipe: How.
        advance: Told of every frame that is finished; without mattes, since others make them.
        workers: How many; None takes one for each card, or on processors one for every four.
        overwrite: Replace what lies under the outputs' names.

    Raises:
        MediaError: If something cannot be read or written, or is in the way.
        InputError: If workers disagree on what they compute with, or there are none.
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
                    dismiss(ray, crew)  # before anything is tidied up behind them
                return finish(shot, parts)
    except ray.exceptions.RayTaskError as error:
        raise getattr(error, "cause", error) from error
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise GVMError(
            f"Ray gave up on {shot.matte}: {reason}. The same command goes on with what is finished."
        ) from error


@contextmanager
def cluster(ray: Any) -> Iterator[None]:
    """A connection to Ray: the one there is, or one for the ``with`` block."""
    if ray.is_initialized():
        yield
        return
    environment = {"OMP_WAIT_POLICY": "PASSIVE"}  # or threads of one worker spin where those of another want to work
    ray.init(runtime_env={"env_vars": environment}, log_to_driver=False, include_dashboard=False)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def crew_for(ray: Any, shot: Shot, recipe: Recipe, count: int | None) -> Iterator[list[Any]]:
    """``count`` workers, on cards if there are any and nothing else was asked for."""
    there = ray.cluster_resources()
    cards, processors = int(there.get("GPU", 0)), max(int(there.get("CPU", 1)), 1)
    on_cards = cards > 0 if recipe.device is None else recipe.device.type == "cuda"
    if on_cards and not cards:
        raise InputError("Ray knows of no card here; say --device cpu, or start its nodes where it sees them")
    count = count or (cards if on_cards else max(1, processors // CPUS_EACH))
    share = 1 / math.ceil(count / (cards if on_cards else processors))  # of one card or processor: no worker spans two
    if not on_cards:
        recipe = replace(recipe, device=recipe.device or torch.device("cpu"))
        recipe = replace(recipe, threads=recipe.threads or max(1, processors // count))
    log.info("%d workers on %s", count, "cards" if on_cards else f"processors, with {recipe.threads} threads each")
    needs = {"num_gpus": share} if on_cards else {"num_cpus": share}
    kind = ray.remote(Worker).options(max_restarts=DEATHS, max_task_retries=DEATHS, **needs)
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
    """The name that all workers have for the run, once all of them have started."""
    asked = [worker.key.remote() for worker in crew]
    while len(started := ray.wait(asked, num_returns=len(asked), timeout=PATIENCE)[0]) < len(asked):
        log.info("%d of %d workers have started; waiting for room in the cluster", len(started), len(asked))
    keys = set(ray.get(asked))
    if len(keys) > 1:
        raise InputError("the workers differ in kind of device, versions or weights, and so would their mattes")
    return keys.pop()


def hand_out(ray: Any, crew: list[Any], shot: Shot, parts: Parts, advance: Advance) -> None:
    """Have the crew finish all that is missing: the next piece goes to whoever has done the one before."""
    key = parts.folder.name.rpartition("-")[2]
    with open_frames(shot.source, shot.first, shot.last) as reader:
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
            except NoSuchFrameError as error:  # the file's header promised more than there is
                beyond = error
        if (now := parts.count()) > known:
            advance(now - known)
            known = now
    if beyond is not None and not parts.end_at(beyond.count):
        raise beyond


def pieces(parts: Parts, total: int | None, workers: int) -> Iterator[tuple[int, int | None]]:
    """What is missing, in pieces that begin and end where parts do.

    Args:
        parts: Of the run.
        total: How many frames it has, as far as the file tells.
        workers: Who will share them: three pieces each or more, so that none waits long for the slowest.

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
