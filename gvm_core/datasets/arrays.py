"""Files of arrays in which cut-outs, drawn figures and latents are kept between runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..atomic import atomic


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write ``arrays`` to ``path``, whole or not at all."""
    with atomic(path) as part:
        np.savez(part, allow_pickle=False, **arrays)
