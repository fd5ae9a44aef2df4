"""`Clip`: consecutive frames that know their place in the video."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .errors import InputError


@dataclass(frozen=True, slots=True)
class Clip:
    """Consecutive frames of a video, whatever a frame is at this stage: pixels, latents or alpha.

    Attributes:
        data: ``[T, C, H, W]``, at least one frame.
        start: Index of the first frame in the whole video.

    Example:
        >>> import torch
        >>> clip = Clip(torch.zeros(4, 3, 8, 8), start=10)
        >>> len(clip), clip.stop, clip[12:14].start
        (4, 14, 12)
    """

    data: Tensor
    start: int = 0

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
        return Clip(self.data[first - self.start : last - self.start], first)

    def replace(self, data: Tensor) -> Clip:
        """The same frames as other data: one entry per frame, same place."""
        if len(data) != len(self):
            raise InputError(f"{len(self)} frames cannot become {len(data)}")
        return Clip(data, self.start)
