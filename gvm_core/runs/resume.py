"""Resumes a stopped run: its key, its parts, its lock, and what is deleted."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

import torch

from ..atomic import LONGEST_NAME, short_name
from ..errors import MediaError
from ..lock import SUFFIX, lock_file, locked
from ..version import __version__
from .makers import Maker
from .parts import Parts, make_room
from .plan import prepare_folders, rehearse
from .shot import Shot, input_facts, refuse_taken
from .write import JOINING

log = logging.getLogger(__name__)

PARTS_FOLDER = ".gvm-parts"
KEY_LENGTH = 16
PATIENCE = 2.0
"""Seconds that a run waits for its lock. Another process may hold the lock for a moment, to delete or rename runs."""


def run_key(shot: Shot, maker: Maker) -> str:
    """A key of all that a run's bytes depend on: input, region, range, formats, maker of mattes, versions, device.

    On a CPU the last bits also depend on the number of threads.
    """
    import av

    device = maker.device.type
    versions = [__version__, torch.__version__, av.__version__]
    facts = [
        input_facts(shot.source),
        (shot.first, shot.last, shot.fps, shot.gaps, shot.layer, shot.strict, shot.light),
        (shot.region and input_facts(shot.region), shot.region_start, shot.follow),
        [output.facts for output in shot.outputs],
        shot.delivery if shot.subject else None,
        (type(maker).__name__, maker.facts),
        (versions, device, torch.get_num_threads() if device == "cpu" else card_name(maker.device)),
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:KEY_LENGTH]


def card_name(device: torch.device) -> str | None:
    """Model name of a CUDA GPU, because other models round differently; None for other devices."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


@contextmanager
def begin(shot: Shot, key: str, *, overwrite: bool = False) -> Iterator[Parts]:
    """Lock the run for this process. Yield its parts, with those that earlier runs of the same `run_key` finished.

    Everything that the run will need is tried before: its folders, its encoders and containers, its sound, its room.
    If the block fails or is stopped, finished parts stay. If no part is finished, the folder is deleted.

    Raises:
        MediaError: If another process is matting the run, an output exists (see `refuse_taken`), or something that
            the run will need cannot be done (see `prepare_folders` and `rehearse`).
    """
    prepare_folders(shot)
    parts = Parts(parts_folder(shot, key), shot.first, shot.last)
    with tidied(parts.folder.parent), locked(parts.folder, PATIENCE) as mine:
        if not mine:
            raise MediaError(
                f"another process is matting {shot.matte} with the same input and settings. If that process died on "
                f"another machine and the disk does not support locks, delete {lock_file(parts.folder)}"
            )
        if not overwrite and not (parts.folder / JOINING).exists():
            refuse_taken(shot)
        if done := parts.count():
            log.info("%d frames were matted before; they are taken from %s", done, parts.folder)
        elif begun_otherwise(shot, parts.folder):
            log.info(
                "an unfinished run of %s has another input, range, settings or weights; starting from the beginning",
                shot.matte,
            )
        make_room(parts.folder.parent)
        try:
            rehearse(shot, parts)
            yield parts
        except BaseException:
            if parts.finished():
                log.info("finished parts are kept in %s; start the same run again to continue", parts.folder)
            else:
                parts.clear()
            raise


@contextmanager
def tidied(folder: Path) -> Iterator[None]:
    """Delete ``folder`` after the ``with`` block if it is empty."""
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def begun_otherwise(shot: Shot, mine: Path) -> bool:
    """Whether there is a run of the same matte with another key, even if another process is matting it."""
    others = mine.parent.glob(runs_of(shot))
    return any(other.is_dir() and other != mine and len(other.name) == len(mine.name) for other in others)


def adopt(shot: Shot, maker: Maker) -> Path:
    """The matte path to use instead of ``shot``'s, so that a stopped run with the same key is resumed.

    If that run had not begun to join its parts, its folder is renamed. If it had, it must keep its own matte path.
    """
    key = run_key(shot, maker)
    mine = parts_folder(shot, key)
    for other in mine.parent.glob(f"*-{key}"):
        with suppress(MediaError), tidied(mine.parent), locked(other) as free:
            if not free or not other.is_dir():
                continue
            if (other / JOINING).exists():
                name = (other / JOINING).read_text(encoding="utf-8", errors="surrogateescape")
                return shot.matte.with_name(name or other.name.removesuffix(f"-{key}"))
            if not mine.exists():
                other.rename(mine)
    return shot.matte


def kept(shot: Shot, maker: Maker) -> int:
    """The number of frames that stopped runs of ``shot`` have finished, and that the next run takes over."""
    return Parts(parts_folder(shot, run_key(shot, maker))).count()


def parts_folder(shot: Shot, key: str) -> Path:
    """The folder for the finished parts of ``shot``, in the run with this ``key``."""
    return shot.matte.absolute().parent / PARTS_FOLDER / f"{run_name(shot)}-{key}"


def run_name(shot: Shot) -> str:
    """The matte's name, so short that its run's folder and the lock of that folder can be named after it."""
    return short_name(shot.matte.name, LONGEST_NAME - len("-" + "0" * KEY_LENGTH + SUFFIX))


def runs_of(shot: Shot) -> str:
    """Pattern for the folders of all runs of the matte."""
    return f"{escape(run_name(shot))}-*"


def interrupted(shot: Shot) -> bool:
    """Whether a run was stopped while it joined its parts, so that incomplete outputs may exist."""
    return any(parts_folder(shot, "*").parent.glob(f"{runs_of(shot)}/{JOINING}"))
