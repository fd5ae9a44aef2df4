"""What nodes say about their run: saved files, the player's file, and single mattes for sliders that move."""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Iterable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import comfy.model_management
import folder_paths
import torch
from comfy_api.latest import io, ui
from server import PromptServer
from torch import Tensor

from ..gvm_core.errors import InputError, MediaError
from ..gvm_core.finishing import refined
from ..gvm_core.frames import Clip
from ..gvm_core.host.comfy import preview
from ..gvm_core.media.formats import REVIEW
from ..gvm_core.media.video_writer import VideoWriter
from ..gvm_core.post.refine import RefineSettings
from ..gvm_core.post.views import reduced, stacked
from ..gvm_core.runs.outputs import Output
from .sockets import matched

log = logging.getLogger(__name__)

KEY = "gvm_review"
"""Under this name the player finds its file in what a node says about its run."""
RESULTS = "video"
"""Files under this name are in ComfyUI's list of results, pictures too. Those under "images" would also be on the node."""
PREFIX = "gvm_preview_"
RATE = 24.0
"""Frames per second of the player where a node does not know them."""


def review(pairs: Iterable[tuple[Tensor, Tensor]], fps: float = RATE) -> dict[str, list[str]]:
    """Write a file for the player into ComfyUI's temporary folder.

    Args:
        pairs: Frames ``[3, H, W]``, sRGB, and their mattes ``[1, H, W]``.
        fps: Frames per second.

    Returns:
        What the node says about its run. Nothing if this PyAV cannot write H.264: a node does not fail for its picture.
    """
    path = Path(folder_paths.get_temp_directory()) / f"{PREFIX}{uuid4().hex}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    count, empty = 0, True
    try:
        with VideoWriter(path, REVIEW, Fraction(fps).limit_denominator(1001)) as writer:
            for frame, alpha in pairs:
                comfy.model_management.throw_exception_if_processing_interrupted()
                writer.write(stacked(frame[None].cpu().float(), alpha[None].cpu().float())[0])
                count += 1
                empty = empty and not bool(alpha.any())
    except MediaError as error:
        log.warning("the player of the node has nothing to show: %s", error)
        return {}
    return entry(path, fps, count, empty)


def entry(path: Path, fps: float, frames: int, empty: bool = False) -> dict[str, list[str]]:
    """What a node says about its run, so that the player finds ``path`` in ComfyUI's temporary folder.

    It is JSON in a string: as a table of a file, ComfyUI would show it among the results. Of an ``empty`` matte the
    player says so.
    """
    facts = {"filename": path.name, "type": "temp", "fps": fps, "frames": frames, "empty": empty}
    return {KEY: [json.dumps(facts)]}


def saved(outputs: Iterable[Output]) -> dict[str, list[ui.SavedResult]]:
    """What a node says about its run, so that ComfyUI lists its files, and of a folder of pictures the first one."""
    top, found = Path(folder_paths.get_output_directory()), []
    for each in outputs:
        file = min(each.folder.glob(f"*{each.form.suffix}")) if each.is_sequence else each.path
        folder = file.parent.relative_to(top).as_posix()
        found.append(ui.SavedResult(file.name, "" if folder == "." else folder, io.FolderType.output))
    return {RESULTS: found}


def places_of(outputs: Iterable[Output]) -> str:
    """Where files of a run are, one in a line, from the output folder's name on: ``output/video/matte_00001_.mov``."""
    top = Path(folder_paths.get_output_directory()).parent
    return "\n".join(each.path.relative_to(top).as_posix() for each in outputs)


def tell(node_id: str | None, text: str) -> None:
    """Show ``text`` on a node."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


class Refinable:
    """The inputs of each GVM Refine Matte that ran last, as long as ComfyUI keeps them in memory itself."""

    def __init__(self) -> None:
        self.known: dict[str, list[weakref.ref[Tensor]]] = {}

    def keep(self, node_id: str | None, mask: Tensor, images: Tensor | None) -> None:
        """Remember the inputs of a node, without holding them."""
        self.known[str(node_id)] = [weakref.ref(each) for each in (mask, images) if each is not None]

    def refined(self, node_id: str, frame: int, settings: dict[str, Any]) -> Tensor:
        """The refined matte of one frame ``[1, H, W]``, computed on the processor.

        Args:
            node_id: Id of the node.
            frame: Index of the frame.
            settings: Values of the node's sliders, by name.

        Raises:
            InputError: If ComfyUI does not have the inputs any more, a value is not allowed, or there is no such frame.
        """
        inputs = [each() for each in self.known.get(node_id, [])]
        if not inputs or any(each is None for each in inputs):
            raise InputError("run the node once more: ComfyUI does not hold its frames any more")
        wanted = RefineSettings(**settings)
        mask, images = (*inputs, None)[:2]
        refuse_without_frames(wanted, images)
        frames, alpha = matched(mask, images)  # pyright: ignore[reportArgumentType]
        if not 0 <= frame < len(alpha):
            raise InputError(f"there is no frame {frame}: there are {len(alpha)}")
        first, stop = max(frame - wanted.margin, 0), frame + wanted.margin + 1
        near = zip(frames[first:stop], alpha[first:stop], strict=True)
        made = torch.cat([clip.data for clip in refined(near, wanted, torch.device("cpu"))])
        return made[frame - first]


REFINABLE = Refinable()


def png_of(alpha: Tensor) -> bytes:
    """A matte ``[1, H, W]`` as an 8-bit PNG, of the size that the player shows."""
    content = BytesIO()
    preview(Clip(reduced(alpha[None]))).save(content, "PNG", compress_level=1)
    return content.getvalue()


def refuse_without_frames(settings: RefineSettings, images: Tensor | None) -> None:
    """Raise `InputError` if a setting needs frames and there are none."""
    if images is None and settings.needs_frames:
        raise InputError("chatter and guided need the frames: connect them to images, or set both to 0")
