"""Load frames with their own values and alpha, and the clips of a folder."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import comfy.model_management
import folder_paths
import torch
from comfy_api.latest import InputImpl, io
from torch import Tensor

from ..gvm_core.errors import GVMError, InputError, MediaError
from ..gvm_core.host.comfy import FrameBar
from ..gvm_core.media import FrameReader, open_frames
from ..gvm_core.media.folder import clips_in
from ..gvm_core.media.sequence import Gaps, is_pattern, listed, sequence_of
from ..gvm_core.post.light import LIGHTS
from ..gvm_core.runs.shot import with_handles
from .sockets import schema
from .video import LONGEST, TAGGED, TO_THE_END, as_file

log = logging.getLogger(__name__)

GAPS = list(get_args(Gaps))


class GVMLoadClip(io.ComfyNode):
    """Load a clip with its own values and its own alpha."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMLoadClip",
            display_name="GVM Load Clip",
            description=(
                "Loads frames for compositing: a video, a picture, or numbered pictures such as EXR. Colours stay in the "
                "light of the file, with values above 1, and the file's own alpha comes as a mask. All frames are held in "
                "memory. For long videos connect Load Video to GVM Matte Video."
            ),
            search_aliases=["load exr", "image sequence", "load plate", "load alpha video", "dpx", "prores 4444"],
            inputs=[
                io.String.Input(
                    "path",
                    default="",
                    tooltip=(
                        "A video, a picture, a folder of pictures, or a pattern such as shot.####.exr. A path that does not "
                        "begin at the root is looked for in ComfyUI's input folder; one that begins with output/ in its "
                        "output folder. Default: empty, for a connected video."
                    ),
                ),
                io.Int.Input(
                    "first_frame",
                    default=0,
                    min=0,
                    max=LONGEST,
                    tooltip="The first frame to load, counted from 0, whatever number its picture has. Default 0.",
                ),
                io.Int.Input(
                    "last_frame",
                    default=TO_THE_END,
                    min=TO_THE_END,
                    max=LONGEST,
                    tooltip=(
                        "The last frame to load (included). Default -1: to the end. Rule of thumb: 100 frames of HD take 3.3 "
                        "GB of memory, and 5.8 GB if the file is not sRGB."
                    ),
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.001,
                    tooltip=(
                        "Frames per second of pictures. Default 0: what the file says, else 24. A video has its own rate, "
                        "so leave it at 0 there."
                    ),
                ),
                io.String.Input(
                    "layer",
                    default="",
                    tooltip="Name of a layer, only for EXR. Default: empty, the picture itself.",
                ),
                io.Combo.Input(
                    "gaps",
                    options=GAPS,
                    default=GAPS[0],
                    tooltip=(
                        "Where numbered pictures are missing. hold (default): the picture before is repeated, so that sound "
                        "and other clips still fit. skip: the rest moves up. refuse: an error says which are missing."
                    ),
                ),
                io.Combo.Input(
                    "light",
                    options=[TAGGED, *LIGHTS],
                    default=TAGGED,
                    tooltip=(
                        "What the numbers mean, where the file does not say it, as in log footage. It changes only 'shown'. "
                        "Default: as the file says, else linear for EXR and sRGB for others."
                    ),
                ),
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="From Load Video, in place of the path. Here its alpha is kept.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="The file's own values in its own light, straight: for compositing. EXR is linear light.",
                ),
                io.Mask.Output(display_name="mask", tooltip="The file's own alpha, 1 = subject. 1 where it has none."),
                io.Image.Output(
                    display_name="shown",
                    tooltip="The same as sRGB, as a screen shows it: for GVM Matte and for previews.",
                ),
                io.Float.Output(display_name="fps", tooltip="Frames per second."),
                io.Int.Output(display_name="frames", tooltip="Number of frames."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, path: str = "", gaps: Any = GAPS[0], **_: Any) -> str:
        """Changes with the files: by name, size and date."""
        try:
            place = located(path, "path")
            files = sequence_of(place).frames(gaps) if place.is_dir() or is_pattern(place) else [(place, "")]
            return stamp(dict.fromkeys(file for file, _ in files))
        except (GVMError, OSError) as error:
            return str(error)

    @classmethod
    def execute(
        cls,
        path: str,
        first_frame: int,
        last_frame: int,
        fps: float,
        layer: str,
        gaps: Any,
        light: str,
        video: Any = None,
    ) -> io.NodeOutput:
        """Read all frames, and the alpha if there is one."""
        wanted = (first_frame, None if last_frame == TO_THE_END else last_frame)
        how: dict[str, Any] = {"fps": fps or None, "layer": layer.strip() or None, "gaps": gaps}
        how["light"] = None if light == TAGGED else light
        with ExitStack() as stack:
            if video is None:
                source, there = located(path, "path"), (0, None)
            else:
                source, there = stack.enter_context(as_file(video))
            span = with_handles(wanted, 0, there)
            with open_frames(source, *span, **how) as reader:
                alpha = reader.has_alpha
            with open_frames(source, *span, alpha=alpha, **how) as reader:
                images, mask, shown = frames_of(reader, cls.hidden.unique_id)
            if alpha and not mask.any():
                log.info("the alpha of %s is 0 in every frame: it was saved empty", source)
            return io.NodeOutput(images, mask, shown, float(reader.rate), len(images))


def frames_of(reader: FrameReader, node_id: str | None) -> tuple[Tensor, Tensor, Tensor]:
    """IMAGE ``[T, H, W, 3]`` in the light of the file, MASK ``[T, H, W]``, and IMAGE in sRGB.

    If the file is sRGB, both images are the same tensor.
    """
    bar = FrameBar(reader.count or 1, node_id)
    images: list[Tensor] = []
    masks: list[Tensor] = []
    shown: list[Tensor] = []
    for frame in reader:
        comfy.model_management.throw_exception_if_processing_interrupted()
        colour = frame[:3]
        seen = reader.shown(colour)
        images.append(colour.movedim(0, -1))
        masks.append(frame[3] if len(frame) > 3 else torch.ones(frame.shape[-2:]))
        if seen is not colour:
            shown.append(seen.movedim(0, -1))
        bar.move(1)
    made = together(images)
    return made, together(masks), together(shown) if shown else made


def together(frames: list[Tensor]) -> Tensor:
    """The frames as one tensor. The list is emptied meanwhile, so that memory holds them about once."""
    made = torch.empty(len(frames), *frames[0].shape)
    while frames:
        frame = frames.pop()
        made[len(frames)] = frame
    return made


class GVMLoadClips(io.ComfyNode):
    """Load all videos of a folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMLoadClips",
            display_name="GVM Load Clips",
            description=(
                "Gives every video of a folder, one after another: nodes behind it run once for each clip. Connect it to "
                "GVM Matte Video, and the names to its filename_prefix."
            ),
            search_aliases=["batch videos", "load folder", "video list", "all clips"],
            inputs=[
                io.String.Input(
                    "folder",
                    default="",
                    tooltip=(
                        "A folder with videos. A path that does not begin at the root is looked for in ComfyUI's input folder; "
                        "a dot is the input folder itself. One that begins with output/ is looked for in its output folder. "
                        "Default: empty, so give one. Deeper folders are not searched."
                    ),
                ),
            ],
            outputs=[
                io.Video.Output(
                    display_name="videos", is_output_list=True, tooltip="The clips, in order of their names."
                ),
                io.String.Output(
                    display_name="names", is_output_list=True, tooltip="The name of each clip, without its suffix."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str = "") -> str:
        """Changes with the files: by name, size and date."""
        try:
            return stamp(videos_in(located(folder, "folder"))[0].values())
        except (GVMError, OSError) as error:
            return str(error)

    @classmethod
    def execute(cls, folder: str) -> io.NodeOutput:
        """Find the videos. No frame is read."""
        place = located(folder, "folder")
        videos, others = videos_in(place)
        if others:
            log.info("%s: left out, because they hold pictures: %s. Use GVM Load Clip for them", place, listed(others))
        return io.NodeOutput([InputImpl.VideoFromFile(str(path)) for path in videos.values()], list(videos))


def videos_in(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The videos of a folder by their names, and the names of its subfolders of pictures.

    Raises:
        MediaError: If there is no video.
    """
    clips = clips_in(folder)
    videos = {name: path for name, path in clips.items() if path.is_file()}
    others = [name for name in clips if name not in videos]
    if not videos:
        raise MediaError(
            f"there are no videos in {folder}, only folders of pictures: {listed(others)}; load each with GVM Load Clip"
        )
    return videos, others


def located(given: str, name: str) -> Path:
    """The path that a user gave, with or without quotes.

    One that is not absolute is in ComfyUI's input folder, or in the folder ``output`` if it begins with that.

    Raises:
        InputError: If it is empty.
    """
    given = given.strip().strip("\"'")
    if not given:
        other = ", or connect a video" if name == "path" else "; a dot is ComfyUI's input folder"
        places = "give a whole path, one in ComfyUI's input folder, or one that begins with output/"
        raise InputError(f"{name} is empty: {places}{other}")
    top, path = Path(folder_paths.get_input_directory()), Path(given).expanduser()
    first, *rest = path.parts or ("",)
    if first == "output" and not (top / first).exists():
        return Path(folder_paths.get_output_directory()).joinpath(*rest)
    return top / path


def stamp(files: Iterable[Path]) -> str:
    """A digest of the names, sizes and dates of ``files``."""
    made = hashlib.sha256()
    for file in files:
        facts = file.stat()
        made.update(os.fsencode(file) + f"\0{facts.st_size} {facts.st_mtime_ns}\0".encode())
    return made.hexdigest()
