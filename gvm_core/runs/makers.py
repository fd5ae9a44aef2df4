"""What makes the mattes of a shot: the networks, or refining of stored mattes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..errors import MediaError, NoSuchFrameError
from ..finishing import Pair, refined
from ..frames import Clip
from ..media import FrameReader, open_frames
from ..media.threads import prefetch
from ..pipeline import MattingPipeline
from ..post.refine import RefineSettings
from .look import looking
from .shot import Frames, Shot, ends_before, input_facts

COLOURED = 0.02
"""Mean difference between the channels of a picture from which it is no grey matte. Lossy video makes grey coloured by
less."""


class Maker(Protocol):
    """Makes the mattes of a shot, for `runs.matte.run_shot`."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def facts(self) -> tuple[object, ...]:
        """All that its mattes depend on, apart from the shot, the device and versions of packages."""
        ...

    def context(self, first: int, last: int | None) -> Frames:
        """The first and last of the frames that the mattes ``first`` to ``last`` depend on."""
        ...

    def mattes(
        self, shot: Shot, frames: Iterable[Tensor], wanted: Frames, pixel_aspect: Fraction
    ) -> AbstractContextManager[Iterator[Clip]]:
        """The mattes of a shot's frames, as clips ``[T, 1, H, W]`` in order, without gaps.

        Args:
            shot: The shot.
            frames: Its frames ``wanted``, ``[3, H, W]`` each, sRGB 0..1.
            wanted: The first and the last frame.
            pixel_aspect: The width of a pixel over its height.
        """
        ...

    def refuse(self, shot: Shot) -> None:
        """Raise `MediaError` if it cannot make the mattes of this shot."""
        ...


class Matting:
    """Mattes by a pipeline.

    Args:
        pipeline: The pipeline.
    """

    def __init__(self, pipeline: MattingPipeline) -> None:
        self.pipeline = pipeline

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.pipeline.host.device

    @property
    def facts(self) -> tuple[object, ...]:
        """Settings, weights and precision."""
        model = self.pipeline.model
        dtypes = [str(network.dtype) for network in (model.unet, model.vae)]
        return (self.pipeline.settings, model.config.refine, model.fingerprint, dtypes, model.compiled)

    def context(self, first: int, last: int | None) -> Frames:
        """The frames of the windows that hold ``first`` to ``last``."""
        return self.pipeline.settings.context(first, last)

    @contextmanager
    def mattes(
        self, shot: Shot, frames: Iterable[Tensor], wanted: Frames, pixel_aspect: Fraction
    ) -> Generator[Iterator[Clip], None, None]:
        """See `Maker.mattes`."""
        with looking(shot, self.pipeline, *wanted) as regions:
            clips = self.pipeline.stream(frames, wanted[0], regions=regions, pixel_aspect=pixel_aspect)
            with closing(clips):
                yield clips

    def refuse(self, shot: Shot) -> None:
        """Nothing: the networks matte anything."""


class Refining:
    """Stored mattes, refined. No network runs.

    Args:
        stored: The mattes: a video, a picture, a folder or a pattern, as for `open_frames`. A file in colours must have
            alpha, which is then the matte.
        settings: How they are refined. The defaults change nothing: then only the format changes.
        device: Where to compute.
        start: Index of the source's frame that the first matte is for.
    """

    def __init__(
        self, stored: Path, settings: RefineSettings, device: torch.device | None = None, start: int = 0
    ) -> None:
        self.stored, self.settings, self.start = stored, settings, start
        self.device = device or torch.device("cpu")

    @property
    def facts(self) -> tuple[object, ...]:
        """The stored mattes and the settings."""
        return (input_facts(self.stored), self.start, self.settings)

    def context(self, first: int, last: int | None) -> Frames:
        """Chatter depends on some frames before and after."""
        margin = self.settings.margin
        return max(first - margin, self.start, 0), None if last is None else last + margin

    @contextmanager
    def mattes(
        self, shot: Shot, frames: Iterable[Tensor], wanted: Frames, pixel_aspect: Fraction
    ) -> Generator[Iterator[Clip], None, None]:
        """See `Maker.mattes`."""
        del pixel_aspect
        first, last = (None if index is None else index - self.start for index in wanted)
        assert first is not None
        with closing(prefetch(self.read(shot, first, last))) as stored:
            yield refined(self.paired(shot, frames, stored), self.settings, self.device, wanted[0])

    def paired(self, shot: Shot, frames: Iterable[Tensor], stored: Iterator[Tensor]) -> Iterator[Pair]:
        """Each frame with its matte. There may be more mattes than frames."""
        for frame in frames:
            if (matte := next(stored, None)) is None:
                raise MediaError(self.too_few(shot, None))
            yield frame, matte

    def read(self, shot: Shot, first: int, last: int | None) -> Generator[Tensor, None, None]:
        """The stored mattes ``first`` to ``last``, ``[1, H, W]`` each."""
        alpha = self.in_alpha(shot)
        try:
            with self.open(shot, first, last, alpha=alpha) as reader:
                for picture in reader:
                    yield picture[3:] if alpha else picture.mean(dim=0, keepdim=True).clamp(0, 1)
        except NoSuchFrameError as error:  # of the mattes, not of the source
            raise MediaError(self.too_few(shot, error.count)) from error

    def open(self, shot: Shot, first: int = 0, last: int | None = None, *, alpha: bool = False) -> FrameReader:
        """A reader for the stored mattes, which treats gaps and damage as that of the source."""
        return open_frames(self.stored, first, last, alpha=alpha, gaps=shot.gaps, strict=shot.strict)

    def in_alpha(self, shot: Shot) -> bool:
        """Whether the mattes are the file's alpha: its first picture has colours.

        Raises:
            MediaError: If there is no picture, or it has colours but no alpha.
        """
        with self.open(shot, 0, 0) as reader:
            (picture,) = reader
            coloured = bool((picture.amax(dim=0) - picture.amin(dim=0)).mean() > COLOURED)
            if coloured and not reader.has_alpha:
                raise MediaError(
                    f"{self.stored} is no matte: it has colours, and no alpha. A matte is grey, white where the subject is"
                )
            return coloured

    def refuse(self, shot: Shot) -> None:
        """Raise `MediaError` if the mattes cannot be read, or have another size or number than the frames."""
        if shot.first < self.start:
            raise MediaError(
                f"the first matte is for frame {self.start}, so there is none for frame {shot.first}: choose the frames "
                f"{self.start}-, or another start of the mattes"
            )
        with ExitStack() as stack:
            at = shot.first - self.start
            matte = next(stack.enter_context(closing(self.read(shot, at, at))))
            reader = stack.enter_context(shot.open(shot.first, shot.first))
            (frame,) = reader
            if frame.shape[1:] != matte.shape[1:]:
                (height, width), (rows, columns) = frame.shape[1:], matte.shape[1:]
                raise MediaError(
                    f"the frames of {shot.source} are {width}x{height}, but the mattes in {self.stored} are "
                    f"{columns}x{rows}; both must have the same size"
                )
        if shot.last == shot.first:
            return
        with self.open(shot) as mattes:
            if ends_before(mattes, self.start, shot):
                raise MediaError(self.too_few(shot, mattes.counted()))

    def too_few(self, shot: Shot, count: int | None) -> str:
        """A sentence for ``count`` mattes."""
        return (
            f"{self.stored} has {'' if count is None else f'{count} '}mattes, fewer than {shot.source} has frames from "
            f"{self.start} on: choose fewer frames, or give a matte for each"
        )
