"""Subjects cut out of pictures or clips with mattes, with their own colours and without their background."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, optional
from .arrays import write_arrays
from .backgrounds import SHORT_EDGE, as_bytes
from .pairs import LabelledClip, find_labelled

log = logging.getLogger(__name__)

TOGETHER = 32
"""Number of cut-outs in one file."""
TOUCHING = 0.02
"""A border cuts a subject that covers more than this share of it; else the border is cleared."""

BORDERS = (np.s_[:, :, 0, :], np.s_[:, :, -1, :], np.s_[:, :, :, 0], np.s_[:, :, :, -1])
"""Of ``[T, 4, H, W]``: top, bottom, left, right."""


@dataclass(frozen=True, eq=False)
class Cutout:
    """One subject in a single frame or in several.

    Attributes:
        layers: ``[T, 4, H, W]`` bytes: colour premultiplied by alpha, sRGB, and alpha.
        cut: Whether the picture's top, bottom, left and right border cut it.
        box: Its bounding box: first row, row after the last, first column, column after the last.
    """

    layers: np.ndarray
    cut: tuple[bool, bool, bool, bool]
    box: tuple[int, int, int, int]


def cutout(layers: np.ndarray) -> Cutout | None:
    """The `Cutout` of ``[T, 4, H, W]`` bytes, whose borders are cleared in place; None if nobody is in them."""
    alpha = layers[:, 3]
    cut = tuple(bool((layers[border][:, 3] > 127).mean(axis=-1).max() > TOUCHING) for border in BORDERS)
    clear_borders(layers, cut)
    solid = np.asarray((alpha > 64).any(axis=0))
    if not solid.any():
        return None
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    return Cutout(layers, cut, (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1))  # type: ignore[arg-type]


def clear_borders(layers: Any, cut: tuple[bool, ...]) -> None:
    """Set ``layers`` ``[T, 4, H, W]`` to 0 on the borders that do not cut the subject."""
    for border, touching in zip(BORDERS, cut, strict=True):
        if not touching:
            layers[border] = 0


def find_subjects_with_mattes(folder: Path) -> list[tuple[LabelledClip, bool]]:
    """The pictures and clips with mattes under ``folder``, and whether their colours already are the subjects' own.

    ``fgr`` beside ``pha`` holds subjects' own colours, of one subject where its files' names are numbers alone; every
    layout that `find_labelled` knows holds whole pictures.

    Raises:
        InputError: If there is none, or pictures and mattes do not match.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    if any(path.is_dir() for path in folder.rglob("fgr")):
        clips = find_labelled(folder, ("fgr", "pha"))
        return [(each, True) for clip in clips for each in ([clip] if is_clip(clip) else single_frames(clip))]
    return [(clip, False) for clip in find_labelled(folder)]


def is_clip(clip: LabelledClip) -> bool:
    """Whether the files of ``clip`` are frames, numbered, rather than pictures with names of their own."""
    return all(path.stem.isdigit() for path in clip.frames)


def single_frames(clip: LabelledClip) -> list[LabelledClip]:
    """Each picture of ``clip`` by itself."""
    return [
        LabelledClip(f"{clip.name}/{frame.stem}", clip.group, (frame,), (matte,))
        for frame, matte in zip(clip.frames, clip.mattes, strict=True)
    ]


def read_cutouts(folders: list[Path], pools: Path, progress: Callable[[int, int], None] | None = None) -> list[Cutout]:
    """Every subject under ``folders``: read from ``pools``, or cut out by all CPU cores the first time.

    Args:
        folders: See `find_subjects_with_mattes`.
        pools: Folder of the cut-outs. Each file has some, so a run that was stopped goes on with what is missing.
        progress: Called with how many are done and how many there are.

    Raises:
        InputError: If a folder holds no subject.
        MissingPackageError: If pictures have to be cut out and pymatting is not installed.
    """
    found = [each for folder in folders for each in find_subjects_with_mattes(folder)]
    parts = [found[first : first + TOGETHER] for first in range(0, len(found), TOGETHER)]
    paths = [pools / f"cutouts_{digest_of(part):08x}.npz" for part in parts]
    missing = [(part, path) for part, path in zip(parts, paths, strict=True) if not path.exists()]
    if missing:
        pools.mkdir(parents=True, exist_ok=True)
        if any(not own for part, _ in missing for _, own in part):
            optional("pymatting", "pymatting")
        done = len(found) - sum(len(part) for part, _ in missing)
        log.info("cutting out %d of %d subjects", len(found) - done, len(found))
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as workers:  # numba does not survive a fork
            for count in workers.map(write_cutouts, *zip(*missing, strict=True)):
                done += count
                if progress:
                    progress(done, len(found))
    cutouts = []
    for path in paths:
        with np.load(path) as file:
            cutouts += [cutout(file[name]) for name in file]
    return [each for each in cutouts if each is not None]


def digest_of(part: list[tuple[LabelledClip, bool]]) -> int:
    """A checksum of the paths, sizes and dates of the pictures of ``part``."""
    value = zlib.crc32(f"{SHORT_EDGE}".encode())
    for clip, own in part:
        for path in (*clip.frames, *clip.mattes):
            stat = path.stat()
            value = zlib.crc32(f"{path} {stat.st_size} {stat.st_mtime_ns} {own}".encode(), value)
    return value


def write_cutouts(part: list[tuple[LabelledClip, bool]], path: Path) -> int:
    """Cut out the subjects of ``part`` and write them to ``path``; their number."""
    torch.set_num_threads(1)
    layers = {f"{number:04}": cut_out(clip, own) for number, (clip, own) in enumerate(part)}
    write_arrays(path, layers)
    return len(part)


def cut_out(clip: LabelledClip, own: bool) -> np.ndarray:
    """The subject of ``clip``, ``[T, 4, H, W]`` bytes, premultiplied; ``own``: its colours already are the subject's."""
    frames = []
    for picture, alpha in clip:
        picture, alpha = picture[:3].clamp(0, 1), alpha.clamp(0, 1)
        colour = picture if own else foreground_colours(picture, alpha)
        frames.append(as_bytes(torch.cat([colour * alpha, alpha])))
    return torch.stack(frames).numpy()


def foreground_colours(picture: Tensor, alpha: Tensor) -> Tensor:
    """The subject's own colours ``[3, H, W]`` in a picture, also where the background shows through.

    Multi-level foreground estimation (Germer et al., 2020), as pymatting has it.
    """
    estimate = optional("pymatting", "pymatting").estimate_foreground_ml
    rows = np.ascontiguousarray(picture.movedim(0, -1).double().numpy())  # other layouts are misread
    return torch.from_numpy(estimate(rows, alpha[0].double().contiguous().numpy())).float().movedim(-1, 0).clamp(0, 1)
