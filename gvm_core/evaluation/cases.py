"""Clips to matte with their true mattes: clips drawn from seeds, real people, and folders of the usual benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from torch import Tensor

from ..datasets.backgrounds import read_places
from ..datasets.cutouts import find_subjects_with_mattes, read_cutouts
from ..datasets.pairs import FRAMES_NAMES, TRUTH_NAMES, find_labelled
from ..datasets.people import PeopleSource, Shares
from ..errors import InputError
from ..media.sequence import SequenceWriter
from ..synthesis.degrade import Degradation
from ..synthesis.scene import TIERS, Scene

FIRST_SEED = 2_000_000
"""Evaluation uses this seed and higher ones for its clips; training uses lower ones."""
SEEDS_APART = 1_000


@dataclass(frozen=True)
class Case:
    """One clip with its truth.

    Attributes:
        name: Name in the table.
        group: The group of cases that are averaged together: a tier or a folder.
        open: Yields frames ``[3, H, W]`` (sRGB 0..1) with their alpha ``[1, H, W]``. Each call starts at frame 0.
    """

    name: str
    group: str
    open: Callable[[], Iterator[tuple[Tensor, Tensor]]]


def synthetic_cases(tiers: tuple[str, ...], clips: int, seed: int, size: int, frames: int) -> list[Case]:
    """Square clips drawn from seeds that training never sees, ``clips`` of each tier, mildly degraded.

    Args:
        tiers: One or more of ``easy``, ``medium`` and ``hard``.
        clips: Number of clips of each tier.
        seed: Seed of the set; another seed gives other clips.
        size: Edge of the clips in pixels.
        frames: Frames in a clip.

    Raises:
        InputError: For an unknown tier, or numbers below 1.
    """
    if unknown := [tier for tier in tiers if tier not in TIERS]:
        raise InputError(f"there is no tier {unknown[0]!r}; the tiers are {', '.join(TIERS)}")
    if min(clips, size, frames) < 1 or seed < 0:
        raise InputError("clips, size and frames must be at least 1, and the seed at least 0")
    if clips > SEEDS_APART:
        raise InputError(f"a seed gives at most {SEEDS_APART} clips of each tier, got {clips}")

    def case(tier: str, number: int) -> Case:
        clip_seed = FIRST_SEED + seed * SEEDS_APART + number
        return Case(f"{tier}-{clip_seed}", tier, lambda: draw(clip_seed, tier, size, frames))

    return [case(tier, number) for tier in tiers for number in range(clips)]


def draw(seed: int, tier: str, size: int, frames: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The frames of a drawn clip with faults of camera and compression, and their exact alpha."""
    scene, camera = scene_and_camera(seed, tier, size)
    for index in range(frames):
        frame = scene.frame(index)
        yield camera(frame.image, index), frame.alpha


def scene_and_camera(seed: int, tier: str, size: int) -> tuple[Scene, Degradation]:
    """The scene of a drawn clip, and the camera faults of its pictures."""
    return Scene(seed, (size, size), tier), Degradation(np.random.default_rng(seed), 0.5)


def folder_cases(root: Path, frames: int | None = None, names: tuple[str, str] | None = None) -> list[Case]:
    """Every clip or picture with a truth under ``root``, by `find_labelled`'s rules, at most ``frames`` frames each."""
    clips = find_labelled(root, names)
    return [Case(clip.name, clip.group, lambda clip=clip: islice(clip, frames)) for clip in clips]


def people_cases(
    subjects: list[Path],
    backgrounds: list[Path],
    pools: Path,
    clips: int,
    views: int,
    seed: int,
    size: int,
    frames: int,
) -> list[Case]:
    """Real people, unchanged and in front of other backgrounds, in four groups. Training must not have seen them.

    ``still`` are the given pictures and ``filmed`` the given clips; their mattes may be estimates. The clips of
    ``motion`` are composed: people, camera and light move, and alpha is exact. ``nobody`` are views of the backgrounds
    without people.

    Args:
        subjects: Folders of people with mattes; see `find_subjects_with_mattes`.
        backgrounds: Folders of backgrounds without people.
        pools: Folder where the cut-outs are stored.
        clips: Number of clips in ``motion``.
        views: Number of views in ``nobody``.
        seed: Seed of the set; another seed gives other clips and views.
        size: Edge of composed clips and views in pixels.
        frames: Frames in a clip.

    Raises:
        InputError: If a folder holds no people or no backgrounds, or a number is too small.
        MissingPackageError: If people have to be cut out and pymatting is not installed.
    """
    if min(size, frames) < 1 or min(clips, views, seed) < 0:
        raise InputError("size and frames must be at least 1, and clips, views and seed at least 0")
    found = [each for folder in subjects for each in find_subjects_with_mattes(folder)]
    taken = [clip for clip, own_colours in found if not own_colours]
    whole = [
        Case(clip.name, "filmed" if len(clip.frames) > 1 else "still", lambda clip=clip: iter(clip)) for clip in taken
    ]
    cutouts, places = read_cutouts(subjects, pools), read_places(backgrounds)
    peopled, empty = (PeopleSource(cutouts, places, shares=Shares(nobody=share)) for share in (0, 1))

    def composed(group: str, number: int, count: int, source: PeopleSource) -> Case:
        random = [seed, number, int(source.shares.nobody)]

        def film() -> Iterator[tuple[Tensor, Tensor]]:
            return zip(*source.filmed(size, count, np.random.default_rng(random)), strict=True)

        return Case(f"{group}/{seed}-{number:03}", group, film)

    return [
        *whole,
        *(composed("motion", number, frames, peopled) for number in range(clips)),
        *(composed("nobody", number, 1, empty) for number in range(views)),
    ]


def export(case: Case, folder: Path) -> None:
    """Write the frames and the truth of a case as 16-bit PNGs to ``com`` and ``pha`` in ``folder/<case name>``.

    Raises:
        MediaError: If the files exist already.
    """
    names, place = "{:04}".format, folder / case.name
    with (
        SequenceWriter(place / FRAMES_NAMES[0], names) as images,
        SequenceWriter(place / TRUTH_NAMES[0], names) as mattes,
    ):
        for image, alpha in case.open():
            images.write(image)
            mattes.write(alpha)
