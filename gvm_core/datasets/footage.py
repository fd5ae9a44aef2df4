"""The user's own subjects composed over backgrounds: exact alpha from keyed or rendered footage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..media import open_frames
from ..media.formats import FILMS
from ..media.sequence import PICTURES, natural, pictures_in
from ..post.composite import over, unpremultiply
from ..synthesis.scene import Frame

FOREGROUND_NAMES = ("fgr", "foreground", "foregrounds", "fg")
ALPHA_NAMES = ("pha", "alpha", "alphas", "matte", "mattes")


@dataclass(frozen=True)
class Subject:
    """One clip of a subject.

    Attributes:
        name: Of its file or folder.
        colour: A file or folder with its colours, straight.
        alpha: A file or folder with its alpha as grey, or None if ``colour`` has an alpha channel.
    """

    name: str
    colour: Path
    alpha: Path | None

    def frames(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Colour ``[3, H, W]``, sRGB, straight, and alpha ``[1, H, W]``, frame by frame."""
        if self.alpha is None:
            with open_frames(self.colour, alpha=True) as both:
                for frame in map(both.shown, both):
                    yield frame[:3], frame[3:]
            return
        with open_frames(self.colour) as colours, open_frames(self.alpha) as alphas:
            # a file may hold a last frame that its twin lacks
            for colour, alpha in zip(map(colours.shown, colours), alphas, strict=False):
                if colour.shape[-2:] != alpha.shape[-2:]:
                    raise InputError(f"{self.colour} and {self.alpha} differ in size")
                yield colour, alpha[:1]


def find_subjects(root: Path) -> list[Subject]:
    """Every subject under ``root``.

    Either ``fgr`` beside ``pha`` (VideoMatte240K's names; ``foreground`` and ``alpha`` do as well), each full of videos,
    or folders of pictures, of the same names; or videos, pictures and folders of pictures with an alpha channel.

    Raises:
        InputError: If there is none, or a foreground has no alpha.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root}")
    for folder in (root, *sorted(path for path in root.rglob("*") if path.is_dir())):
        colours = next((folder / name for name in FOREGROUND_NAMES if (folder / name).is_dir()), None)
        alphas = next((folder / name for name in ALPHA_NAMES if (folder / name).is_dir()), None)
        if colours is not None and alphas is not None:
            by_stem = {stem(path): path for path in media_in(alphas)}
            found = media_in(colours)
            if missing := [path.name for path in found if stem(path) not in by_stem]:
                raise InputError(f"{alphas} holds no alpha for {missing[0]} ({len(missing)} missing)")
            return [Subject(stem(path), path, by_stem[stem(path)]) for path in found]
    found = media_in(root)
    if not found:
        raise InputError(f"{root} holds neither fgr/ beside pha/ nor anything with an alpha channel")
    return [Subject(stem(path), path, None) for path in found]


def stem(path: Path) -> str:
    """The name of a file without its suffix, or of a folder."""
    return path.name if path.is_dir() else path.stem


def media_in(folder: Path) -> list[Path]:
    """The videos, pictures and folders of pictures in ``folder``; numbered pictures in it are one clip: itself."""
    entries = sorted((path for path in folder.iterdir() if path.name[0] != "."), key=natural)
    folders = [path for path in entries if path.is_dir() and pictures_in(path)]
    files = [path for path in entries if path.suffix.lower() in FILMS | PICTURES and path.is_file()]
    pictures = [path for path in files if path.suffix.lower() in PICTURES]
    numbered = len(pictures) > 1 and all(path.stem[-1:].isdigit() for path in pictures)
    if numbered and len(pictures) == len(files) and not folders:
        return [folder]
    return [*folders, *files]


def background_frames(path: Path, size: tuple[int, int]) -> Iterator[Tensor]:
    """``path``'s frames ``[3, H, W]``, sRGB, scaled to cover ``size``, cropped to its middle, repeated without end."""
    while True:
        with open_frames(path) as reader:
            for frame in map(reader.shown, reader):
                yield cover(frame, size).clamp(0, 1)


def cover(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """``frame`` ``[3, H, W]`` scaled until it covers ``size``, and cropped to its middle."""
    height, width = frame.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    large = [max(round(height * scale), size[0]), max(round(width * scale), size[1])]
    scaled = F.interpolate(frame[None], large, mode="bilinear", antialias=True, align_corners=False)[0]
    top, left = (large[0] - size[0]) // 2, (large[1] - size[1]) // 2
    return scaled[:, top : top + size[0], left : left + size[1]]


def composite_frames(subject: Subject, background: Path, size: tuple[int, int] | None, frames: int) -> Iterator[Frame]:
    """A subject over a background, at most ``frames`` frames.

    Args:
        subject: From `find_subjects`.
        background: A video, a picture or a folder of pictures; it starts over if it is shorter.
        size: Height and width; None keeps the subject's.
        frames: The most frames; fewer if the subject has fewer.
    """
    opening = subject.frames()
    first = next(opening)
    size = size or (first[0].shape[1], first[0].shape[2])
    behind = background_frames(background, size)
    for (colour, alpha), back in zip(islice(chain([first], opening), frames), behind, strict=False):
        # Premultiplied while it is scaled: colours where alpha is 0 must not bleed in.
        layers = cover(torch.cat([colour * alpha, alpha]), size)
        cut = layers[3:].clamp(0, 1)
        straight = unpremultiply(layers[:3], cut).clamp(0, 1)
        yield Frame(over(straight, cut, back), cut, straight, back)


def pair_up(subjects: list[Subject], backgrounds: list[Path], clips: int, seed: int) -> list[tuple[Subject, Path]]:
    """``clips`` pairs, all different if there are enough; no subject is used again before all were used."""
    random = np.random.default_rng(seed)
    pairs: list[tuple[Subject, Path]] = []
    while len(pairs) < clips:
        for subject in random.permutation(len(subjects)).tolist():
            unused = [path for path in backgrounds if (subjects[subject], path) not in pairs] or backgrounds
            pairs.append((subjects[subject], unused[random.integers(len(unused))]))
    return pairs[:clips]
