"""What a run writes: its outputs and their formats, and how a frame and its matte become a frame of an output."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..atomic import LONGEST_NAME, short_name
from ..errors import InputError
from ..media import FrameReader
from ..media.colours import LINEAR, RGB, SRGB, ColourTags
from ..media.exr_writer import writer_version
from ..media.formats import Format
from ..media.sequence import is_pattern, numbered
from ..media.timecode import Labels
from ..post.color import linear_to_srgb, srgb_to_linear
from ..post.composite import checker, over, premultiply
from ..post.foreground import ForegroundSettings
from ..post.light import Light
from ..post.views import stacked

PLAIN = Labels(colour=ColourTags(transfer=SRGB, matrix=RGB))
"""What frames say that are sRGB."""
Role = Literal["matte", "preview", "review", "subject"]
Association = Literal["straight", "premultiplied"]
"""Whether colours are multiplied by alpha."""
FIRST = 1001
"""Number of the first picture where a pattern is given, as is usual in visual effects."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How the outputs of a run are written.

    Attributes:
        format: Name of the matte's format, a key of `FORMATS`; None chooses it by the suffix.
        subject_format: The same for the subject.
        alpha: The subject's colours are "straight", or "premultiplied" by alpha; None takes what is usual for the format.
        linear: Write the subject in linear light; None does so for EXR. Otherwise its numbers are the source's own.
        colours: "foreground" writes the subject's own colours, estimated without the old background; "plate" writes the
            colours of the source, which have a halo before another background.
        foreground: How the subject's own colours are estimated, and what spill is removed.
        compression: Compression of EXR; None for ZIP.
        start: Number of the first frame in names with a pattern, such as ``shot.####.exr``.

    Raises:
        InputError: If a value is not one of these.
    """

    format: str | None = None
    subject_format: str | None = None
    alpha: Association | None = None
    linear: bool | None = None
    colours: Literal["foreground", "plate"] = "foreground"
    foreground: ForegroundSettings = field(default_factory=ForegroundSettings)
    compression: str | None = None
    start: int = FIRST

    def __post_init__(self) -> None:
        if self.alpha not in ("straight", "premultiplied", None):
            raise InputError(f"alpha must be 'straight' or 'premultiplied', got {self.alpha!r}")
        if self.colours not in ("foreground", "plate"):
            raise InputError(f"colours must be 'foreground' or 'plate', got {self.colours!r}")
        if self.start < 0:
            raise InputError(f"the number of the first frame must be at least 0, got {self.start}")

    @property
    def margin(self) -> int:
        """Number of frames before and after a frame that the subject's colours depend on."""
        return self.foreground.margin if self.colours == "foreground" else 0


@dataclass(frozen=True)
class Output:
    """One output of a run.

    Attributes:
        role: "matte", "preview" (the subject over a checkerboard), "review" (for a player; see `post.views.stacked`), or
            "subject" (its colours with alpha).
        path: A video, a folder of pictures, a pattern for pictures, or a single picture.
        form: Its format.
        alpha: "straight" or "premultiplied", for a subject; else empty.
        linear: Whether a subject is in linear light.
        start: Number of frame 0, if ``path`` is a pattern.
    """

    role: Role
    path: Path
    form: Format
    alpha: str = ""
    linear: bool = False
    start: int = FIRST

    @property
    def is_video(self) -> bool:
        """Whether it is one file for all frames."""
        return self.form.kind == "video"

    @property
    def is_picture(self) -> bool:
        """Whether it is a single picture, not a folder of pictures."""
        named = self.path.suffix.lower() == self.form.suffix and not is_pattern(self.path)
        return not self.is_video and named and not self.path.is_dir()

    @property
    def is_sequence(self) -> bool:
        """Whether it is a folder of pictures, or a pattern for them: more than one file."""
        return not self.is_video and not self.is_picture

    @property
    def folder(self) -> Path:
        """Where its pictures are."""
        return self.path.parent if is_pattern(self.path) else self.path

    @property
    def part(self) -> str:
        """Its name in each part of a run: that of a file, or of a folder of pictures."""
        return f"{self.role}{self.form.part_suffix}"

    @property
    def facts(self) -> tuple[object, ...]:
        """All that its bytes depend on, apart from the source: everything but where it is."""
        name = self.path.suffix if self.folder == self.path else self.path.name
        writer = writer_version(self.form.options["compression"]) if self.form.encoder == "exr" else ""
        return (self.role, name, self.form, self.alpha, self.linear, self.start, writer)

    def names(self, reader: FrameReader | Given) -> Callable[[int], str]:
        """The name of the picture of frame ``i``, without suffix: by the pattern, or as the source's, if not too long."""
        if self.folder != self.path:
            return numbered(self.path.name, self.start)

        def name(index: int) -> str:
            base, dot, number = reader.names(index).rpartition(".")
            rest = f"{dot}{number}{self.form.suffix}"
            return short_name(base, LONGEST_NAME - len(os.fsencode(rest))) + dot + number

        return name

    def labels(self, source: Labels, light: Light) -> Labels:
        """What it says about its frames.

        Args:
            source: What the source says.
            light: The light of the source's frames.
        """
        if self.role != "subject":
            return source.of_mattes
        shown = "linear" if self.linear else "srgb" if light.transfer == "linear" else light.transfer
        colour = source.colour
        if self.linear != (light.transfer == "linear"):
            colour = ColourTags(colour.primaries, LINEAR if self.linear else SRGB, RGB)
        return replace(source, colour=colour, alpha=self.alpha, light=shown, chromaticities=light.primaries)

    def frame(self, plate: Tensor, subject: Tensor, light: Light) -> Tensor:
        """One frame of this output.

        Args:
            plate: The source's frame ``[3, H, W]``, in its own light.
            subject: Its alpha ``[1, H, W]``, or the subject's colours in the light of the plate and alpha ``[4, H, W]``.
            light: The light of the plate.

        Returns:
            A matte ``[1, H, W]``, a picture ``[3, H, W]`` in sRGB, or a subject ``[4, H, W]``.
        """
        alpha, colour = subject[-1:], subject[:3] if len(subject) > 1 else plate
        if self.role == "matte":
            return alpha
        if self.role == "review":
            return stacked(light.to_srgb(plate)[None], alpha[None])[0]
        if self.role == "preview":
            return over(light.to_srgb(colour), alpha, checker(*alpha.shape[-2:]))
        if self.linear:
            colour = light.to_linear(colour)
        elif light.transfer == "linear":
            colour = linear_to_srgb(colour)
        return torch.cat([premultiply(colour, alpha) if self.alpha == "premultiplied" else colour, alpha])


@dataclass(frozen=True)
class Given:
    """Frames from memory, in place of a reader: what is known of them.

    Attributes:
        rate: Frames per second.
        count: Number of frames.
        name: What pictures are called that have no pattern.
        labels: What outputs repeat: pixel aspect, timecode, reel.
        light: The light of the frames.
    """

    rate: Fraction
    count: int
    name: str = "frame"
    labels: Labels = PLAIN
    light: Light = Light()
    first: int = 0

    @property
    def time_base(self) -> Fraction:
        """The unit of `times`, in seconds."""
        return 1 / self.rate

    @property
    def times(self) -> range:
        """The time of each frame."""
        return range(self.count)

    @property
    def names(self) -> Callable[[int], str]:
        """The name of frame ``i``."""
        return lambda index: f"{self.name}.{index:06d}"


def encoded(frame: Tensor, light: Light) -> Tensor:
    """A frame in a light that the eye finds even, in which colours are estimated: linear light becomes sRGB, unclamped."""
    return linear_to_srgb(frame) if light.transfer == "linear" else frame


def decoded(colours: Tensor, plates: Sequence[Tensor], light: Light) -> Tensor:
    """Colours ``[T, 3, H, W]`` that were estimated in `encoded` frames, in the light of the plates ``[3, H, W]`` again.

    Where the estimate left a value as it was, it is the plate's own, to the bit.
    """
    if light.transfer != "linear":
        return colours
    linear = srgb_to_linear(colours)
    pairs = zip(colours, linear, plates, strict=True)
    return torch.stack([torch.where(made == encoded(plate, light), plate, back) for made, back, plate in pairs])


def next_version(paths: Sequence[Path]) -> list[Path]:
    """``paths`` with the first version that none of them has yet: ``shot_v001.mov``, then ``shot_v002.mov``.

    Example:
        >>> [path.name for path in next_version([Path("nowhere/shot.mov"), Path("nowhere/plate.####.exr")])]
        ['shot_v001.mov', 'plate_v001.####.exr']
    """
    parts = [re.fullmatch(r"(.*?)(?:_v\d{3})?((?:\.(?:#+|%0?\d*d))?(?:\.[^.]*)?)", path.name) for path in paths]
    names = [found.groups() for found in parts if found]  # every name matches

    def taken(mark: str) -> bool:
        beside = [(path.parent, base) for path, (base, _) in zip(paths, names, strict=True) if path.parent.is_dir()]
        return any(
            re.match(rf"{re.escape(base + mark)}(\.|$)", each.name)
            for folder, base in beside
            for each in folder.iterdir()
        )

    mark = next(mark for mark in (f"_v{number:03}" for number in count(1)) if not taken(mark))
    return [path.with_name(f"{base}{mark}{rest}") for path, (base, rest) in zip(paths, names, strict=True)]
