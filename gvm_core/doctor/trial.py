"""One matte in each precision: does it work, how long does it take, and how far is it from float32."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import execution
from ..errors import GVMError, ModelError
from ..host.torch_host import TorchHost, suitable_dtype
from ..models.weights import SMALL_FOLDER, load_model, model_config
from ..pipeline import MattingPipeline
from ..settings import MatteSettings
from ..synthesis.scene import Scene
from .devices import NAMES, memory
from .models import inspected, weight_bytes
from .page import Finding, Found, Weight, memory_size
from .privacy import words_of

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)
EDGE, SEED, TIER = 128, 7, "easy"
SMALL_EDGE = 256
"""On a processor, the network sees a picture no larger than this: the released model takes minutes for a larger one."""
BLACK = 0.02
"""The drawn person covers almost half of the picture. A matte whose mean is below this shows nobody."""
FAR = 0.01
"""A mean difference from float32 that can be seen."""
SLOW = 10.0
"""Seconds. A matte that takes longer is not made a second time, to leave out what only the first one costs."""
NOT_FINITE, OUT_OF_MEMORY = "repeating in float32", "out of memory"
"""What the executor says in the log."""


@dataclass(frozen=True)
class Attempt:
    """The trial in one precision.

    Attributes:
        precision: Its name.
        alpha: The matte ``[1, 1, H, W]``; None if there is none.
        seconds: How long it took.
        peak: The most bytes on the device, if they are counted there.
        said: What the executor logged meanwhile.
        failed: Why there is no matte.
        too_large: Whether that was for want of memory.
    """

    precision: str
    alpha: Tensor | None = None
    seconds: float = 0.0
    peak: int | None = None
    said: tuple[str, ...] = ()
    failed: str = ""
    too_large: bool = False

    @property
    def is_black(self) -> bool:
        """Whether the matte shows nobody."""
        return self.alpha is not None and float(self.alpha.mean()) < BLACK

    def heard(self, words: str) -> bool:
        """Whether the executor said this."""
        return any(words in line for line in self.said)


def trial(source: str, *, every_precision: bool = False) -> Found:
    """Matte a drawn person with the model ``source``, in each precision that is of use on the fastest device.

    Args:
        source: "small", "gvm", or a model folder.
        every_precision: On a processor, also try half precision, which it computes very slowly.
    """
    try:
        config = model_config(source)
        if inspected(config.folder).findings:
            raise ModelError("the model is not whole")
    except ModelError:
        return {"not tried": "the model is not whole; what is wrong with it stands at the end"}, []
    host = TorchHost()
    chosen = NAMES[suitable_dtype(host.device)]
    slow = host.device.type == "cpu" and not every_precision
    edge = min(config.short_edge, SMALL_EDGE) if host.device.type == "cpu" else config.short_edge
    frame = Scene(SEED, (EDGE, EDGE), TIER).frame(0)
    attempts = [attempt(source, dtype, host, frame.image, edge) for dtype in PRECISIONS[: 1 if slow else None]]
    facts = {
        "picture": f"a drawn person, {EDGE}x{EDGE}, seen by the network at {edge}x{edge}",
        "model": f"{config.name} on {host.device}; auto takes {chosen} here",
        "mean of the true matte": f"{float(frame.alpha.mean()):.3f}",
        "precisions": rows_of(attempts),
    }
    if slow:
        facts["bf16, fp16"] = "not tried: a processor takes many times longer for them (--all-precisions tries them)"
    return facts, judged(attempts, chosen, bundled=config.folder.parent == SMALL_FOLDER.parent)


def attempt(source: str, dtype: torch.dtype, host: TorchHost, picture: Tensor, edge: int) -> Attempt:
    """Load the model in one precision, and matte ``picture`` ``[3, H, W]``."""
    name = NAMES[dtype]
    needed, system = weight_bytes(source, dtype), memory()
    if system and system[1] < needed:
        words = f"not tried: the weights need {memory_size(needed)}, but {memory_size(system[1])} of memory are free"
        return Attempt(name, failed=words, too_large=True)
    with listening() as said:
        try:
            pipeline = MattingPipeline(load_model(source, dtype), MatteSettings(short_edge=edge, max_edge=edge), host)
            forget_peak(host.device)
            alpha, seconds = timed(pipeline, picture)
            if seconds < SLOW:
                alpha, seconds = timed(pipeline, picture)
            return Attempt(name, alpha, seconds, peak_bytes(host.device), tuple(said))
        except (GVMError, RuntimeError, TypeError, MemoryError) as error:
            too_large = execution.is_out_of_memory(error)
            return Attempt(name, said=tuple(said), failed=words_of(error), too_large=too_large)
        finally:
            host.release_memory()


def timed(pipeline: MattingPipeline, picture: Tensor) -> tuple[Tensor, float]:
    """The matte of a picture, and the seconds that it took."""
    started = time.perf_counter()
    return pipeline.matte(picture[None]), time.perf_counter() - started


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what the executor logs inside the block."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    execution.log.addHandler(listener)
    try:
        yield said
    finally:
        execution.log.removeHandler(listener)


def forget_peak(device: torch.device) -> None:
    """Begin to count the most bytes on the device."""
    if device.type in ("cuda", "xpu"):
        getattr(torch, device.type).reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """The most bytes on the device since `forget_peak`; None where they are not counted."""
    return getattr(torch, device.type).max_memory_allocated(device) if device.type in ("cuda", "xpu") else None


def rows_of(attempts: Sequence[Attempt]) -> list[dict[str, str]]:
    """The table of all attempts."""
    exact = next((each.alpha for each in attempts if each.precision == "fp32"), None)
    rows = []
    for each in attempts:
        row = dict.fromkeys(
            ("precision", "seconds", "peak memory", "mean", "largest difference", "mean difference"), "-"
        )
        row["precision"] = each.precision
        if each.alpha is not None:
            row |= {"seconds": f"{each.seconds:.2f}", "mean": f"{float(each.alpha.mean()):.3f}"}
            row["peak memory"] = "not known" if each.peak is None else memory_size(each.peak)
        if each.alpha is not None and exact is not None and each.precision != "fp32":
            apart = (each.alpha - exact).abs()
            row |= {"largest difference": f"{float(apart.max()):.5f}", "mean difference": f"{float(apart.mean()):.6f}"}
        rows.append({**row, "remarks": remarks(each)})
    return rows


def remarks(attempt: Attempt) -> str:
    """What is odd about an attempt, in a few words."""
    if attempt.failed:
        return "out of memory" if attempt.too_large else "failed"
    words = {"not finite, repeated in float32": attempt.heard(NOT_FINITE), "black": attempt.is_black}
    words["ran out of memory, then in smaller pieces"] = attempt.heard(OUT_OF_MEMORY)
    return ", ".join(word for word, is_so in words.items() if is_so) or "-"


def judged(attempts: Sequence[Attempt], chosen: str, *, bundled: bool) -> list[Finding]:
    """What is wrong with the attempts.

    Args:
        attempts: The trial in each precision.
        chosen: The precision that this pack takes by itself on this device.
        bundled: Whether the model is a bundled one, which is known to find the drawn person.
    """
    mattes = [each for each in attempts if each.alpha is not None]
    good = [each.precision for each in mattes if not each.is_black and not each.said]
    remedy = f"Choose the precision {good[0]}." if good else ""
    findings = []
    for each in attempts:
        weight: Weight = "wrong" if each.precision == chosen else "note"
        if each.failed:
            findings.append(failure(each, remedy, "stops" if each.precision == chosen or not mattes else "note"))
        if each.heard(NOT_FINITE):
            what = f"In {each.precision} the networks give values that are not finite (NaN). They are computed again in fp32."
            findings.append(Finding(what, remedy and f"{remedy} It is faster than computing twice.", weight))
        if each.heard(OUT_OF_MEMORY):
            what = (
                f"Memory ran out in {each.precision}, so the matte was made in smaller pieces: slower, the same matte."
            )
            findings.append(Finding(what, "Close other programs that use the device.", weight))
        if each in mattes and (what := difference(each, mattes[0])):
            findings.append(Finding(what, remedy, weight))
    return findings + (black_findings(mattes[0], bundled=bundled) if mattes else [])


def difference(attempt: Attempt, first: Attempt) -> str:
    """How a matte differs from that of the first precision, if anybody can see it."""
    if attempt.is_black and not first.is_black:
        return f"In {attempt.precision} the matte is black, in {first.precision} it is not."
    if attempt.alpha is not None and first.alpha is not None and (attempt.alpha - first.alpha).abs().mean() > FAR:
        return f"In {attempt.precision} the matte is visibly not that of {first.precision}."
    return ""


def failure(attempt: Attempt, remedy: str, weight: Weight) -> Finding:
    """Why an attempt gave no matte."""
    if attempt.too_large:
        remedy = f"{remedy} Close other programs that use memory.".strip()
    return Finding(f"In {attempt.precision} there is no matte: {attempt.failed.rstrip('.')}.", remedy, weight)


def black_findings(first: Attempt, *, bundled: bool) -> list[Finding]:
    """Whether even the matte in the first precision shows nobody."""
    if not first.is_black:
        return []
    if bundled:
        what = (
            f"The matte of the drawn person is black even in {first.precision}, although this model finds that person."
        )
        return [Finding(what, "The model's files or this torch are damaged: install both again.", "stops")]
    what = "This model does not find the drawn person. That is no fault if it was made for photographs."
    return [Finding(what, "Try it on a photograph: gvm matte face.jpg face.png --preview over.png", "note")]
