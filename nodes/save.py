"""Save mattes, and subjects with alpha, in the formats of compositors and editors."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import uuid4

import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor

from ..gvm_core.errors import InputError
from ..gvm_core.media import open_frames
from ..gvm_core.media.colours import LINEAR
from ..gvm_core.media.exr_writer import COMPRESSIONS
from ..gvm_core.media.formats import FORMATS
from ..gvm_core.media.formats import SUBJECT as WITH_ALPHA
from ..gvm_core.media.spool import spool
from ..gvm_core.post.combine import fitted
from ..gvm_core.post.light import Light
from ..gvm_core.runs.outputs import FIRST, PLAIN, Delivery, Given, Output
from ..gvm_core.runs.save import save_clip
from ..gvm_core.runs.shot import outputs_of
from .finish import LIGHT_OF, SRGB, images_light_input
from .review import places_of, saved, tell
from .sockets import matched, schema, to_alpha
from .video import as_file

TITLES = {form.title: name for name, form in FORMATS.items()}
MATTE, SUBJECT, BOTH = "matte", "subject with alpha", "both"
USUAL = "as usual"
LIGHTS = {USUAL: None, "sRGB": False, "linear": True}


class GVMSaveMatte(io.ComfyNode):
    """Save mattes and subjects as files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMSaveMatte",
            display_name="GVM Save Matte",
            description=(
                "Saves a matte, or the subject with its alpha, for compositors and editors: ProRes 4444, VP9 with alpha, "
                "lossless FFV1, 16-bit PNG, EXR. For long clips use GVM Matte Video: it writes while it runs."
            ),
            search_aliases=["save alpha", "export prores 4444", "save exr", "transparent video", "save rgba"],
            is_output_node=True,
            inputs=[
                io.Mask.Input("mask", lazy=True, tooltip="The matte, 1 = subject."),
                io.String.Input(
                    "filename_prefix",
                    default="video/subject",
                    tooltip="Name in the output folder. A number is added. Default video/subject.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(TITLES),
                    default=next(iter(TITLES)),
                    tooltip=(
                        "ProRes 4444: for editors (default). XQ: for heavy grading. VP9: for the web, 8 bits. FFV1 and "
                        "16-bit PNG: lossless. EXR: for Nuke and Fusion. H.264 has no alpha."
                    ),
                ),
                io.Combo.Input(
                    "content",
                    options=[MATTE, SUBJECT, BOTH],
                    default=SUBJECT,
                    tooltip="The matte alone in grey, the subject's colours with alpha (default), or a file of each.",
                ),
                io.Combo.Input(
                    "alpha",
                    options=[USUAL, "straight", "premultiplied"],
                    default=USUAL,
                    tooltip=(
                        "Whether colours are multiplied by alpha in the file. as usual (default): premultiplied in EXR, "
                        "straight elsewhere. The file says it in its metadata."
                    ),
                ),
                io.Combo.Input(
                    "light",
                    options=list(LIGHTS),
                    default=USUAL,
                    tooltip="as usual (default): linear light in EXR, sRGB elsewhere.",
                ),
                io.Combo.Input(
                    "compression",
                    options=list(COMPRESSIONS),
                    default="zip",
                    tooltip="Of EXR. zip (default), zips and none need nothing. piz, dwaa and dwab need the OpenEXR package.",
                ),
                io.Int.Input(
                    "first_number",
                    default=FIRST,
                    min=0,
                    max=999999,
                    tooltip="Number of the first picture, for PNG and EXR. Default 1001, as is usual in visual effects.",
                ),
                io.Float.Input(
                    "fps",
                    default=24.0,
                    min=0.01,
                    max=1000.0,
                    step=0.001,
                    tooltip="Frames per second. Default 24. A connected video replaces it.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    lazy=True,
                    tooltip="The subject's colours, from GVM Foreground. Not needed for a matte.",
                ),
                io.Audio.Input("audio", optional=True, tooltip="Sound for a video file."),
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="The source: its frame rate, sound, timecode, reel and pixel aspect are kept.",
                ),
                io.Mask.Input("mask_2", optional=True, tooltip="EXR: another matte, in a layer of its own."),
                io.Mask.Input("mask_3", optional=True, tooltip="EXR: another matte, in a layer of its own."),
                io.String.Input(
                    "layers",
                    default="garbage, holdout",
                    optional=True,
                    tooltip="EXR: names of the layers of mask_2 and mask_3, with a comma between them. Default: garbage, holdout.",
                ),
                images_light_input(),
            ],
            outputs=[
                io.String.Output(display_name="path", tooltip="The file, or the folder and pattern of the pictures.")
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def check_lazy_status(cls, content: str, format: str, **given: Any) -> list[str]:
        """Ask for the mask and the images that are connected. Before they are made, refuse what cannot be saved."""
        refuse(content, format, colours="images" in given)
        return [name for name in ("mask", "images") if name in given and given[name] is None]

    @classmethod
    def execute(
        cls,
        mask: Tensor,
        filename_prefix: str,
        format: str,
        content: str,
        alpha: str,
        light: str,
        compression: str,
        first_number: int,
        fps: float,
        images: Tensor | None = None,
        audio: Any = None,
        video: Any = None,
        mask_2: Tensor | None = None,
        mask_3: Tensor | None = None,
        layers: str = "garbage, holdout",
        images_light: str = SRGB,
    ) -> io.NodeOutput:
        """Write the files, and return the path of the first one."""
        refuse(content, format, colours=images is not None)
        frames, matte = matched(mask, images)
        delivery = Delivery(
            format=TITLES[format],
            subject_format=TITLES[format],
            alpha=None if alpha == USUAL else alpha,  # pyright: ignore[reportArgumentType]
            linear=LIGHTS[light],
            compression=compression if FORMATS[TITLES[format]].encoder == "exr" else None,
            start=first_number,
        )
        outputs = files_for(filename_prefix, delivery, content, len(frames), tuple(frames.shape[-2:]))
        with ExitStack() as stack:
            given, sound = facts_of(stack, video, audio, fps, len(frames))
            given = in_light(given, LIGHT_OF[images_light])
            extra = named_layers(layers, [mask_2, mask_3], matte)
            save_clip(outputs, matte.float().cpu(), frames.float().cpu(), given, sound=sound, layers=extra)
        tell(cls.hidden.unique_id, places_of(outputs))
        return io.NodeOutput(str(outputs[0].path), ui=saved(outputs))


def refuse(content: str, format: str, *, colours: bool) -> None:
    """Raise an error if ``content`` needs the subject's ``colours`` and there are none, or a format with alpha."""
    if content == MATTE:
        return
    if not colours:
        raise InputError(
            f"'{content}' needs the subject's colours: connect GVM Foreground to images, or choose '{MATTE}' as content"
        )
    FORMATS[TITLES[format]].pixels(WITH_ALPHA, 2, 2)


def files_for(prefix: str, delivery: Delivery, content: str, frames: int, size: tuple[int, int]) -> list[Output]:
    """The outputs ``PREFIX_00001_matte.mov`` and so on, with the next free number. Several pictures get a folder."""
    folder, name, number, _, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory(), size[1], size[0]
    )
    form = FORMATS[delivery.format or ""]
    base = f"{name}_{number:05}_"

    def place(role: str) -> Path:
        made = f"{base}{role}" if content == BOTH else base
        alone = form.kind == "video" or frames == 1
        return Path(folder) / (f"{made}{form.suffix}" if alone else f"{made}/{name}.####{form.suffix}")

    matte = place("matte") if content != SUBJECT else None
    return outputs_of(delivery, matte, None, place("subject") if content != MATTE else None)


def facts_of(stack: ExitStack, video: Any, audio: Any, fps: float, count: int) -> tuple[Given, Path | None]:
    """What is known of the frames, and a file with their sound: of the source ``video`` if there is one."""
    given, sound = Given(Fraction(fps).limit_denominator(1001), count), None
    if video is not None:
        source, (first, last) = stack.enter_context(as_file(video))
        with open_frames(source, first, last) as reader:
            labels = replace(reader.labels, colour=PLAIN.colour)
            given = replace(given, rate=reader.rate, labels=labels)
        sound = source
    if audio is not None:
        sound = Path(folder_paths.get_temp_directory()) / f"gvm_{uuid4().hex}.avi"
        sound.parent.mkdir(parents=True, exist_ok=True)
        stack.callback(remove, sound)
        spool(sound, torch.zeros(1, 3, 2, 2), given.rate, audio["waveform"][0], audio["sample_rate"])
    return given, sound


def in_light(given: Given, light: Light) -> Given:
    """``given`` for frames in this light."""
    if light.transfer != "linear":
        return given
    colour = replace(given.labels.colour, transfer=LINEAR)
    return replace(given, light=light, labels=replace(given.labels, colour=colour))


def remove(path: Path) -> None:
    """Delete a temporary file, if it can be deleted."""
    with suppress(OSError):
        path.unlink()


def named_layers(names: str, masks: list[Tensor | None], matte: Tensor) -> dict[str, Tensor]:
    """The masks that are connected, ``[T, 1, H, W]`` as large as ``matte``, by the names of their layers."""
    wanted = [name.strip() for name in names.split(",")]
    found = {}
    for index, mask in enumerate(masks):
        if mask is None:
            continue
        if index >= len(wanted) or not wanted[index]:
            raise InputError(f"mask_{index + 2} needs a name in 'layers', as in 'garbage, holdout'")
        fitting, _ = fitted(to_alpha(mask), tuple(matte.shape[-2:]), len(matte), f"mask_{index + 2}")
        found[wanted[index]] = fitting.expand(len(matte), -1, -1, -1)
    return found
