"""Where a stage's clips come from: drawn, the user's, or both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ..errors import InputError
from .config import Stage
from .dataset import ClipPool, Source, drawn_layers
from .labelled import LabelledSource, Mixture
from .pairs import LabelledClip


def stage_source(
    stage: Stage,
    pools: Path,
    labelled: list[LabelledClip],
    photographs: tuple[Tensor, ...] = (),
    progress: Callable[[int], None] | None = None,
) -> Source:
    """The source of ``stage``'s batches.

    Args:
        stage: Says which clips to draw, if any.
        pools: Folder where drawn clips are kept.
        labelled: The user's clips; with drawn ones as well, each makes half of a batch.
        photographs: For the backgrounds of drawn clips.
        progress: Called with the number of clips drawn so far.

    Raises:
        InputError: If the stage draws none and there are none.
    """
    own = LabelledSource(labelled, max(stage.sizes), stage.closest) if labelled else None
    if stage.clips is None:
        if own is None:
            raise InputError(f"stage {stage.name!r} draws no clips; name a folder of clips with mattes with --clips")
        return own
    drawn = ClipPool(drawn_layers(pools, stage.clips, progress), photographs, stage.closest)
    return Mixture(drawn, own) if own else drawn
