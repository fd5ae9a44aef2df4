"""Saves frames and mattes from memory in any delivery format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from ..errors import MediaError, cause
from ..frames import Clip
from .outputs import Given, Output
from .parts import FRAMES, Parts
from .write import PartWriter, place


def save_clip(
    outputs: Sequence[Output],
    alpha: Tensor,
    frames: Tensor,
    given: Given,
    *,
    sound: Path | None = None,
    layers: Mapping[str, Tensor] | None = None,
) -> None:
    """Write mattes, and subjects with alpha, as files. A file gets its name when it is complete.

    Args:
        outputs: What to write. Their folders are created.
        alpha: ``[T, 1, H, W]`` in 0..1.
        frames: The subject's colours ``[T, 3, H, W]``, straight, in the light of ``given``.
        given: What is known of the frames.
        sound: A file whose audio is copied into videos; None for no audio.
        layers: More mattes ``[T, 1, H, W]`` by the name of their layer, for EXR.

    Raises:
        MediaError: If an output exists already or cannot be written.
    """
    for output in outputs:
        refuse_to_overwrite(output, given)
    with scratch(outputs[0]) as folder:
        parts = Parts(folder)
        with PartWriter(outputs, parts, given, 0, layers) as writer:
            for start in range(0, len(alpha), FRAMES):
                some = slice(start, start + FRAMES)
                writer.write((Clip(alpha[some], start), list(frames[some])))
            writer.keep(last=True)
        for output in outputs:
            place(output, parts, sound, output.labels(given.labels, given.light))


@contextmanager
def scratch(output: Output) -> Iterator[Path]:
    """A folder beside ``output`` for unfinished files, which is deleted afterwards."""
    parent = output.path.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        made = TemporaryDirectory(prefix=".gvm-", dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise MediaError(
            f"nothing can be written to the folder {parent}: {cause(error)}; choose another folder"
        ) from error
    with made as folder:
        yield Path(folder)


def refuse_to_overwrite(output: Output, given: Given) -> None:
    """Raise `MediaError` if a file of ``output`` exists already."""
    taken = [output.path]
    if output.is_sequence:
        name = output.names(given)
        taken = [output.folder / f"{name(index)}{output.form.suffix}" for index in range(given.count)]
    if there := next((path for path in taken if path.exists()), None):
        raise MediaError(f"{there} exists already; choose another name")
