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
from ..frames import Clip
from ..media import FrameReader
from ..media.timecode import Labels
from ..media.video import VideoReader
from ..post.light import Light, looks_like_log
from .join import write_video
from .look import refuse_region
from .outputs import Output
from .parts import Parts
from .shot import Shot
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
    folders = {output.path.absolute().parent: None for output in shot.outputs}
    for output in shot.outputs:
        path, folder = output.path, output.folder
        if output.is_video and path.is_dir():
            raise MediaError(f"{path} is a folder; a video needs another name")
        if output.is_sequence and folder.exists():
            if not folder.is_dir():
                raise MediaError(f"{folder} is a file; a sequence needs a folder")
            folders[folder.absolute()] = None
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
        MediaError: If the frame cannot be read, an output cannot be written, a disk has too little room, or the region
            is not usable (see `refuse_region`).
    """
    from av.error import FFmpegError

    refuse_region(shot)
    stage = parts.stage()
    try:
        trial = Parts(stage / "run", shot.first)
        with (
            shot.open(shot.first, shot.first) as reader,
            PartWriter(shot.outputs, trial, reader, shot.first) as writer,
        ):
            for frame in reader:
                say_odd(shot, *frame.shape[-2:])
                say_log(shot, reader, frame)
                writer.write((Clip(disc(*frame.shape[-2:]), shot.first), [frame]))
            writer.keep(last=True)
        for output in shot.outputs:
            if output.is_video:
                labels = output.labels(reader.labels, reader.light)
                rehearse_video(shot, trial, output, stage / f"joined{output.path.suffix}", labels)
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


def rehearse_video(shot: Shot, trial: Parts, output: Output, joined: Path, labels: Labels) -> None:
    """Join the parts of ``trial`` into ``joined`` as ``output`` will be joined. Log what of the source it will not have."""
    path, name = output.path, output.part
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
    for output in shot.outputs:
        if output.form.odd and (height % 2 or width % 2):
            log.warning("%s: odd width or height, so written as 4:4:4; some players cannot play that", output.path.name)


def say_log(shot: Shot, reader: FrameReader, frame: Tensor) -> None:
    """Log it if the source looks like log footage that nobody has said to be."""
    if shot.light is None and reader.light == Light() and looks_like_log(frame):
        log.info(
            "%s is grey and flat, as log footage is. If a camera recorded it in log, say which (--light slog3, logc3, vlog "
            "and so on), so that the network sees the usual colours",
            shot.source,
        )


def disc(height: int, width: int) -> Tensor:
    """A matte ``[1, 1, H, W]``: a disc with a soft edge, about as hard to compress as a matte of people."""
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    return ((0.6 - torch.hypot(rows, columns)) * 20).clamp(0, 1)[None, None]


def refuse_without_room(shot: Shot, parts: Parts, trial: Parts, frames: int) -> None:
    """Raise `MediaError` if a disk is far too full for ``frames`` frames of the size of the one in ``trial``."""
    (one,) = trial.finished()
    needed: Counter[Path] = Counter()
    for output in shot.outputs:
        files = [one.folder / output.part] if output.is_video else list((one.folder / output.part).iterdir())
        size = frames * sum(file.stat().st_size for file in files)
        needed[parts.folder] += size
        if output.is_video:  # the parts and the joined video are there at the same time
            needed[output.path.absolute().parent] += size
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
