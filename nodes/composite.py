"""Composite a subject over a new background."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from itertools import count, repeat
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..gvm_core.errors import InputError
from ..gvm_core.media import open_frames
from ..gvm_core.post.composite import checker, index_in, over, parse_color, placed, unpremultiply
from ..gvm_core.post.composite import light_wrap as wrap
from .sockets import matched, schema, to_frames
from .video import as_file

STRAIGHT, PREMULTIPLIED = "straight", "premultiplied"


class GVMComposite(io.ComfyNode):
    """Composite images over a background with their mattes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMComposite",
            display_name="GVM Composite",
            description=(
                "Puts the subject over a checkerboard, a colour, other images or a video. In the mask, 1 = subject. A "
                "single mask or background is used for every frame. Use GVM Foreground before it, or the old background "
                "shines through in hair."
            ),
            search_aliases=["alpha over", "merge over", "replace background"],
            inputs=[
                io.Image.Input(
                    "images", tooltip="The subject: the foreground from GVM Foreground, or the frames that were matted."
                ),
                io.Mask.Input("mask", tooltip="1 = subject, as GVM Matte gives it."),
                io.Combo.Input(
                    "background",
                    options=["checker", "colour", "image", "video"],
                    default="checker",
                    tooltip=(
                        "The new background: a grey checkerboard, the colour below, background_images, or "
                        "background_video."
                    ),
                ),
                io.String.Input(
                    "colour", default="#00b140", tooltip="For background 'colour': #rrggbb. Default: screen green."
                ),
                io.Boolean.Input(
                    "linear_light",
                    default=False,
                    tooltip=(
                        "On: mix in linear light, as Nuke does. Soft edges are a little brighter. Off (default): mix "
                        "sRGB values, as most editors do."
                    ),
                ),
                io.Image.Input(
                    "background_images",
                    optional=True,
                    tooltip="For background 'image': one image, or a clip of any length and size.",
                ),
                io.Combo.Input(
                    "fit",
                    options=["stretch", "cover", "contain"],
                    default="stretch",
                    optional=True,
                    tooltip=(
                        "A background of another shape. cover: fills the frame, and is cut. contain: all of it is seen, "
                        "with black borders. stretch (default): its shape changes."
                    ),
                ),
                io.Combo.Input(
                    "length",
                    options=["hold", "loop", "trim"],
                    default="hold",
                    optional=True,
                    tooltip=(
                        "A background that is shorter than the subject. hold (default): its last frame stays. loop: it "
                        "begins again. trim: the result is as short. A longer background is always cut."
                    ),
                ),
                io.Combo.Input(
                    "alpha_of_images",
                    options=[STRAIGHT, PREMULTIPLIED],
                    default=STRAIGHT,
                    optional=True,
                    tooltip=(
                        "straight (default): the colours of the images are whole at soft edges, as in frames and from GVM "
                        "Foreground. premultiplied: they are already multiplied by the mask, as in most EXR files. The "
                        "wrong choice gives dark or bright rims."
                    ),
                ),
                io.Float.Input(
                    "light_wrap",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip=(
                        "How much light of the background spills over the subject's edges.\nDefault 0: none. Rule of "
                        "thumb: 0.2 to 0.5 before a bright background."
                    ),
                ),
                io.Float.Input(
                    "wrap_radius",
                    default=16.0,
                    min=1.0,
                    max=64.0,
                    step=1.0,
                    optional=True,
                    tooltip="How far the light comes in, in pixels. Default 16, for HD.",
                ),
                io.Video.Input(
                    "background_video",
                    optional=True,
                    tooltip="For background 'video': any VIDEO, read frame by frame. It is not resampled in time.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The composite."),
                io.Image.Output(
                    display_name="rgba",
                    tooltip=(
                        "The subject alone with its alpha as the fourth channel, straight, 1 = subject: for nodes that "
                        "save images with alpha. Do not use Join Image with Alpha for it: that node inverts masks."
                    ),
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        mask: Tensor,
        background: str,
        colour: str,
        linear_light: bool,
        background_images: Tensor | None = None,
        fit: Any = "stretch",
        length: Any = "hold",
        alpha_of_images: str = STRAIGHT,
        light_wrap: float = 0.0,
        wrap_radius: float = 16.0,
        background_video: Any = None,
    ) -> io.NodeOutput:
        """Put every frame over its background."""
        foreground, alpha = matched(mask, images)
        premultiplied = alpha_of_images == PREMULTIPLIED
        with ExitStack() as stack:
            there, behind = backgrounds(
                stack, background, colour, background_images, background_video, foreground, length
            )
            frames = min(there, len(foreground)) if there and length == "trim" else len(foreground)
            composite, rgba = torch.empty(frames, *images.shape[1:]), torch.empty(frames, *images.shape[1:3], 4)
            for index in range(frames):  # one at a time: all layers of a long clip would fill the memory
                comfy.model_management.throw_exception_if_processing_interrupted()
                frame, matte = foreground[index].float().cpu(), alpha[index].float().cpu()
                back = placed(next(behind)[None].float().cpu(), (frame.shape[1], frame.shape[2]), fit)[0]
                made = over(frame, matte, back, premultiplied=premultiplied, linear_light=linear_light)
                wrapped = wrap(made[None], matte[None], back[None], wrap_radius, light_wrap, linear_light=linear_light)
                composite[index] = wrapped[0].movedim(0, -1)
                straight = unpremultiply(frame, matte) if premultiplied else frame
                rgba[index] = torch.cat([straight, matte]).movedim(0, -1)
        return io.NodeOutput(composite, rgba)


def backgrounds(
    stack: ExitStack, kind: str, colour: str, images: Tensor | None, video: Any, frames: Tensor, length: Any
) -> tuple[int, Iterator[Tensor]]:
    """How many frames the background has, 0 for any number, and its frames ``[3, h, w]``, endlessly."""
    if kind == "checker":
        return 0, repeat(checker(*frames.shape[-2:]))
    if kind == "colour":
        return 0, repeat(parse_color(colour)[:, None, None].expand(-1, *frames.shape[-2:]))
    if kind == "image":
        if images is None:
            raise InputError("background is 'image', but nothing is connected to background_images; connect images")
        pictures = to_frames(images)
        return len(pictures), (pictures[index_in(index, len(pictures), length)] for index in count())
    if video is None:
        raise InputError("background is 'video', but nothing is connected to background_video; connect a VIDEO")
    source, span = stack.enter_context(as_file(video))
    with open_frames(source, *span) as reader:
        there = reader.counted() if length == "trim" else 0
    film = endless(source, span, loops=length == "loop")
    stack.callback(film.close)
    return there, film


def endless(source: Path, span: tuple[int, int | None], *, loops: bool) -> Generator[Tensor, None, None]:
    """The frames of a video, sRGB ``[3, h, w]``. After its end it begins again, or its last frame is held."""
    shown = None
    while shown is None or loops:
        with open_frames(source, *span) as reader:
            for frame in reader:
                yield (shown := reader.shown(frame))
    yield from repeat(shown)
