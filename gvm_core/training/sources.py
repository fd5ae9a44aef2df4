"""Builds the source of a stage's clips: drawn clips, people on other backgrounds, the user's clips, or a mixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from torch import Tensor

from ..datasets.backgrounds import Places
from ..datasets.batch import Mixture, Source
from ..datasets.chimeras import read_chimeras
from ..datasets.cutouts import Cutout
from ..datasets.drawn import ClipPool, drawn_layers
from ..datasets.labelled import LabelledSource
from ..datasets.pairs import LabelledClip
from ..datasets.people import PeopleSource, Shares
from ..errors import InputError
from .config import SOURCES, Stage

HINTS = {
    "people": "give folders of subjects with --subjects and of backgrounds with --backgrounds",
    "clips": "give a folder of clips and mattes with --clips",
}


def stage_source(
    stage: Stage,
    pools: Path,
    labelled: list[LabelledClip],
    photographs: tuple[Tensor, ...] = (),
    progress: Callable[[int], None] | None = None,
    cutouts: list[Cutout] | None = None,
    places: Places | None = None,
    hard_negatives: Callable[[Places], tuple[Tensor, ...]] | None = None,
) -> Source:
    """The source of ``stage``'s batches.

    Args:
        stage: Says which clips to draw, if any, and the share of each source.
        pools: Folder where drawn clips are stored.
        labelled: The user's clips.
        photographs: Pictures for the backgrounds of drawn clips.
        progress: Called with the number of clips or chimeras drawn so far.
        cutouts: The user's subjects.
        places: The backgrounds for the subjects; drawn backgrounds are added to them.
        hard_negatives: Finds the hard negatives among the backgrounds, if the stage wants some.

    Raises:
        InputError: If there is nothing to learn from, or a kind of clips that the stage asks for is missing.
    """
    shares = stage.sources
    found: dict[str, Source] = {}
    if stage.clips and shares.get("drawn", not shares):
        layers = drawn_layers(pools, stage.clips, progress)
        found["drawn"] = ClipPool(layers, photographs, stage.closest)
        places = replace(places, drawn=layers) if places else None
    if cutouts and places and shares.get("people", not shares):
        chimeras = read_chimeras(stage.chimeras, cutouts, places.pictures, pools, progress) if stage.chimeras else []
        if stage.hard_negatives and hard_negatives:
            places = replace(places, hard=hard_negatives(places))
        found["people"] = PeopleSource(
            cutouts,
            places,
            chimeras,
            shares=Shares(**{each.name: getattr(stage, each.name) for each in fields(Shares)}),
        )
    if labelled and shares.get("clips", not shares):
        found["clips"] = LabelledSource(labelled, max(stage.sizes), stage.closest)
    needed = {name for name, share in shares.items() if share}
    if (stage.chimeras or stage.hard_negatives) and shares.get("people", not shares):
        needed.add("people")
    for name in SOURCES:
        if name in needed and name not in found:
            raise InputError(f"stage {stage.name!r} needs {name}: {HINTS[name]}")
    if not found:
        raise InputError(f"stage {stage.name!r} draws no clips; {HINTS['clips']}")
    (first, mixture), *others = found.items()
    total = shares.get(first, 1.0)
    for name, source in others:
        total += shares.get(name, 1.0)
        mixture = Mixture(mixture, source, 1 - shares.get(name, 1.0) / total)
    return mixture
