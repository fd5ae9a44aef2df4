"""Matte a video file into files. Frames are read, matted and written one window at a time."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
from comfy_api.latest import InputImpl, io
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ..gvm_core.errors import GVMError, cause
from ..gvm_core.frames import Clip
from ..gvm_core.host.comfy import ComfyHost, FrameBar, HostedModel
from ..gvm_core.media import open_frames
from ..gvm_core.media.formats import FORMATS as FORMS
from ..gvm_core.media.formats import REVIEW, available
from ..gvm_core.media.spool import spool
from ..gvm_core.media.video import frames_between
from ..gvm_core.pipeline import MattingPipeline
from ..gvm_core.post.foreground import ForegroundSettings
from ..gvm_core.post.light import LIGHTS
from ..gvm_core.progress import Progress
from ..gvm_core.runs.makers import Matting
from ..gvm_core.runs.matte import matte_shot
from ..gvm_core.runs.outputs import Delivery
from ..gvm_core.runs.resume import adopt, kept
from ..gvm_core.runs.shot import Shot, with_handles
from .matte import look_inputs, noise_inputs, picture_settings, refine_input, resolution_inputs, window_inputs
from .review import KEY, PREFIX, RESULTS, entry, places_of, saved, tell
from .sockets import GVMModel, schema, to_masks

log = logging.getLogger(__name__)

FORMATS = {
    "ProRes 4444 (.mov)": "prores4444", "lossless (.mkv)": "ffv1", "H.264 (.mp4)": "h264", "16-bit PNGs": "png16",
    "ProRes 4444 XQ (.mov)": "prores4444xq", "VP9 (.webm)": "vp9", "H.264, 10 bits (.mp4)": "h264_10bit",
    "EXR, half": "exr_half", "EXR, float": "exr_float",
}  # fmt: skip
"""Names on the node, in the order in which they came, and in the core."""
PRORES = next(iter(FORMATS))
NONE, TAGGED = "none", "as the file says"
STOP, GO_ON = "stop", "go on"
WITH_ALPHA = [title for title, name in FORMATS.items() if FORMS[name].subject is not None]
NOTHING: dict[str, Any] = {KEY: [], RESULTS: []}
"""What the node says at least. In a list, ComfyUI joins what each clip's run says, and all must say the same things."""
TO_THE_END = -1
LONGEST = 2**31 - 1


class GVMMatteVideo(io.ComfyNode):
    """Matte a video file into files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMMatteVideo",
            display_name="GVM Matte Video",
            description=(
                "Mattes a video of any length and writes files to the output folder. Memory does not grow with the "
                "length. The audio is kept. You can stop it at any time. Queue it again to resume."
            ),
            search_aliases=["video matting", "long video", "remove background video", "alpha matte", "rotoscope"],
            is_output_node=True,
            inputs=[
                GVMModel.Input("model", tooltip="From Load GVM Model."),
                io.Video.Input("video", tooltip="Directly from Load Video, so that no node holds all frames."),
                io.String.Input(
                    "filename_prefix",
                    default="video/matte",
                    tooltip=(
                        "Name in the output folder. A number is added. Default video/matte. It may contain %year%, "
                        "%month%, %day% and so on."
                    ),
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default=PRORES,
                    tooltip=(
                        "File format of the matte.\nProRes 4444: for editors and compositors, 10 bits (default).\n"
                        "lossless: FFV1, 16-bit grey, large.\nH.264: small, plays anywhere. VP9: small, for the web.\n"
                        "16-bit PNGs, EXR: a folder of pictures, named by frame."
                    ),
                ),
                io.Boolean.Input(
                    "preview",
                    default=True,
                    label_on="over a checkerboard",
                    label_off="none",
                    tooltip=(
                        "Also write the subject over a checkerboard as .mp4. Default on. Off saves a little time."
                    ),
                ),
                io.Int.Input(
                    "first_frame",
                    default=0,
                    min=0,
                    max=LONGEST,
                    tooltip="The first frame to matte, counted from 0 in the connected video. Default 0.",
                ),
                io.Int.Input(
                    "last_frame",
                    default=TO_THE_END,
                    min=TO_THE_END,
                    max=LONGEST,
                    tooltip="The last frame to matte (included). Default -1: to the end.",
                ),
                io.Int.Input(
                    "handles",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip=(
                        "Extra frames before and after the range, for editing, as far as the video has them. "
                        "Default 0. Editors like 8 to 24."
                    ),
                ),
                *window_inputs(),
                *resolution_inputs(),
                *noise_inputs(),
                refine_input(),
                *look_inputs(),
                *subject_inputs(),
                io.Combo.Input(
                    "if_it_fails",
                    options=[STOP, GO_ON],
                    default=STOP,
                    optional=True,
                    tooltip=(
                        "For a list of clips, as from GVM Load Clips. stop (default): the first clip that fails ends the run. "
                        "go on: it is left out, the others are matted, and the node and the log say which failed and why."
                    ),
                ),
            ],
            outputs=[
                io.Video.Output(
                    display_name="matte",
                    tooltip="The matte as a video. With PNGs and EXR, nodes connected here do not run.",
                ),
                io.String.Output(display_name="path", tooltip="Path of the matte: a file, or a folder of pictures."),
                io.Video.Output(display_name="preview", tooltip="The subject over a checkerboard, if preview is on."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        """Changes after a clip failed, so that the same queued again is tried again."""
        return FAILURES[str(cls.hidden.unique_id)]

    @classmethod
    def execute(cls, video: Any, if_it_fails: str = STOP, **inputs: Any) -> io.NodeOutput:
        """Matte the video into files, and return the files. A clip that fails is left out if the user wants that."""
        if if_it_fails == STOP:
            return cls.matted(video=video, **inputs)
        node_id = cls.hidden.unique_id
        try:
            made = cls.matted(video=video, **inputs)
        except comfy.model_management.InterruptProcessingException:  # in older releases an ordinary exception
            raise
        except Exception as error:
            FAILURES[str(node_id)] += 1
            line = f"{name_of(video)} failed: {cause(error)}"
            log.error("GVM Matte Video: %s", line, exc_info=None if isinstance(error, GVMError) else error)
            # without a message: ComfyUI would show one as an error of the nodes behind, as if the run had ended
            made = io.NodeOutput(*[ExecutionBlocker(None)] * 3, ui=NOTHING)
        else:
            line = f"{name_of(video)}: {made.args[1]}"
        tell(node_id, "\n".join(lines_of_run(node_id, line)))
        return io.NodeOutput(*made.args, ui={**(made.ui or {}), "text": (line,)})

    @classmethod
    def matted(
        cls,
        model: HostedModel,
        video: Any,
        filename_prefix: str,
        format: str,
        preview: bool,
        first_frame: int,
        last_frame: int,
        handles: int,
        region: Tensor | None = None,
        follow: bool = False,
        subject: str = NONE,
        despill: Any = "off",
        light: str = TAGGED,
        **widgets: Any,
    ) -> io.NodeOutput:
        """`execute`, for a clip that must not fail."""
        pipeline = MattingPipeline(model.model, picture_settings(**widgets), ComfyHost(model))
        wanted = (first_frame, None if last_frame == TO_THE_END else last_frame)
        folder, name, number, _, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), *video.get_dimensions()
        )
        with as_file(video) as (source, available), as_masks(region) as masks:
            first, last = with_handles(wanted, handles, available)
            look = {"first": first, "last": last, "region": masks, "region_start": available[0], "follow": follow}
            look |= {"light": None if light == TAGGED else light}
            how = Delivery(
                format=FORMATS[format],
                subject_format=FORMATS.get(subject),
                foreground=ForegroundSettings(screen=despill),
            )
            matte = Path(folder) / f"{name}_{number:05}_{ending(FORMATS[format])}"
            shot = named(matte, source, preview, delivery=how, **look)
            maker = Matting(pipeline)
            shot = named(adopt(shot, maker), source, preview, delivery=how, **look)
            with open_frames(source, first, last) as frames:
                telling = Telling(frames.count, cls.hidden.unique_id)
            if shot.review:
                shot.review.unlink(missing_ok=True)  # of a matte that was deleted
            try:
                matte_shot(shot, pipeline, telling)
            except comfy.model_management.InterruptProcessingException:
                telling.stopped(kept(shot, maker))
                raise
        movie = shot.outputs[0].is_video
        written = [each for each in shot.outputs if each.role != "review"]
        written.sort(key=lambda each: each.role != "preview")  # what a browser can show comes first
        tell(cls.hidden.unique_id, places_of(written))
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(shot.matte)) if movie else ExecutionBlocker(None),
            str(shot.matte),
            InputImpl.VideoFromFile(str(shot.preview)) if shot.preview else ExecutionBlocker(None),
            ui=NOTHING | reviewed(shot) | saved(written),
        )


def subject_inputs() -> list[Any]:
    """The widgets for the subject with its alpha, and for the light of the video."""
    return [
        io.Combo.Input(
            "subject",
            options=[NONE, *WITH_ALPHA],
            default=NONE,
            optional=True,
            tooltip=(
                "Also write the subject with its alpha, in its own colours without the old background: a file that drops "
                "on the timeline.\nDefault none. ProRes 4444 for editors, EXR (linear, premultiplied) for compositors."
            ),
        ),
        io.Combo.Input(
            "despill",
            options=["off", "green", "blue"],
            default="off",
            optional=True,
            tooltip="Remove the light of a green or blue screen from the subject's edges. Default off.",
        ),
        io.Combo.Input(
            "light",
            options=[TAGGED, *LIGHTS],
            default=TAGGED,
            optional=True,
            tooltip=(
                "What the camera recorded, where the file does not say it: log footage. The network sees usual colours, "
                "the file keeps its own.\nDefault: as the file says."
            ),
        ),
    ]


def ending(name: str) -> str:
    """The suffix of a format's video, or nothing for a folder of pictures."""
    return FORMS[name].suffix if FORMS[name].kind == "video" else ""


def named(matte: Path, source: Path, preview: bool, *, delivery: Delivery, **more: Any) -> Shot:
    """The shot with the matte ``NAME_NUMBER_.SUFFIX``, the preview ``NAME_NUMBER_preview.mp4`` and the subject likewise.

    The file for the player goes to ComfyUI's temporary folder.
    """
    number = matte.name.removesuffix(ending(delivery.format or ""))
    over = matte.with_name(f"{number}preview.mp4") if preview else None
    form = delivery.subject_format
    subject = matte.with_name(f"{number}subject{ending(form)}") if form else None
    temp = Path(folder_paths.get_temp_directory())
    review = temp / f"{PREFIX}{digest(os.fsencode(matte))}.mp4" if available(REVIEW) else None
    return Shot(source, matte, over, subject=subject, review=review, delivery=delivery, **more)


def reviewed(shot: Shot) -> dict[str, Any]:
    """What the node says about its run, so that the player finds its file."""
    if shot.review is None:
        return {}
    with open_frames(shot.review) as frames:
        return entry(shot.review, float(frames.rate), frames.counted())


class Telling:
    """Shows the progress of a shot on the node: bar, last matte and time left.

    Args:
        frames: Number of frames of the shot, if known.
        node_id: Id of the node.
    """

    def __init__(self, frames: int | None, node_id: str | None) -> None:
        self.node_id = node_id
        self.progress = Progress(frames, shown=False)
        self.bar = FrameBar(frames or 1, node_id)

    def __call__(self, frames: int, alpha: Clip | None = None, *, resumed: bool = False) -> None:
        """Count ``frames`` finished frames: of this run, with their alpha, or of an earlier run if ``resumed``."""
        self.progress.count(frames, before=resumed)
        self.bar.move(frames, alpha)
        tell(self.node_id, self.progress.text)

    def stopped(self, kept: int) -> None:
        """Say what became of a run that the user stopped."""
        of = f" of {self.progress.total}" if self.progress.total else ""
        tell(self.node_id, f"stopped: {kept}{of} frames are kept. Run again to continue." if kept else "stopped")


FAILURES: Counter[str] = Counter()
"""How many clips failed and were left out, by the id of the node, since ComfyUI started."""
LINES: dict[str, list[str]] = {}
"""What became of each clip of the list that a node works on, or of its last list, by the id of the node."""


def lines_of_run(node_id: str | None, line: str) -> list[str]:
    """``line``, which says what became of a clip, after those of the clips before it in the same list."""
    context = get_executing_context()
    if context is None or not context.list_index:  # the first of a list
        LINES[str(node_id)] = []
    LINES[str(node_id)].append(line)
    return LINES[str(node_id)]


def name_of(video: Any) -> str:
    """The name of a VIDEO's file, or what it is if it has none."""
    content = video.get_stream_source() if isinstance(video, InputImpl.VideoFromFile) else None
    return Path(content).name if isinstance(content, str) else "a video that is no file"


@contextmanager
def as_file(video: Any) -> Iterator[tuple[Path, tuple[int, int | None]]]:
    """Yield the file of a VIDEO, and the first and last frame of the file that the VIDEO contains.

    A VIDEO without a file is written to ComfyUI's temporary folder, without loss. That temporary file is then deleted.
    """
    content = video.get_stream_source() if is_file(video) else None
    begin, length = video.get_active_trim_window() if hasattr(video, "get_active_trim_window") else (0, 0)
    if isinstance(content, str):
        path = Path(content)
        yield path, range_of(path, begin, length)
        return
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    if content is None:
        parts = video.get_components()
        names = [parts.images] if parts.audio is None else [parts.images, parts.audio["waveform"]]
        path = folder / f"gvm_{digest(*(each.cpu().contiguous().numpy().data for each in names))}.avi"
        sound, rate = (None, 0) if parts.audio is None else (parts.audio["waveform"][0], parts.audio["sample_rate"])
        spool(path, parts.images[..., :3].movedim(-1, 1), Fraction(parts.frame_rate), sound, rate)
    else:
        path = folder / f"gvm_{digest(content.getbuffer())}.mkv"  # any container: readers look at the content
        path.write_bytes(content.getbuffer())
    os.utime(path, (0, 0))  # a run is identified by its input's name, size and date: the same clip needs the same date
    try:
        yield path, range_of(path, begin, length) if content is not None else (0, None)
    finally:
        with suppress(OSError):
            path.unlink()


@contextmanager
def as_masks(region: Tensor | None) -> Iterator[Path | None]:
    """Write a MASK to a file in ComfyUI's temporary folder, without loss. Yield the file, and delete it afterwards."""
    if (masks := to_masks(region)) is None:
        yield None
        return
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"gvm_{digest(masks.cpu().contiguous().numpy().data)}.avi"
    spool(path, masks.cpu()[:, None].expand(-1, 3, -1, -1), Fraction(24))
    os.utime(path, (0, 0))  # as in `as_file`
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink()


def is_file(video: Any) -> bool:
    """Whether the frames of a VIDEO can be read from its file.

    ComfyUI before 0.23 does not say where a VIDEO was trimmed. There, a VIDEO shorter than its file gives False.
    """
    if not isinstance(video, InputImpl.VideoFromFile):
        return False
    if hasattr(video, "get_active_trim_window"):
        return True
    return video.get_duration() == InputImpl.VideoFromFile(video.get_stream_source()).get_duration()


def range_of(path: Path, begin: float, length: float) -> tuple[int, int | None]:
    """The first and last frame of a trimmed file; the whole file if nothing was trimmed."""
    return frames_between(path, begin, begin + length if length else None) if begin or length else (0, None)


def digest(*contents: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of ``contents``."""
    made = hashlib.sha256()
    for content in contents:
        made.update(content)
    return made.hexdigest()[:16]
