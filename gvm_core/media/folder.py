"""The clips in a folder: videos, and subfolders of pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..errors import MediaError
from .formats import FILMS
from .sequence import natural, pictures_in


def clips_in(folder: Path) -> dict[str, Path]:
    """The clips in ``folder`` by their names, in order: its videos, and its subfolders that hold pictures.

    The name of a video is that of its file without the suffix, unless two have the same name then. Hidden files are
    left out. Deeper folders are not searched.

    Raises:
        MediaError: If there are none, or it is no folder.
    """
    if not folder.is_dir():
        raise MediaError(f"there is no folder {folder}")
    there = sorted((each for each in folder.iterdir() if each.name[0] != "."), key=natural)
    clips = [each for each in there if each.suffix.lower() in FILMS and each.is_file()]
    clips += [each for each in there if each.is_dir() and pictures_in(each)]
    if not clips:
        raise MediaError(
            f"there are no clips in {folder}: no videos (looked for {', '.join(sorted(FILMS))}), and no subfolders of "
            "pictures"
        )
    stems = Counter(stem(clip).casefold() for clip in clips)
    return {clip.name if stems[stem(clip).casefold()] > 1 else stem(clip): clip for clip in sorted(clips, key=natural)}


def is_folder_of_clips(path: Path) -> bool:
    """Whether ``path`` is a folder that holds clips, not the pictures of one."""
    if not path.is_dir() or pictures_in(path):
        return False
    try:
        return bool(clips_in(path))
    except MediaError:
        return False


def stem(clip: Path) -> str:
    """The name of a video without its suffix, or the name of a folder."""
    return clip.name if clip.is_dir() else clip.stem
