"""Run contestants on cases, store each result as soon as it is known, and make the table and the plot."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..atomic import atomic
from ..errors import InputError, optional
from ..metrics import MatteScorer
from ..tables import markdown_table
from .cases import Case
from .contestants import Contestant

MEASURES = ("mad", "mse", "grad", "conn", "dtssd", "seam", "soft_mad", "grad_normalised", "iou", "seconds")

T = TypeVar("T")


def score_case(contestant: Contestant, case: Case) -> dict[str, Any]:
    """Matte a case and score it frame by frame, without holding the clip.

    Returns:
        The means of `MatteScore`'s measures; ``frames``, the number of frames; ``seconds``, the time to matte one frame
        without drawing, reading and scoring; ``per_frame``, the measures of each frame.
    """
    waiting: deque[Tensor] = deque()
    given, mattes = Stopwatch(case.open()), contestant.case(case.name) if contestant.case else contestant.matte

    def inputs() -> Iterator[Tensor]:
        for frame, truth in given:
            waiting.append(truth)
            yield truth if contestant.given_truth else frame

    scorer, frames = MatteScorer(), 0
    taken = Stopwatch(mattes(inputs()))
    for clip in taken:
        truth = torch.stack([waiting.popleft() for _ in range(len(clip))])
        scorer.add(clip.data, truth)
        frames += len(clip)
    if waiting:
        raise InputError(f"{contestant.name} gave {frames} mattes for {case.name}, {len(waiting)} too few")
    score = scorer.score(contestant.joins(frames) if contestant.joins else None).as_dict()
    rounded = {name: [plain(round(value, 6)) for value in values] for name, values in scorer.per_frame().items()}
    seconds = None if contestant.case else round((taken.seconds - given.seconds) / frames, 4)
    means = {name: plain(value) for name, value in score.items()}
    return {**means, "frames": frames, "seconds": seconds, "per_frame": rounded}


class Stopwatch(Generic[T]):
    """Iterates over ``items`` and adds up the seconds spent waiting for them."""

    def __init__(self, items: Iterable[T]) -> None:
        self.items, self.seconds = iter(items), 0.0

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        started = time.perf_counter()
        try:
            return next(self.items)
        finally:
            self.seconds += time.perf_counter() - started


def plain(value: float) -> float | None:
    """``value``, or None if it is not finite, which JSON cannot express."""
    return value if math.isfinite(value) else None


def evaluate(
    contestants: Mapping[str, Callable[[], Contestant]],
    weights: Mapping[str, str],
    cases: Sequence[Case],
    settings: dict[str, Any],
    file: Path | None,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Score every contestant on every case.

    ``file`` is written after each case. A second run with the same settings scores only the missing cases.

    Args:
        contestants: A function for each name that makes the contestant. It is called only when its turn comes, so that
            only one model is loaded at a time.
        weights: A digest of the weights for each name. Stored results of other weights are replaced.
        cases: The cases to matte.
        settings: All settings that change the results. They are stored, and compared when a run resumes.
        file: JSON file, or None to store nothing.
        progress: Called with a line of text after each case.

    Returns:
        ``models`` holds, for each name, ``mean`` over all cases, ``groups`` with the means over each group, and
        ``clips`` with the result of each case. ``mean`` and ``clips`` of the first contestant are repeated at the top.

    Raises:
        InputError: If two cases have the same name, or ``file`` holds no results or results of other settings.
    """
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two cases are called {twice}; rename one, so that their results are not mixed")
    report = earlier(file, settings)
    for name, make in contestants.items():
        entry = report["models"].get(name)
        if entry is None or entry["weights"] != weights.get(name, ""):
            entry = report["models"][name] = {"weights": weights.get(name, ""), "clips": {}}
        clips: dict[str, Any] = entry["clips"]
        left = [case for case in cases if case.name not in clips]
        if not left:
            continue
        contestant = make()
        entry["megabytes"] = contestant.megabytes and round(contestant.megabytes, 1)
        for number, case in enumerate(left, len(cases) - len(left) + 1):
            clips[case.name] = score_case(contestant, case) | {"group": case.group}
            progress(f"{name}: {case.name} ({number} of {len(cases)})  MAD {clips[case.name]['mad']:.2f}")
            summarise(report, next(iter(contestants)))
            write(report, file)
    summarise(report, next(iter(contestants)))
    write(report, file)
    return report


def earlier(file: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The results of an earlier run with the same settings in ``file``; an empty report if there is no file."""
    fresh = {"settings": settings, "models": {}}
    if file is None or not file.exists():
        return fresh
    try:
        kept = json.loads(file.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{file} exists but is not JSON ({error}); move it or give another name") from error
    if kept.get("settings") != settings:
        raise InputError(f"{file} holds results of other settings ({kept.get('settings')}); give another name")
    return kept


def write(report: dict[str, Any], file: Path | None) -> None:
    """Write the report under another name, then rename it, so the file is never incomplete."""
    if file is None:
        return
    with atomic(file) as part:
        part.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")


def summarise(report: dict[str, Any], leader: str) -> None:
    """Add means over all clips and over each group, and repeat the results of ``leader`` at the top."""
    for entry in report["models"].values():
        clips = entry["clips"].values()
        entry["mean"] = mean(list(clips))
        groups = sorted({clip["group"] for clip in clips})
        entry["groups"] = {group: mean([clip for clip in clips if clip["group"] == group]) for group in groups}
    first = report["models"][leader]
    report["mean"] = first["mean"]
    report["clips"] = {
        name: {k: v for k, v in clip.items() if k != "per_frame"} for name, clip in first["clips"].items()
    }


def mean(clips: list[dict[str, Any]]) -> dict[str, float | None]:
    """Mean of each measure over the clips that have it."""
    values = {name: [clip[name] for clip in clips if clip.get(name) is not None] for name in MEASURES}
    return {name: sum(known) / len(known) if known else None for name, known in values.items()}


def table(report: dict[str, Any]) -> str:
    """The means as a Markdown table: a row for each contestant, and for each of its groups if there are several."""
    rows: list[tuple[str, ...]] = [("", *MEASURES, "MB")]
    for name, entry in report["models"].items():
        size = entry.get("megabytes")
        rows.append((name, *(cell(entry["mean"].get(measure)) for measure in MEASURES), cell(size)))
        if len(entry["groups"]) > 1:
            for group, means in entry["groups"].items():
                rows.append((f"  {group}", *(cell(means.get(measure)) for measure in MEASURES), ""))
    return markdown_table(rows)


def cell(value: float | None) -> str:
    """A number as the table shows it."""
    return "-" if value is None else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def plot(report: dict[str, Any], file: Path) -> None:
    """Draw bars of the means, and MAD over the frames, to a PNG, SVG or PDF file. Needs Matplotlib."""
    shown = ("mad", "grad", "conn", "dtssd")
    figure = optional("matplotlib.figure", "matplotlib").Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, 1)
    names = list(report["models"])
    wide = 0.8 / len(names)
    for index, name in enumerate(names):
        means = report["models"][name]["mean"]
        axes[0].bar([k + index * wide for k in range(len(shown))], [means[m] or 0 for m in shown], wide, label=name)
        by_frame = [clip["per_frame"]["mad"] for clip in report["models"][name]["clips"].values()]
        length = min(map(len, by_frame), default=0)
        axes[1].plot([sum(values[t] for values in by_frame) / len(by_frame) for t in range(length)], label=name)
    axes[0].set_xticks([k + 0.4 - wide / 2 for k in range(len(shown))], [m.upper() for m in shown])
    axes[0].set_yscale("log")
    axes[0].legend()
    axes[1].set(xlabel="frame", ylabel="MAD")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
