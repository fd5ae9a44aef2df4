"""Writing clips with their layers to folders of pictures, in the usual layout of test sets for video matting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..media.sequence import SequenceWriter
from .degrade import Degradation
from .scene import Frame

LAYERS = {"com": "image", "pha": "alpha", "fgr": "foreground", "bgr": "background"}
"""Folders and the layers they receive."""


def write_clip(folder: Path, frames: Iterable[Frame], degrade: float = 0.0, seed: int = 0) -> Iterator[int]:
    """Write every frame's layers as 16-bit PNGs: ``com/0000.png`` and so on; yields each index once it is written.

    Args:
        folder: Of the clip; its layers' folders must be empty.
        frames: The frames to write.
        degrade: Strength of `Degradation`, which is applied to the composite only.
        seed: Of the degradation.

    Raises:
        MediaError: If something is there already.
    """
    worse = Degradation(np.random.default_rng(seed), degrade)
    with ExitStack() as stack:
        names = "{:04}".format
        writers = {layer: stack.enter_context(SequenceWriter(folder / name, names)) for name, layer in LAYERS.items()}
        for index, frame in enumerate(frames):
            for layer, writer in writers.items():
                picture = getattr(frame, layer)
                writer.write(worse(picture, index) if layer == "image" and degrade else picture)
            yield index
