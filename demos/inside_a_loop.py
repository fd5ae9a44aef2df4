"""Use the core inside your own program: frames from any iterator, progress, and a way to stop.

    python demos/inside_a_loop.py [SECONDS]    # stop after that time; 60 if left out

Here the frames are drawn while the program runs. They could also come from a camera or another program. The number of
frames need not be known, and only a window of them is in memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from gvm_core import Clip, MatteSettings, MattingPipeline, TorchHost, WindowPlan, load_model


class MyHost(TorchHost):
    """A host that shows progress, and stops when the time is up. A stop button could do the same."""

    def __init__(self, seconds: float) -> None:
        super().__init__("cpu")
        self.end = time.monotonic() + seconds

    def check_cancelled(self) -> None:
        """Stop by raising. The pipeline calls this before every call of a network."""
        if time.monotonic() > self.end:
            raise TimeoutError

    def advance(self, alpha: Clip) -> None:
        """Report progress. The pipeline calls this with every finished clip of mattes."""
        print(f"frames {alpha.start} to {alpha.start + len(alpha) - 1} are done", flush=True)


def frames(count: int, size: int = 128) -> Iterator[Tensor]:
    """A disc that moves in front of a gradient: ``[3, H, W]``, sRGB, 0..1."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    for index in range(count):
        inside = ((x - 0.02 * index + 0.3) ** 2 + y**2 < 0.3).float()
        background = torch.stack([0.3 + 0.2 * x, 0.5 + 0.2 * y, 0.6 - 0.1 * x])
        yield torch.tensor([0.8, 0.6, 0.5])[:, None, None] * inside + background * (1 - inside)


def main() -> None:
    """Matte the frames, and use each matte."""
    settings = MatteSettings(plan=WindowPlan(length=8, overlap=2))
    host = MyHost(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
    try:
        for clip in MattingPipeline(load_model("small"), settings, host).stream(frames(16)):
            for alpha in clip.data:  # [1, H, W], 0..1
                print(f"  the subject covers {float(alpha.mean()):.0%} of the frame")
    except TimeoutError:
        print("stopped: the time is up")


if __name__ == "__main__":
    main()
