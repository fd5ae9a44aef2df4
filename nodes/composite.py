"""Composite a subject over a new background."""

from __future__ import annotations

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..gvm_core.errors import InputError
from ..gvm_core.post.composite import checker, over, parse_color
from ..gvm_core.post.resize import resize
from .sockets import schema, to_alpha, to_frames


class GVMComposite(io.ComfyNode):
    """Composite images over a background with their mattes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMComposite",
            display_name="GVM Composite",
            description=(
                "Puts the subject over a checkerboard, a colour or other images. In the mask, 1 = subject. A single "
                "mask or background is used for every frame."
            ),
            search_aliases=["alpha over", "merge over", "replace background"],
            inputs=[
                io.Image.Input(
                    "images", tooltip="The subject in straight colour, such as the frames that were matted."
                ),
                io.Mask.Input("mask", tooltip="1 = subject, as GVM Matte gives it."),
                io.Combo.Input(
                    "background",
                    options=["checker", "colour", "image"],
                    default="checker",
                    tooltip="The new background: a grey checkerboard, the colour below, or background_images.",
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
                    tooltip="For background 'image': one image, or one for each frame. They are scaled to fit.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images")],
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
    ) -> io.NodeOutput:
        """Build the background, then put the subject over it."""
        foreground, alpha = to_frames(images), to_alpha(mask).to(images.device)
        size = (foreground.shape[2], foreground.shape[3])
        if background == "checker":
            behind = checker(*size)[None]
        elif background == "colour":
            behind = parse_color(colour)[None, :, None, None]
        elif background_images is None:
            raise InputError("background is 'image', but nothing is connected to background_images; connect images")
        else:
            behind = resize(to_frames(background_images), size)
        for name, layer in (("mask", alpha), ("background", behind)):
            if len(layer) not in (1, len(foreground)):
                raise InputError(
                    f"there are {len(foreground)} images but {len(layer)} in the {name}; give 1, or one for each image"
                )
        composite = torch.empty(images.shape)
        for index, frame in enumerate(foreground):  # one at a time: all layers of a long clip would fill the memory
            comfy.model_management.throw_exception_if_processing_interrupted()
            matte, back = (layer[min(index, len(layer) - 1)] for layer in (alpha, behind))
            matte, back = resize(matte[None], size)[0], back.to(frame)
            composite[index] = over(frame, matte, back, linear_light=linear_light).movedim(0, -1)
        return io.NodeOutput(composite)
