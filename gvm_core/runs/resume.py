"""Going on with a stopped run: what names it, what it left, who may go on with it, and what is cleared away."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

import torch

from ..errors import MediaError
from ..lock import lock_file, locked
from ..media.sequence import pictures_in
from ..pipeline import MattingPipeline
from ..version import __version__
from .parts import Parts, make_room
from .shot import Shot, refuse_taken

log = logging.getLogger(__name__)

PARTS_FOLDER = ".gvm-parts"
JOINING = "joining"
PATIENCE = 2.0
"""Seconds that a run waits for whoever looks after what is left of it."""


def run_key(shot: Shot, pipeline: MattingPipeline) -> str:
    """Names a run by all that its bytes depend on: input, range, formats, settings, weights, versions, kind of device.

    On processors the last bits depend on the number of threads as well.
    """
    import av

    device = pipeline.host.device.type
    dtypes = [str(network.dtype) for network in (pipeline.model.unet, pipeline.model.vae)]
    versions = [__version__, torch.__version__, av.__version__]
    facts = [
        input_facts(shot.source),
        (shot.first, shot.last),
        [(name, path.suffix) for name, path in shot.outputs.items()],
        (pipeline.settings, pipeline.model.config.refine),
        (pipeline.model.fingerprint, dtypes, pipeline.model.compiled),
        (versions, device, torch.get_num_threads() if device == "cpu" else card_name(pipeline.host.device)),
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def card_name(device: torch.device) -> str | None:
    """What kind of card computes: others round otherwise."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def input_facts(source: Path) -> list[tuple[str, int, int]]:
    """Name, size and date of the input's files, and for a single one a digest of its first and last mebibyte."""
    files = pictures_in(source) if source.is_dir() else [source]
    facts = [(file.name, (known := file.stat()).st_size, known.st_mtime_ns) for file in files]
    if source.is_file():
        digest = hashlib.sha256()
        with source.open("rb") as content:
            digest.update(content.read(2**20))
            content.seek(max(source.stat().st_size - 2**20, 0))
            digest.update(content.read())
        facts.append((digest.hexdigest(), 0, 0))
    return facts


@contextmanager
def begin(shot: Shot, key: str, *, overwrite: bool = False) -> Iterator[Parts]:
    """The parts that earlier runs of the same `run_key` left, none if there was none, locked for this process.

    What the block finishes stays if it fails or is stopped; if it finished nothing, nothing stays.

    Raises:
        MediaError: If another process is at it, and as `refuse_taken` does.
    """
    parts = Parts(parts_folder(shot, key), shot.first, shot.last)
    with tidied(parts.folder.parent), locked(parts.folder, PATIENCE) as mine:
        if not mine:
            raise MediaError(
                f"another process is at {shot.matte} already, with the same input and settings; if that has died on "
                f"another machine, and the disk knows no locks, delete {lock_file(parts.folder)}"
            )
        if not overwrite and not (parts.folder / JOINING).exists():
            refuse_taken(shot)
        if done := parts.count():
            log.info("%d frames were matted before and are taken over from %s", done, parts.folder)
        elif begun_otherwise(shot, parts.folder):
            log.info(
                "another run of %s, unfinished, has another input, range, settings or weights; this begins anew",
                shot.matte,
            )
        make_room(parts.folder.parent)
        try:
            yield parts
        except BaseException:
            if parts.finished():
                log.info("what is finished is kept in %s; the same run goes on from there", parts.folder)
            else:
                parts.clear()
            raise


@contextmanager
def tidied(folder: Path) -> Iterator[None]:
    """Delete ``folder`` after the ``with`` block if nothing is left in it."""
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def begun_otherwise(shot: Shot, mine: Path) -> bool:
    """Whether a run of the same matte but not the same facts lies there, whoever may be at it."""
    others = mine.parent.glob(f"{escape(shot.matte.name)}-*")
    return any(other.is_dir() and other != mine and len(other.name) == len(mine.name) for other in others)


def adopt(shot: Shot, pipeline: MattingPipeline) -> Path:
    """The matte to write in place of ``shot``'s, so that it goes on with what a stopped run of the same left.

    A run that had not begun to put parts together is renamed; one that had must end under the name it began with.
    """
    key = run_key(shot, pipeline)
    mine = parts_folder(shot, key)
    for other in mine.parent.glob(f"*-{key}"):
        with tidied(mine.parent), locked(other) as free:
            if not free or not other.is_dir():
                continue
            if (other / JOINING).exists():
                return shot.matte.with_name(other.name.removesuffix(f"-{key}"))
            if not mine.exists():
                other.rename(mine)
    return shot.matte


def parts_folder(shot: Shot, key: str) -> Path:
    """Where the finished parts of ``shot`` are kept until all are there, in a run that ``key`` names."""
    return shot.matte.absolute().parent / PARTS_FOLDER / f"{shot.matte.name}-{key}"


def interrupted(shot: Shot) -> bool:
    """Whether a run was stopped while it put parts together, so that outputs may be there that are not whole."""
    return any(parts_folder(shot, "*").parent.glob(f"{escape(shot.matte.name)}-*/{JOINING}"))
