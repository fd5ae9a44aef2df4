"""``gvm matte`` on a folder of clips: one after the other, each with its own options, and a table at the end."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import GVMError, InputError, MediaError, cause
from ..media import MEDIA_SUFFIXES
from ..media.folder import clips_in
from ..media.formats import FORMATS

if TYPE_CHECKING:
    from ..runs.outputs import Output
    from ..runs.shot import Shot

SETTINGS, EVERY, NAME = "gvm.json", "*", "{name}"
"""File with options for single clips, the key for all clips in it, and what stands for a clip's name in a path."""
PATHS = ("input", "output", "run")
"""What the command line alone says."""
DONE_BEFORE = "there already"


def matte_folder(
    options: argparse.Namespace,
    add_options: Callable[[argparse.ArgumentParser], None],
    shot_of: Callable[[argparse.Namespace], Shot],
    matte: Callable[[Shot, argparse.Namespace], int],
) -> None:
    """Matte every clip of the folder ``options.input``. A clip that fails does not stop the others.

    A clip whose outputs are all there is left as it is, so the same command continues a stopped one.

    Args:
        options: Of the command line. ``{name}`` in a path stands for the name of a clip.
        add_options: Gives a parser the options of ``gvm matte``, for those in ``gvm.json``.
        shot_of: What to matte and what to write, by these options.
        matte: Mattes one shot, and returns its number of frames.

    Raises:
        GVMError: At the end, if clips failed.
    """
    clips = clips_in(options.input)
    settings = read_settings(options.input)
    chosen = {name: options_for(name, clip, options, add_options, settings) for name, clip in clips.items()}
    if unknown := [name for name in settings if name != EVERY and name not in clips]:
        raise InputError(f"{options.input / SETTINGS} names {unknown[0]!r}, but the clips are {', '.join(clips)}")
    rows, failed = [("clip", "frames", "seconds", "result")], 0
    for name, mine in chosen.items():
        print(f"{name} ({len(rows)} of {len(clips)})")
        started, frames = time.monotonic(), 0
        try:
            shot = shot_of(mine)
            if not mine.overwrite and is_there(shot):
                result = DONE_BEFORE
            else:
                frames, result = matte(shot, mine), str(shot.matte)
        except (GVMError, OSError, RuntimeError, ValueError, MemoryError) as error:
            result, failed = f"failed: {error if isinstance(error, GVMError) else cause(error)}", failed + 1
        rows.append((name, str(frames), f"{time.monotonic() - started:.1f}", result))
    print("", *table(rows), sep="\n")
    if failed:
        raise GVMError(
            f"{failed} of {len(clips)} clips failed; their lines in the table say why. The same command tries them again, "
            "and leaves the others as they are"
        )


def options_for(
    name: str,
    clip: Path,
    options: argparse.Namespace,
    add_options: Callable[[argparse.ArgumentParser], None],
    settings: dict[str, dict[str, Any]],
) -> argparse.Namespace:
    """The options for one clip: those of the command line, changed by ``settings``, with the paths for it."""
    wanted = {**settings.get(EVERY, {}), **settings.get(name, {})}
    parser = Parser(f"{options.input / SETTINGS}, {name!r}", add_help=False, allow_abbrev=False)
    add_options(parser)
    words = [str(clip), str(options.output)]
    for key, value in wanted.items():
        if key in PATHS or not hasattr(options, key.replace("-", "_")):
            raise InputError(
                f"{options.input / SETTINGS} has an unknown option {key!r} for {name!r}; options are those of gvm matte, "
                'without the dashes, as in {"follow": true}'
            )
        if value is not False:
            words += [f"--{key}" if value is True else f"--{key}={value}"]
    mine = parser.parse_args(words, copy(options))
    for key, value in wanted.items():
        if value is False:
            setattr(mine, key.replace("-", "_"), False)
    mine.output = placed(mine.output, name, mine.format or "prores4444")
    mine.preview = mine.preview and placed(mine.preview, name, "h264")
    mine.subject = mine.subject and placed(mine.subject, name, mine.subject_format or "prores4444")
    mine.region = mine.region and Path(str(mine.region).replace(NAME, name))
    return mine


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `InputError`, about a place in a file."""

    def __init__(self, place: str, **more: Any) -> None:
        super().__init__(**more)
        self.place = place

    def error(self, message: str) -> NoReturn:
        """Raise the error."""
        raise InputError(f"{self.place}: {message}")


def placed(path: Path, name: str, form: str) -> Path:
    """Where a clip's output goes: ``{name}`` replaced, or the clip's file or folder in the folder ``path``.

    Raises:
        InputError: If it is one file for all clips.

    Example:
        >>> placed(Path("out/{name}_matte.mkv"), "a", "png16").name, placed(Path("out"), "a", "png16").name
        ('a_matte.mkv', 'a')
        >>> placed(Path("out"), "b.mp4", "prores4444").name
        'b.mp4.mov'
    """
    if NAME in str(path):
        return Path(str(path).replace(NAME, name))
    if path.suffix.lower() in MEDIA_SUFFIXES:
        raise InputError(
            f"{path} is one file for all clips; write {{name}} where a clip's name goes, as in "
            f"{path.with_name('{name}_' + path.name)}, or give a folder"
        )
    return path / (f"{name}{FORMATS[form].suffix}" if FORMATS[form].kind == "video" else name)


def read_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """The options in ``gvm.json``: by the name of a clip, or ``*`` for all.

    Raises:
        InputError: If the file is not JSON, or not such a table.
    """
    file = folder / SETTINGS
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{file} cannot be read: {cause(error)}") from error
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise InputError(
            f'{file} must be a table of clips, as in {{"shot_010": {{"follow": true, "frames": "10-90"}}}}'
        )
    return found


def is_there(shot: Shot) -> bool:
    """Whether every output of ``shot`` exists, and no stopped run has yet to join them.

    Raises:
        MediaError: If only some exist.
    """
    from ..runs.resume import interrupted
    from ..runs.shot import refuse_taken, refuse_to_overwrite

    if interrupted(shot):
        return False

    def taken(output: Output) -> bool:
        try:
            refuse_to_overwrite(output, shot, reader)
        except MediaError:
            return True
        return False

    with shot.open(shot.first, shot.last) as reader:
        there = [taken(output) for output in shot.outputs]
    if any(there) and not all(there):
        refuse_taken(shot)
    return all(there)


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of a table, with columns as wide as they need to be.

    Example:
        >>> table([("clip", "frames"), ("a", "100")])
        ['clip  frames', 'a     100']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
