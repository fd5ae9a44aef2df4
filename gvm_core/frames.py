"""`Clip`: consecutive frames with their index in the video and, where needed, the original frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from .errors import InputError
from .region import Region


@dataclass(frozen=True, slots=True)
class Original:
    """A frame as it was given, and as the network sees it.

    Attributes:
        pixels: ``[3, H, W]``, sRGB, float32 on the CPU; values outside 0..1 are kept.
        fitted: ``[3, h, w]``, the frame scaled and padded for the network, 0..1.
        region: Where the network looks in the frame; None for everywhere.
    """

    pixels: Tensor
    fitted: Tensor
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """Consecutive frames of a video. Depending on the stage, a frame is pixels, latents or alpha.

    Attributes:
        data: ``[T, C, H, W]``, at least one frame.
        start: Index of the first frame in the whole video.
        originals: The original of each frame in ``data``, for the stages that need it; or empty.

    Example:
        >>> import torch
        >>> clip = Clip(torch.zeros(4, 3, 8, 8), start=10)
        >>> len(clip), clip.stop, clip[12:14].start
        (4, 14, 12)
    """

    data: Tensor
    start: int = 0
    originals: tuple[Original, ...] = ()

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or len(self.data) == 0:
            raise InputError(f"a clip needs frames shaped [T, C, H, W] with T >= 1, got {list(self.data.shape)}")

    def __len__(self) -> int:
        return len(self.data)

    @property
    def stop(self) -> int:
        """Index one past the last frame."""
        return self.start + len(self.data)

    def __getitem__(self, span: slice) -> Clip:
        """The part of this clip between two *absolute* frame indices."""
        first = self.start if span.start is None else span.start
        last = self.stop if span.stop is None else span.stop
        if not self.start <= first < last <= self.stop:
            raise InputError(f"frames {first}..{last} do not lie inside {self.start}..{self.stop}")
        inside = slice(first - self.start, last - self.start)
        return Clip(self.data[inside], first, self.originals[inside])

    def replace(self, data: Tensor) -> Clip:
        """A clip of the same frames with other data, one entry per frame."""
        if len(data) != len(self):
            raise InputError(f"the data of {len(self)} frames cannot be replaced by {len(data)} frames")
        return Clip(data, self.start, self.originals)

    def bare(self) -> Clip:
        """This clip without its originals."""
        return Clip(self.data, self.start)


def as_clips(frames: Iterable[Tensor], first: int = 0) -> Iterator[Clip]:
    """Number frames ``[3, H, W]`` from ``first`` on. Yield each as a clip of one frame, float32 on the CPU.

    Raises:
        InputError: If a frame cannot be matted (the message gives its index), or if there are no frames.
    """
    size = None
    for index, frame in enumerate(frames, start=first):
        check_frame(frame, index)
        size = size or frame.shape[-2:]
        if frame.shape[-2:] != size:
            raise InputError(
                f"frame {index} is {frame.shape[2]}x{frame.shape[1]} pixels but the first was {size[1]}x{size[0]}; "
                "all frames of a clip must have the same size"
            )
        yield Clip(frame.detach().float().cpu()[None], index)
    if size is None:
        raise InputError("there are no frames: the clip or batch is empty")


def check_frame(frame: Tensor, index: int) -> None:
    """Raise `InputError` unless ``frame`` is ``[3, H, W]``, floating point and finite."""
    if not isinstance(frame, Tensor):
        raise InputError(f"frame {index} is a {type(frame).__name__}, not a torch tensor [3, H, W]")
    if frame.ndim != 3:
        raise InputError(f"frame {index} has shape {list(frame.shape)}; a frame is [3, H, W], a video [T, 3, H, W]")
    if frame.shape[0] != 3:
        advice = {1: "repeat it to three channels", 4: "drop or composite its alpha channel first"}
        raise InputError(
            f"frame {index} has {frame.shape[0]} channels, the network takes RGB: "
            f"{advice.get(frame.shape[0], 'give it three channels')} (frames are [3, H, W])"
        )
    if min(frame.shape) < 1:
        raise InputError(f"frame {index} has no pixels: its shape is {list(frame.shape)}")
    if not frame.is_floating_point():
        raise InputError(f"frame {index} is {frame.dtype}; frames are floating point in 0..1 (divide bytes by 255)")
    if not frame.isfinite().all():
        raise InputError(f"frame {index} has NaN or infinite pixels; repair the footage or leave the frame out")
