"""What to matte and what should come out: clips drawn from seeds, and folders of the usual benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, MediaError
from ..media.sequence import natural, pictures_in, read_picture
from ..training.degrade import Degradation
from ..training.studio.scene import TIERS, Scene

FIRST_SEED = 2_000_000
"""Evaluation draws its clips at and above this seed; training stays below it."""
SEEDS_APART = 1_000
FRAMES_NAMES = ("com", "original_image", "blurred_image", "original", "images", "image", "frames", "rgb", "input")
TRUTH_NAMES = ("pha", "alphas", "alpha", "mask", "masks", "matte", "gt", "truth")
STILL_NAMES = ("original_image", "blurred_image", "original")


@dataclass(frozen=True)
class Case:
    """One clip with its truth.

    Attributes:
        name: What it is called in the table.
        group: What it is averaged with: a tier or a folder.
        open: Starts over and yields frames ``[3, H, W]`` (sRGB 0..1) with their alpha ``[1, H, W]``.
    """

    name: str
    group: str
    open: Callable[[], Iterator[tuple[Tensor, Tensor]]]


def synthetic_cases(tiers: tuple[str, ...], clips: int, seed: int, size: int, frames: int) -> list[Case]:
    """Square clips drawn from seeds that training never sees, ``clips`` of each tier, mildly degraded.

    Args:
        tiers: Of ``easy``, ``medium`` and ``hard``.
        clips: How many of each.
        seed: Names the set: another seed, other clips.
        size: Edge in pixels.
        frames: Frames in a clip.

    Raises:
        InputError: For a tier there is none of, or numbers below 1.
    """
    if unknown := [tier for tier in tiers if tier not in TIERS]:
        raise InputError(f"there is no tier {unknown[0]!r}; there are {', '.join(TIERS)}")
    if min(clips, size, frames) < 1 or seed < 0:
        raise InputError("clips, size and frames must be at least 1, and the seed at least 0")
    if clips > SEEDS_APART:
        raise InputError(f"at most {SEEDS_APART} clips of a tier have one seed, got {clips}")

    def case(tier: str, number: int) -> Case:
        clip_seed = FIRST_SEED + seed * SEEDS_APART + number
        return Case(f"{tier}-{clip_seed}", tier, lambda: draw(clip_seed, tier, size, frames))

    return [case(tier, number) for tier in tiers for number in range(clips)]


def draw(seed: int, tier: str, size: int, frames: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The frames of a drawn clip as a camera and a file leave them, and their exact alpha."""
    scene, worse = Scene(seed, (size, size), tier), Degradation(np.random.default_rng(seed), 0.5)
    for index in range(frames):
        frame = scene.frame(index)
        yield worse(frame.image, index), frame.alpha


def folder_cases(root: Path, frames: int | None = None, names: tuple[str, str] | None = None) -> list[Case]:
    """Every clip or picture with a truth that lies under ``root``.

    A folder of frames is known by its name and by a folder of mattes beside it: ``com`` and ``pha`` (VideoMatte240K's
    test sets), ``images`` and ``alphas`` (V-HIM60), ``original_image`` or ``blurred_image`` and ``mask`` (P3M-500),
    ``original`` and ``mask`` (AM-2K). Within, each folder is a clip; pictures of the last two are cases by themselves.
    Where a frame's truth is a folder, it holds one matte for each person, and their maximum counts.

    Args:
        root: Anything above such folders, or the folder that holds both.
        frames: Take at most this many frames of a clip.
        names: The names of the folder of frames and of the folder of mattes, if they are others.

    Raises:
        InputError: If there is nothing of the kind, or frames and truths do not match.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root}")
    frame_names, truth_names = ((names[0],), (names[1],)) if names else (FRAMES_NAMES, TRUTH_NAMES)
    found = []
    for folder in sorted([root, *(path for path in root.rglob("*") if path.is_dir())], key=lambda path: path.parts):
        pictures = next((folder / name for name in frame_names if (folder / name).is_dir()), None)
        truths = next((folder / name for name in truth_names if (folder / name).is_dir()), None)
        if pictures is not None and truths is not None:
            found += pairs(root, folder, pictures, truths, frames)
    if not found:
        wanted = " or ".join(frame_names), " or ".join(truth_names)
        raise InputError(f"under {root} no folder holds frames ({wanted[0]}) beside mattes ({wanted[1]})")
    return found


def pairs(root: Path, folder: Path, pictures: Path, truths: Path, frames: int | None) -> list[Case]:
    """The cases in one folder of frames and its folder of truths."""
    name = folder.relative_to(root).as_posix()
    group = "all" if name == "." else name
    clips = sorted((path for path in pictures.iterdir() if path.is_dir()), key=natural)
    if clips:
        return [Case(f"{group}/{clip.name}", group, opener(clip, truths / clip.name, frames)) for clip in clips]
    if pictures.name in STILL_NAMES:
        by_stem = {path.stem: path for path in truths.iterdir()}
        stills = pictures_in(pictures)
        if missing := [still.name for still in stills if still.stem not in by_stem]:
            raise InputError(f"{truths} holds no truth for {missing[0]} ({len(missing)} missing)")
        return [Case(f"{group}/{still.stem}", group, still_opener(still, by_stem[still.stem])) for still in stills]
    parent = folder.parent.relative_to(root).as_posix() if folder != root else "all"
    return [
        Case(name if name != "." else folder.name, "all" if parent == "." else parent, opener(pictures, truths, frames))
    ]


def opener(pictures: Path, truths: Path, frames: int | None) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """What opens a clip of two folders, whose files go together in natural order."""
    if not truths.is_dir():
        raise InputError(f"{pictures} has no truth: there is no folder {truths}")
    images = pictures_in(pictures)
    people = sorted((path for path in truths.iterdir() if path.is_dir()), key=natural)  # one folder for each frame
    mattes = people or pictures_in(truths)
    if len(images) != len(mattes) or not images:
        raise InputError(f"{pictures} has {len(images)} frames and {truths} {len(mattes)} mattes; they must match")

    def read() -> Iterator[tuple[Tensor, Tensor]]:
        for image, matte in islice(zip(images, mattes, strict=True), frames):
            yield matching(image, matte)

    return read


def still_opener(picture: Path, truth: Path) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """What opens a single picture."""
    return lambda: iter([matching(picture, truth)])


def matching(image: Path, truth: Path) -> tuple[Tensor, Tensor]:
    """A frame and its alpha, read and held against each other."""
    frame, alpha = read_picture(image), read_truth(truth)
    if frame.shape[-2:] != alpha.shape[-2:]:
        raise InputError(f"{image} is {list(frame.shape[-2:])} pixels and its truth {truth} {list(alpha.shape[-2:])}")
    return frame, alpha


def read_truth(path: Path) -> Tensor:
    """Alpha ``[1, H, W]`` of a grey picture, or of a folder with one for each person."""
    if not path.is_dir():
        return read_picture(path)[:1]
    people = [read_picture(file)[:1] for file in pictures_in(path)]
    if not people:
        raise MediaError(f"the folder {path} holds no matte")
    return torch.stack(people).amax(dim=0)
