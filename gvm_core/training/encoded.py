"""Encodes clips to latents for the UNet, batch by batch or all in advance."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..datasets.arrays import write_arrays
from ..datasets.batch import Batch, Source
from ..models.vae import TemporalVAE
from ..progress import Progress
from .config import Stage

log = logging.getLogger(__name__)

LATENTS = ("known", "wanted")
TOGETHER = 64
"""Frames that are encoded together and stored in one file."""


class EncodedBatch(NamedTuple):
    """The latents of a batch, and the batch itself.

    Attributes:
        known: Latents of the pictures ``[B, T, C, h, w]``.
        wanted: Latents of the mattes ``[B, T, C, h, w]``.
        images: The pictures ``[B, T, 3, H, W]``, sRGB 0..1.
        alpha: The mattes ``[B, T, 1, H, W]``, 0..1.
        confidence: ``[B, T, 1, H, W]``: 1 where the matte is known, 0 where it is not.
    """

    known: Tensor
    wanted: Tensor
    images: Tensor
    alpha: Tensor
    confidence: Tensor

    def to(self, device: torch.device) -> EncodedBatch:
        """The batch on ``device``."""
        return EncodedBatch(*(part.to(device, non_blocking=True) for part in self))


@torch.no_grad()
def encode_batch(vae: TemporalVAE, batch: Batch) -> EncodedBatch:
    """Encode a batch's pictures and mattes."""
    clips = torch.cat([batch.images, batch.alpha.expand(-1, -1, 3, -1, -1)]) * 2 - 1
    known, wanted = vae.encode(clips.flatten(0, 1)).float().unflatten(0, clips.shape[:2]).chunk(2)
    return EncodedBatch(known, wanted, *batch)


def checksum(tensors: Iterable[Tensor], value: int = 0) -> int:
    """A checksum of the values of ``tensors``; ``value`` is that of what comes before them."""
    for tensor in tensors:
        value = zlib.crc32(tensor.detach().cpu().contiguous().numpy().tobytes(), value)
    return value


class EncodedClips:
    """``stage.encoded`` clips, composed and encoded once, because encoding takes most of a small UNet's step.

    They are stored in several files. A run that was stopped resumes with the first missing file.

    Args:
        folder: Where the clips are stored between runs. Another encoder or other clips use other file names.
        vae: The encoder.
        source: Where the clips come from.
        stage: Says how many clips, and their size and length.
        seed: Seed of the compositions.
        dtype: Precision of the encoding.
    """

    def __init__(
        self, folder: Path, vae: TemporalVAE, source: Source, stage: Stage, seed: list[int], dtype: torch.dtype
    ) -> None:
        self.parts: dict[int, dict[str, np.ndarray]] = {}
        self.vae, self.source, self.frames, self.dtype = vae, source, stage.frames, dtype
        for size in sorted(set(stage.sizes)):
            count = stage.encoded // len(set(stage.sizes))
            example = source.batch(1, size, stage.frames, np.random.default_rng([*seed, size]))
            value = zlib.crc32(f"{vae.scaling_factor} {EncodedBatch._fields}".encode())
            these = (*vae.encoder.parameters(), *vae.quant_conv.parameters(), *example)
            name = f"encoded_{count}x{stage.frames}x{size}_{checksum(these, value):08x}"
            self.parts[size] = self.collected(folder / name, count, size, [*seed, size])

    def collected(self, folder: Path, count: int, size: int, seed: list[int]) -> dict[str, np.ndarray]:
        """``count`` clips of ``size`` pixels, read from ``folder``. Missing clips are made and stored there first."""
        folder.mkdir(parents=True, exist_ok=True)
        each = max(TOGETHER // self.frames, 1)
        paths = {first: folder / f"{first:06}.npz" for first in range(0, count, each)}
        missing = [first for first, path in paths.items() if not path.exists()]

        def composed(first: int) -> Batch:
            random = np.random.default_rng([*seed, first])
            return self.source.batch(min(each, count - first), size, self.frames, random)

        progress = Progress(count, "clips", shown=False)
        progress.count(count - sum(min(each, count - first) for first in missing), before=True)
        with ThreadPoolExecutor(1) as ahead:  # composes the next batch while this one is encoded
            waiting = [ahead.submit(composed, first) for first in missing[:1]]
            for number, first in enumerate(missing):
                batch = waiting.pop().result()
                waiting = [ahead.submit(composed, later) for later in missing[number + 1 : number + 2]]
                write_arrays(paths[first], self.encoded(batch))
                progress.count(len(batch.images))
                log.info("encoding clips of %d frames at %d px: %s", self.frames, size, progress.text)
        loaded = [dict(np.load(path)) for path in paths.values()]
        return {name: np.concatenate([part[name] for part in loaded]) for name in EncodedBatch._fields}

    def encoded(self, batch: Batch) -> dict[str, np.ndarray]:
        """A batch in the stored format: latents in half precision, the rest as bytes."""
        device = next(self.vae.parameters()).device
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            latents = encode_batch(self.vae, batch.to(device))
        return {
            name: (part.half() if name in LATENTS else (part * 255).round().byte()).cpu().numpy()
            for name, part in latents._asdict().items()
        }

    def batch(self, count: int, size: int, frames: int, random: np.random.Generator) -> EncodedBatch:
        """``count`` clips of ``size`` pixels. ``frames`` is ignored: the clips have the length they were made with."""
        del frames
        parts = self.parts[size]
        picked = random.integers(len(parts["known"]), size=count)
        return EncodedBatch(*(
            torch.from_numpy(parts[name][picked]).float() / (1 if name in LATENTS else 255)
            for name in EncodedBatch._fields
        ))  # fmt: skip
