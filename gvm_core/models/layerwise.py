"""Runs the VAE layer by layer in less memory, with the same result.

Run at once, a window's activations need several times the memory of the largest of them. Here only the largest is held
whole. A layer over space needs no other frame, and a layer over time needs no other pixel. So each layer works through
the frames or rows piece by piece, and overwrites its input. Normalisations first gather statistics from all pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Slicing:
    """How much is computed at once. It changes memory and time, never the result.

    Attributes:
        name: Name in the log.
        frames: Frames that a layer over space computes at once.
        rows: Rows of every frame that a layer over time computes at once.
        keep: Keep the values between two convolutions over time. If False, compute them twice, in half the memory.
        bands: Rows that a layer over space computes at once; None for whole frames.
        spill: Keep activations in host memory, and move only what is being computed to the device.
    """

    name: str = ""
    frames: int = 1
    rows: int = 32
    keep: bool = True
    bands: int | None = None
    spill: bool = False


BY_ROWS = Slicing("row by row", rows=16, keep=False, bands=64)
IN_HOST_MEMORY = Slicing("row by row, with activations in host memory", rows=16, bands=64, spill=True)

QUERIES = 4096
"""Attention queries computed at once. This keeps the scores small where no fused kernel supports so wide a head."""


class Statistics:
    """Mean and variance of the groups of a normalisation, gathered piece by piece (Chan et al., 1979).

    Args:
        norm: The normalisation. Its weights are copied to the device of the values.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        self.norm = norm
        self.count = 0
        self.mean = self.spread = torch.zeros(norm.num_groups)

    def add(self, values: Tensor) -> None:
        """Add the values of a piece ``[1, C, ...]``."""
        grouped = values.reshape(self.norm.num_groups, -1).to(precision_of_sums(values))
        variance, mean = torch.var_mean(grouped, dim=1, correction=0)
        count = grouped.shape[1]
        total = self.count + count
        before = self.mean.to(mean)
        step = mean - before
        self.mean = before + step * (count / total)
        self.spread = self.spread.to(mean) + variance * count + step.square() * (self.count * count / total)
        self.count = total

    def activate(self, values: Tensor) -> Tensor:
        """Normalise a piece ``[1, C, ...]``, then apply SiLU."""
        each = self.norm.num_channels // self.norm.num_groups
        scale = (self.spread / self.count + self.norm.eps).rsqrt()
        shift = -self.mean * scale
        scale, shift = (part.repeat_interleave(each) for part in (scale, shift))
        precise = precision_of_sums(values)
        weight, bias = (part.to(values.device, precise) for part in (self.norm.weight, self.norm.bias))
        scale, shift = scale.to(weight) * weight, shift.to(weight) * weight + bias
        shape = (1, -1, *[1] * (values.ndim - 2))
        normal = torch.addcmul(shift.view(shape), values.to(precise), scale.view(shape))
        return F.silu(normal, inplace=True).to(values.dtype)


def precision_of_sums(values: Tensor) -> torch.dtype:
    """Float32, or the precision of ``values`` if that is higher."""
    return torch.promote_types(values.dtype, torch.float32)


def spans(length: int, each: int) -> Iterator[slice]:
    """Slices that divide ``length`` into pieces of ``each``."""
    return (slice(first, min(first + each, length)) for first in range(0, length, each))


class Layers:
    """Runs an encoder's layers on frames, or a decoder's layers on the frames of one window.

    Args:
        slicing: How much to compute at once.
        device: Where to compute.
    """

    def __init__(self, slicing: Slicing, device: torch.device) -> None:
        self.slicing, self.device = slicing, device
        self.store = torch.device("cpu") if slicing.spill else device

    def encode(self, encoder: Any, images: Tensor) -> Tensor:
        """Pictures ``[N, C, H, W]`` to unscaled moments ``[N, 2c, h, w]``, one picture at a time."""
        return torch.cat([self.encode_frame(encoder, image) for image in images.split(1)])

    def encode_frame(self, encoder: Any, image: Tensor) -> Tensor:
        """A picture ``[1, C, H, W]`` to its unscaled moments ``[1, 2c, h, w]``."""
        frame = self.assembled(image.to(self.store), encoder.conv_in, halo=1)
        for block in encoder.down_blocks:
            for resnet in block.resnets:
                frame = self.spatial_resnet(frame, resnet)
            for halve in block.downsamplers or ():
                frame = self.halved(frame, halve)
        first, *others = encoder.mid_block.resnets
        frame = self.spatial_resnet(frame, first)
        for resnet, attention in zip(others, encoder.mid_block.attentions, strict=False):
            frame = self.spatial_resnet(self.attend(frame, attention), resnet)
        return self.last(frame, encoder)

    def decode(self, decoder: Any, latents: Tensor) -> Tensor:
        """Unscaled latents ``[T, c, h, w]`` to pictures ``[T, C, H, W]``."""
        frames = self.each([latent[None].to(self.store) for latent in latents], decoder.conv_in, halo=1)
        first, *others = decoder.mid_block.resnets
        frames = self.resnet(frames, first)
        for resnet, attention in zip(others, decoder.mid_block.attentions, strict=False):
            frames = [self.attend(frame, attention) for frame in frames]
            frames = self.resnet(frames, resnet)
        enlarge = None  # runs frame by frame together with the next resnet: enlarged frames are the largest
        for block in decoder.up_blocks:
            for resnet in block.resnets:
                frames, enlarge = self.resnet(frames, resnet, enlarge), None
            enlarge = block.upsamplers[0] if block.upsamplers else None
        pictures = torch.cat([self.last(frames.pop(0), decoder) for _ in range(len(frames))])
        return decoder.time_conv_out(pictures.movedim(0, 1)[None])[0].movedim(1, 0)

    def each(self, frames: list[Tensor], layer: Callable[[Tensor], Tensor], halo: int, factor: int = 1) -> list[Tensor]:
        """Run a layer over space on every frame ``[1, C, H, W]``. Empties ``frames``."""
        done: list[Tensor] = []
        while frames:
            if self.slicing.bands is None:
                taken = [frames.pop(0) for _ in range(min(self.slicing.frames, len(frames)))]
                together = taken.pop() if len(taken) == 1 else torch.cat(taken)
                done += layer(together.to(self.device)).to(self.store).split(1)
            else:
                done.append(self.assembled(frames.pop(0), layer, halo, factor))
        return done

    def assembled(self, frame: Tensor, layer: Callable[[Tensor], Tensor], halo: int, factor: int = 1) -> Tensor:
        """Run a layer over space on one frame, band by band, into a new frame."""
        whole: Tensor | None = None
        for rows, result in self.bands(frame, layer, halo, factor):
            if whole is None:
                whole = result.new_empty(1, result.shape[1], factor * frame.shape[2], result.shape[3])
            whole[:, :, rows] = result
        assert whole is not None
        return whole

    def bands(
        self, frame: Tensor, layer: Callable[[Tensor], Tensor], halo: int, factor: int = 1
    ) -> Iterator[tuple[slice, Tensor]]:
        """Run a layer over space on one frame. Yields, for each band, the rows of the result and their values.

        Args:
            frame: ``[1, C, H, W]``.
            layer: Maps a frame to a frame ``factor`` times as large.
            halo: How many rows above and below a band the layer needs. It pads at the frame's borders itself.
            factor: How much the layer enlarges the frame.
        """
        height = frame.shape[2]
        for rows in spans(height, self.slicing.bands or height):
            above, below = min(halo, rows.start), min(halo, height - rows.stop)
            result = layer(frame[:, :, rows.start - above : rows.stop + below].to(self.device))
            inner = result[:, :, factor * above : result.shape[2] - factor * below]
            yield slice(factor * rows.start, factor * rows.stop), inner.to(self.store)

    def resnet(self, frames: list[Tensor], block: Any, enlarge: Callable | None = None) -> list[Tensor]:
        """Run a resnet over space, then a resnet over time. Empties ``frames``."""
        spatial = block.spatial_res_block
        if self.slicing.bands is None:
            frames = self.each(frames, lambda frame: spatial(enlarge(frame) if enlarge else frame), halo=2)
        else:
            frames = [self.spatial_resnet(frames.pop(0), spatial, enlarge) for _ in range(len(frames))]
        self.temporal_resnet(frames, block)
        return frames

    def statistics(self, frame: Tensor, norm: nn.GroupNorm) -> Statistics:
        """The statistics of one frame, band by band."""
        gathered = Statistics(norm)
        for rows in spans(frame.shape[2], self.slicing.bands or frame.shape[2]):
            gathered.add(frame[:, :, rows].to(self.device))
        return gathered

    def spatial_resnet(self, frame: Tensor, block: Any, enlarge: Callable | None = None) -> Tensor:
        """Run a resnet over space on one frame, band by band. May overwrite ``frame``."""
        if enlarge:
            frame = self.assembled(frame, enlarge, halo=1, factor=2)
        norm = self.statistics(frame, block.norm1)
        hidden = self.assembled(frame, lambda band: block.conv1(norm.activate(band)), halo=1)
        if block.conv_shortcut is not None:
            frame = self.assembled(frame, block.conv_shortcut, halo=0)
        norm = self.statistics(hidden, block.norm2)
        for rows, change in self.bands(hidden, lambda band: block.conv2(norm.activate(band)), halo=1):
            frame[:, :, rows] += change
        return frame

    def temporal_resnet(self, frames: list[Tensor], block: Any) -> None:
        """Run a block's resnet over time on ``frames`` in place, a few rows at a time."""
        temporal = block.temporal_res_block
        rows = [*spans(frames[0].shape[2], self.slicing.rows)]
        before, between = Statistics(temporal.norm1), Statistics(temporal.norm2)
        for span in rows:
            before.add(self.across(frames, span))
        hidden = lambda span: temporal.conv1(before.activate(self.across(frames, span)))  # noqa: E731
        kept: list[Tensor] = []
        for span in rows:
            found = hidden(span)
            between.add(found)
            if self.slicing.keep:
                kept.append(found.to(self.store))
        # The layers over time read only the span's own rows, so they can be overwritten before the other spans.
        for span in rows:
            found = kept.pop(0).to(self.device) if kept else hidden(span)
            change = temporal.conv2(between.activate(found))
            for frame, part in zip(frames, change.to(self.store).unbind(2), strict=True):
                frame[:, :, span] += part

    def across(self, frames: list[Tensor], rows: slice) -> Tensor:
        """The given rows of all frames, ``[1, C, T, rows, W]``, on the device."""
        return torch.stack([frame[:, :, rows] for frame in frames], dim=2).to(self.device)

    def attend(self, frame: Tensor, attention: Any) -> Tensor:
        """Attention over one frame, `QUERIES` pixels at a time; each pixel sees the whole frame."""
        return attention(frame.to(self.device), QUERIES).to(self.store)

    def last(self, frame: Tensor, network: Any) -> Tensor:
        """The last layers over space of an encoder or decoder: ``[1, C, H, W]`` to its output, on the device."""
        if self.slicing.bands is None:
            return network.conv_out(F.silu(network.conv_norm_out(frame.to(self.device))))
        norm = self.statistics(frame, network.conv_norm_out)
        return self.assembled(frame, lambda band: network.conv_out(norm.activate(band)), halo=1).to(self.device)

    def halved(self, frame: Tensor, halve: Callable[[Tensor], Tensor]) -> Tensor:
        """Run a convolution with stride 2, band by band. Output row ``y`` needs the input rows ``2y`` to ``2y + 2``."""
        height = frame.shape[2]
        pieces = [
            halve(frame[:, :, 2 * rows.start : min(2 * rows.stop + 1, height)].to(self.device)).to(self.store)
            for rows in spans(height // 2, self.slicing.bands or height)
        ]
        return torch.cat(pieces, dim=2)
