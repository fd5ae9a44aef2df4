"""Finding and reading folders of frames beside folders of mattes, as in benchmarks and as this project writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError, MediaError
from ..media.sequence import natural, pictures_in, read_picture

FRAMES_NAMES = ("com", "original_image", "blurred_image", "original", "images", "image", "frames", "rgb", "input")
TRUTH_NAMES = ("pha", "alphas", "alpha", "mask", "masks", "matte", "gt", "truth")
PICTURE_NAMES = ("original_image", "blurred_image", "original")
CONFIDENCE = "conf"


@dataclass(frozen=True)
class LabelledClip:
    """The files of a clip and of its mattes.

    Attributes:
        name: What it is called.
        group: The folder it belongs to, ``"all"`` where there is only one.
        frames: A picture each.
        mattes: A grey picture each, or a folder with a picture for each person, of which the maximum is taken.
        confidence: A grey picture each, white where the matte is reliable; None if it is everywhere.
    """

    name: str
    group: str
    frames: tuple[Path, ...]
    mattes: tuple[Path, ...]
    confidence: tuple[Path, ...] | None = None

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Frame ``[3, H, W]`` (sRGB 0..1) and alpha ``[1, H, W]``."""
        frame, alpha = read_picture(self.frames[index]), read_matte(self.mattes[index])
        if frame.shape[-2:] != alpha.shape[-2:]:
            sizes = list(frame.shape[-2:]), list(alpha.shape[-2:])
            raise InputError(
                f"{self.frames[index]} is {sizes[0]} pixels and its matte {self.mattes[index]} is {sizes[1]}"
            )
        return frame, alpha

    def read_confidence(self, index: int) -> Tensor | None:
        """1 where the matte of a frame is reliable, ``[1, H, W]``; None for everywhere."""
        return read_picture(self.confidence[index])[:1] if self.confidence else None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self.read(index) for index in range(len(self.frames)))


def find_labelled(root: Path, names: tuple[str, str] | None = None) -> list[LabelledClip]:
    """Every clip or picture with a matte that lies under ``root``.

    A folder of frames is known by its name and by a folder of mattes beside it: ``com`` and ``pha`` (VideoMatte240K's
    test sets), ``images`` and ``alphas`` (V-HIM60), ``original_image`` or ``blurred_image`` and ``mask`` (P3M-500),
    ``original`` and ``mask`` (AM-2K). Within, each folder is a clip; pictures of the last two are clips by themselves.
    A folder ``conf`` beside them holds the mattes' confidence.

    Args:
        root: Anything above such folders, or the folder that holds both.
        names: The names of the folder of frames and of the folder of mattes, if they are others.

    Raises:
        InputError: If there are no such folders, or frames and mattes do not match.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root}")
    frame_names, matte_names = ((names[0],), (names[1],)) if names else (FRAMES_NAMES, TRUTH_NAMES)
    found = []
    for folder in sorted([root, *(path for path in root.rglob("*") if path.is_dir())], key=lambda path: path.parts):
        pictures = next((folder / name for name in frame_names if (folder / name).is_dir()), None)
        mattes = next((folder / name for name in matte_names if (folder / name).is_dir()), None)
        if pictures is not None and mattes is not None:
            found += clips_in(root, folder, pictures, mattes)
    if not found:
        wanted = " or ".join(frame_names), " or ".join(matte_names)
        raise InputError(f"under {root} no folder holds frames ({wanted[0]}) beside mattes ({wanted[1]})")
    return found


def clips_in(root: Path, folder: Path, pictures: Path, mattes: Path) -> list[LabelledClip]:
    """The clips in one folder of frames and its folder of mattes."""
    name = folder.relative_to(root).as_posix()
    group = "all" if name == "." else name
    clips = sorted((path for path in pictures.iterdir() if path.is_dir()), key=natural)
    if clips:
        return [pair(f"{group}/{clip.name}", group, clip, mattes / clip.name) for clip in clips]
    if pictures.name in PICTURE_NAMES:
        by_stem = {path.stem: path for path in mattes.iterdir()}
        files = pictures_in(pictures)
        if missing := [file.name for file in files if file.stem not in by_stem]:
            raise InputError(f"{mattes} holds no matte for {missing[0]} ({len(missing)} missing)")
        return [LabelledClip(f"{group}/{file.stem}", group, (file,), (by_stem[file.stem],)) for file in files]
    parent = folder.parent.relative_to(root).as_posix() if folder != root else "all"
    return [pair(name if name != "." else folder.name, "all" if parent == "." else parent, pictures, mattes)]


def pair(name: str, group: str, pictures: Path, mattes: Path) -> LabelledClip:
    """The clip of two folders whose files, in natural order, belong together."""
    if not mattes.is_dir():
        raise InputError(f"{pictures} has no mattes: there is no folder {mattes}")
    people = sorted((path for path in mattes.iterdir() if path.is_dir()), key=natural)  # one folder for each frame
    lists = [pictures_in(pictures), people or pictures_in(mattes)]
    beside = pictures.parent / CONFIDENCE
    if beside.is_dir() and (sure := pictures_in(beside)):
        lists.append(sure)
    if len(lists[0]) != len(lists[1]) or not lists[0]:
        raise InputError(f"{pictures} has {len(lists[0])} frames and {mattes} {len(lists[1])} mattes; they must match")
    if len(lists[-1]) != len(lists[0]):
        raise InputError(f"{beside} has {len(lists[-1])} pictures for {len(lists[0])} frames; they must match")
    frames, alphas, *confidence = map(tuple, lists)
    return LabelledClip(name, group, frames, alphas, *confidence)


def media_named(folder: Path, name: str) -> Path:
    """The video, picture or folder of pictures in ``folder`` that goes with a clip of this name.

    Raises:
        InputError: If there is none, or more than one.
    """
    found = [path for path in folder.glob("*") if path.stem == name or (path.is_dir() and path.name == name)]
    if len(found) != 1:
        raise InputError(f"{folder} needs one video, picture or folder called {name}; it holds {len(found)}")
    return found[0]


def read_matte(path: Path) -> Tensor:
    """Alpha ``[1, H, W]`` of a grey picture, or of a folder with one for each person."""
    if not path.is_dir():
        return read_picture(path)[:1]
    people = [read_picture(file)[:1] for file in pictures_in(path)]
    if not people:
        raise MediaError(f"the folder {path} holds no matte")
    return torch.stack(people).amax(dim=0)
