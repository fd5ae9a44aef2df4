"""Clips as the UNet sees them: latents of pictures and mattes, encoded as they come or beforehand."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..models.vae import TemporalVAE
from .config import Stage
from .dataset import Batch, Source

log = logging.getLogger(__name__)

LATENTS = ("known", "wanted")


class EncodedBatch(NamedTuple):
    """Latents, and what they were encoded from.

    Attributes:
        known: Latents of the pictures ``[B, T, C, h, w]``.
        wanted: Latents of the mattes, the same shape.
        images: The pictures ``[B, T, 3, H, W]``, sRGB 0..1.
        alpha: The mattes ``[B, T, 1, H, W]``, 0..1.
        confidence: The same shape: 1 where the matte is known, 0 where it is not.
    """

    known: Tensor
    wanted: Tensor
    images: Tensor
    alpha: Tensor
    confidence: Tensor

    def to(self, device: torch.device) -> EncodedBatch:
        """The same on ``device``."""
        return EncodedBatch(*(part.to(device, non_blocking=True) for part in self))


@torch.no_grad()
def encode_batch(vae: TemporalVAE, batch: Batch) -> EncodedBatch:
    """Encode a batch's pictures and mattes."""
    clips = torch.cat([batch.images, batch.alpha.expand(-1, -1, 3, -1, -1)]) * 2 - 1
    known, wanted = vae.encode(clips.flatten(0, 1)).float().unflatten(0, clips.shape[:2]).chunk(2)
    return EncodedBatch(known, wanted, *batch)


def checksum(vae: TemporalVAE, batch: Batch) -> int:
    """Differs where the encoder, the clips, or what is kept of them do."""
    value = zlib.crc32(f"{vae.scaling_factor} {EncodedBatch._fields}".encode())
    for tensor in (*vae.encoder.parameters(), *vae.quant_conv.parameters(), *batch):
        value = zlib.crc32(tensor.detach().cpu().contiguous().numpy().tobytes(), value)
    return value


class EncodedClips:
    """``stage.encoded`` clips, composed and encoded once: encoding is most of what a small UNet's step costs.

    Args:
        folder: Where they are kept between runs, until the encoder or the clips are others.
        vae: Encodes.
        source: Where clips come from.
        stage: How many, how large, how long.
        seed: Seeds the compositions.
        dtype: Precision of the encoding.
    """

    def __init__(
        self, folder: Path, vae: TemporalVAE, source: Source, stage: Stage, seed: list[int], dtype: torch.dtype
    ) -> None:
        self.parts: dict[int, dict[str, np.ndarray]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for size in sorted(set(stage.sizes)):
            count = stage.encoded // len(set(stage.sizes))
            example = source.batch(1, size, stage.frames, np.random.default_rng([*seed, size]))
            path = folder / f"encoded_{count}x{stage.frames}x{size}_{checksum(vae, example):08x}.npz"
            if not path.exists():
                log.info("encoding %d clips of %d frames at %d px", count, stage.frames, size)
                encoded = self.encode(vae, source, count, size, stage.frames, [*seed, size], dtype)
                part = path.with_suffix(".part.npz")
                np.savez(part, allow_pickle=False, **encoded)
                part.rename(path)
            with np.load(path) as file:
                self.parts[size] = {name: file[name] for name in file}

    @staticmethod
    def encode(
        vae: TemporalVAE, source: Source, count: int, size: int, frames: int, seed: list[int], dtype: torch.dtype
    ) -> dict[str, np.ndarray]:
        """Latents in half precision, the rest as bytes."""
        device = next(vae.parameters()).device
        collected: dict[str, list[np.ndarray]] = {name: [] for name in EncodedBatch._fields}
        for first in range(0, count, 8):
            random = np.random.default_rng([*seed, first])
            batch = source.batch(min(8, count - first), size, frames, random).to(device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                latents = encode_batch(vae, batch)
            for name, part in latents._asdict().items():
                kept = part.half() if name in LATENTS else (part * 255).round().byte()
                collected[name].append(kept.cpu().numpy())
        return {name: np.concatenate(pieces) for name, pieces in collected.items()}

    def batch(self, count: int, size: int, frames: int, random: np.random.Generator) -> EncodedBatch:
        """``count`` of them, of ``size`` pixels; ``frames`` is theirs."""
        del frames
        parts = self.parts[size]
        picked = random.integers(len(parts["known"]), size=count)
        return EncodedBatch(*(
            torch.from_numpy(parts[name][picked]).float() / (1 if name in LATENTS else 255)
            for name in EncodedBatch._fields
        ))  # fmt: skip
