"""Pseudo-labels: training clips from real footage and rough masks, with a confidence that marks what is reliable.

The masks come from a segmenter, a person or a matting model. Soft and uncertain edges are marked as unreliable. So are
changes of a mask from one frame to the next that the picture's motion does not explain. Frames in which these are much
of the subject are dropped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError, MediaError
from ..host.base import Host
from ..media.sequence import SequenceWriter
from ..metrics import carried
from ..models.weights import MattingModel
from ..pipeline import MattingPipeline
from ..settings import MatteSettings
from .pairs import CONFIDENCE

Labeller = Callable[[Iterable[Tensor]], Iterable[Tensor]]
"""Frames ``[3, H, W]`` (sRGB 0..1) in, a mask or matte ``[1, H, W]`` (0..1) for each out, in order."""


@dataclass(frozen=True)
class Doubt:
    """Which parts of a mask are unreliable.

    Attributes:
        edge: Width of the unreliable band on each side of a mask's edge, as a share of the frame's shorter side.
        soft: Values between this and 1 minus this are unreliable.
        change: The mask is unreliable where it differs by more than this from the previous mask moved with the picture.
        most: A frame is dropped if more than this share of its subject is unreliable because of such changes.
        least: Runs of fewer frames than this are dropped.
    """

    edge: float = 0.01
    soft: float = 0.02
    change: float = 0.25
    most: float = 0.15
    least: int = 8

    def __post_init__(self) -> None:
        if not (0 <= self.edge < 0.5 and 0 <= self.soft < 0.5 and 0 < self.change <= 1 and 0 < self.most <= 1):
            raise InputError("edge and soft must be in 0..0.5, change and most above 0 and at most 1")
        if self.least < 1:
            raise InputError("the least length must be at least 1 frame")


@dataclass(frozen=True)
class LabelledFrame:
    """One frame with its pseudo-label.

    Attributes:
        index: Of the frame in its clip.
        image: ``[3, H, W]``, sRGB 0..1.
        alpha: ``[1, H, W]``, 0..1.
        confidence: ``[1, H, W]``: 1 where alpha is reliable, 0 elsewhere.
        steady: Whether the frame is to be used for training.
    """

    index: int
    image: Tensor
    alpha: Tensor
    confidence: Tensor
    steady: bool


def label_frames(frames: Iterable[Tensor], masks: Iterable[Tensor], doubt: Doubt = Doubt()) -> Iterator[LabelledFrame]:
    """Each frame with its mask as alpha, and a confidence. Holds two frames.

    Raises:
        InputError: If a mask has another size than its frame, or there are fewer of them.
    """
    before: tuple[Tensor, Tensor] | None = None
    given = iter(masks)
    for index, image in enumerate(frames):
        mask = next(given, None)
        if mask is None:
            raise InputError(f"there are only {index} masks for more frames")
        if mask.shape[-2:] != image.shape[-2:]:
            raise InputError(f"frame {index} is {list(image.shape[-2:])} and its mask {list(mask.shape[-2:])}")
        alpha = mask[:1].float().clamp(0, 1)
        confidence = believed(alpha, doubt)
        steady = bool(((alpha > 0.5) & (confidence > 0)).any())  # without a subject: the mask may have missed it
        if before is not None:
            moved, trusted = carried(before[0], image, before[1])
            changed = trusted & ((moved - alpha).abs() > doubt.change)
            confidence = confidence * ~changed
            subject = ((alpha > 0.5) | (moved > 0.5)) & trusted
            steady &= bool(changed.sum() <= doubt.most * subject.sum().clamp(min=1))
        before = image, alpha
        yield LabelledFrame(index, image, alpha, confidence, steady)


def believed(alpha: Tensor, doubt: Doubt) -> Tensor:
    """1 where alpha ``[1, H, W]`` is neither soft nor close to an edge, 0 elsewhere."""
    doubtful = ((alpha > doubt.soft) & (alpha < 1 - doubt.soft)).float()
    inside = (alpha > 0.5).float()
    if reach := round(doubt.edge * min(alpha.shape[-2:])):
        grow = lambda mask: F.max_pool2d(mask[None], 2 * reach + 1, 1, reach)[0]  # noqa: E731
        doubtful = torch.maximum(grow(doubtful), grow(inside) * grow(1 - inside))
    else:
        doubtful = doubtful.clamp(0, 1)
    return 1 - doubtful


def write_labels(folder: Path, name: str, frames: Iterable[LabelledFrame], least: int) -> Iterator[int]:
    """Write every run of at least ``least`` steady frames as a clip ``NAME_0000`` with ``com``, ``pha``, ``conf``.

    A clip is named after its first frame, and renamed to that once it is whole. Yields the number of frames seen.

    Raises:
        MediaError: If a clip of that name is there already.
    """
    stretch: Stretch | None = None
    for frame in frames:
        if frame.steady:
            stretch = stretch or Stretch(folder, f"{name}_{frame.index:04}")
            stretch.write(frame)
        elif stretch:
            stretch.close(least)
            stretch = None
        yield frame.index + 1
    if stretch:
        stretch.close(least)


class Stretch:
    """A clip that is being written, under a hidden name.

    Args:
        folder: Where clips are written.
        name: Of this clip.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.final, self.part = folder / name, folder / f".{name}.part"
        if self.final.exists():
            raise MediaError(f"{self.final} is there already; choose another folder, or remove it")
        if self.part.exists():
            shutil.rmtree(self.part)  # what a stopped run left
        self.writers = {each: SequenceWriter(self.part / each, "{:04}".format) for each in ("com", "pha", CONFIDENCE)}
        self.count = 0

    def write(self, frame: LabelledFrame) -> None:
        """Add a frame."""
        for writer, picture in zip(self.writers.values(), (frame.image, frame.alpha, frame.confidence), strict=True):
            writer.write(picture)
        self.count += 1

    def close(self, least: int) -> None:
        """Rename the clip to its final name, or delete it if it is too short."""
        if self.count >= least:
            self.part.rename(self.final)
        else:
            shutil.rmtree(self.part)


def model_labeller(model: MattingModel, settings: MatteSettings, host: Host) -> Labeller:
    """A matting model as labeller, for footage without masks."""
    pipeline = MattingPipeline(model, settings, host)

    def label(frames: Iterable[Tensor]) -> Iterator[Tensor]:
        for clip in pipeline.stream(frames):
            yield from clip.data

    return label
