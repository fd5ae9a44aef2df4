"""Tries everything that a run will need before its first frame is matted: folders, room, encoders, containers, sound."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import torch
from torch import Tensor

from ..errors import GVMError, MediaError, cause
from ..frames import Clip, Original
from ..media.timecode import Labels
from ..media.video import VideoReader
from .join import write_video
from .parts import Parts
from .shot import Shot, codec_of, is_picture
from .sound import plan_sound
from .write import PartWriter

log = logging.getLogger(__name__)

ROUGH = 4
"""A run is refused if a disk has room for less than this part of the estimate: some mattes are easier than others."""


def prepare_folders(shot: Shot) -> None:
    """Create the folders of all outputs.

    Raises:
        MediaError: If a folder cannot be created or written to, or a folder stands where a file should be written.
    """
    folders = {path.absolute().parent: None for path in shot.outputs.values()}
    for path in shot.outputs.values():
        if codec_of(path) is not None and path.is_dir():
            raise MediaError(f"{path} is a folder; a video needs another name")
        if codec_of(path) is None and not is_picture(path) and path.exists():
            if not path.is_dir():
                raise MediaError(f"{path} is a file; a sequence needs a folder")
            folders[path.absolute()] = None
    for folder in folders:
        probe = folder / f".{uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise MediaError(
                f"nothing can be written to the folder {folder}: {cause(error)}; choose another folder"
            ) from error


def rehearse(shot: Shot, parts: Parts) -> None:
    """Write the first frame, with a disc as its matte, into outputs like those of ``shot``, and delete them.

    The log says which audio tracks of the source an output will not have, and why.

    Raises:
        MediaError: If the frame cannot be read, an output cannot be written, or a disk has too little room.
    """
    from av.error import FFmpegError

    stage = parts.stage()
    try:
        trial = Parts(stage / "run", shot.first)
        with (
            shot.open(shot.first, shot.first) as reader,
            PartWriter(shot, trial, reader, shot.first) as writer,
        ):
            for frame in map(reader.shown, reader):
                say_odd(shot, *frame.shape[-2:])
                writer.write(Clip(disc(*frame.shape[-2:]), shot.first, (Original(frame, frame),)))
            writer.keep(last=True)
        for name, path in shot.outputs.items():
            if codec_of(path) is not None:
                rehearse_video(shot, trial, name, stage / f"joined{path.suffix}", path, reader.labels)
        with shot.open(shot.first, shot.last) as reader:
            done = parts.count()
            try:
                refuse_without_room(shot, parts, trial, (reader.count or 0) - done)
            except MediaError:  # a damaged header may say too many
                refuse_without_room(shot, parts, trial, reader.counted() - done)
    except GVMError:
        raise
    except (FFmpegError, OSError, ValueError) as error:  # the last one: this FFmpeg does not have the encoder
        raise MediaError(f"{shot.matte} cannot be written: {cause(error)}; choose another format or folder") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        with suppress(OSError):
            parts.folder.rmdir()  # unless it holds parts


def rehearse_video(shot: Shot, trial: Parts, name: str, joined: Path, path: Path, labels: Labels) -> None:
    """Join the parts of ``trial`` into ``joined`` as ``path`` will be joined. Log what of the source it will not have."""
    tracks = plan_sound(shot.sound, path) if shot.sound else ()
    for track in tracks:
        if track.reason:
            log.warning("%s will not have audio track %d of the source: %s", path.name, track.index, track.reason)
    try:
        write_video(trial.finished(), name, joined, shot.sound, tracks, labels, silent=True)
    except MediaError as error:
        write_video(trial.finished(), name, joined, labels=labels)
        log.warning("%s will not have the sound of the source: %s", path.name, error)
    with VideoReader(joined) as reader:
        kept = reader.labels.words
    for what, wanted in labels.words.items():
        if wanted != kept[what]:
            log.warning("%s cannot keep the %s of the source, %s", path.name, what, wanted)


def say_odd(shot: Shot, height: int, width: int) -> None:
    """Log which outputs need another pixel format for frames of this size."""
    for path in shot.outputs.values():
        codec = codec_of(path)
        if codec is not None and codec.odd_pixels != codec.pixels and (height % 2 or width % 2):
            log.warning("%s: odd width or height, so written as 4:4:4; some players cannot play that", path.name)


def disc(height: int, width: int) -> Tensor:
    """A matte ``[1, 1, H, W]``: a disc with a soft edge, about as hard to compress as a matte of people."""
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    return ((0.6 - torch.hypot(rows, columns)) * 20).clamp(0, 1)[None, None]


def refuse_without_room(shot: Shot, parts: Parts, trial: Parts, frames: int) -> None:
    """Raise `MediaError` if a disk is far too full for ``frames`` frames of the size of the one in ``trial``."""
    (one,) = trial.finished()
    needed: Counter[Path] = Counter()
    for name, path in shot.outputs.items():
        files = [one.folder / name] if codec_of(path) is not None else list((one.folder / name).iterdir())
        size = frames * sum(file.stat().st_size for file in files)
        needed[parts.folder] += size
        if codec_of(path) is not None:  # the parts and the joined video are there at the same time
            needed[path.absolute().parent] += size
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in needed.items():
        first, sum_ = disks.get(disk := folder.stat().st_dev, (folder, 0))
        disks[disk] = first, sum_ + size
    for folder, size in disks.values():
        if (free := shutil.disk_usage(folder).free) < size / ROUGH:
            raise MediaError(
                f"the run will need about {size / 1e9:.1f} GB, but the disk of {folder} has only {free / 1e9:.1f} GB "
                "free; make room, or choose another folder"
            )
