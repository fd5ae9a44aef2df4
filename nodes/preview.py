"""Look at a matte: over a background, in false colours, its edges, its changes."""

from __future__ import annotations

from typing import get_args

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..gvm_core.post.composite import parse_color
from ..gvm_core.post.views import View
from ..gvm_core.post.views import view as view_of
from .review import review
from .sockets import matched, schema

PLATE = "plate, darkened"
DARKENED = 0.25


class GVMPreviewMatte(io.ComfyNode):
    """Show a matte on the node, and give what is shown as images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMPreviewMatte",
            display_name="GVM Preview Matte",
            description=(
                "Shows a matte on the node, in a player with two views and a wipe between them: the subject over a "
                "background, the matte in grey or in false colours, its soft edges, or what changed since the frame before."
            ),
            search_aliases=["matte status", "alpha view", "checkerboard", "false colour"],
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The frames that were matted, or the foreground from GVM Foreground."),
                io.Mask.Input("mask", tooltip="The matte, 1 = subject. A single mask is used for every frame."),
                io.Combo.Input(
                    "view",
                    options=list(get_args(View)),
                    default="over",
                    tooltip=(
                        "over: the subject over the background below. matte: alpha in grey.\n"
                        "status: black is 0, white is 1, grey is between. Blue is nearly 0 and orange nearly 1: what GVM "
                        "Refine Matte can clean.\nedges: the frame where the matte is soft.\n"
                        "difference: red where alpha grew since the frame before, blue where it shrank.\n"
                        "side by side: frame, matte and over."
                    ),
                ),
                io.Combo.Input(
                    "background",
                    options=["checker", "colour", PLATE],
                    default="checker",
                    tooltip="For 'over' and 'side by side': a checkerboard, the colour below, or the frame itself, dark.",
                ),
                io.String.Input(
                    "colour", default="#00b140", tooltip="For background 'colour': #rrggbb. Default: screen green."
                ),
                io.Float.Input(
                    "fps",
                    default=24.0,
                    min=1.0,
                    max=240.0,
                    step=0.01,
                    tooltip="Frames per second of the video that is shown. Default 24.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="What is shown.")],
        )

    @classmethod
    def execute(
        cls, images: Tensor, mask: Tensor, view: View, background: str, colour: str, fps: float
    ) -> io.NodeOutput:
        """Make the view of every frame, and show it."""
        frames, alpha = matched(mask, images)
        flat = parse_color(colour)[None, :, None, None] if background == "colour" else None
        shown, before = [], None
        for frame, matte in zip(frames[:, None], alpha[:, None], strict=True):
            comfy.model_management.throw_exception_if_processing_interrupted()
            behind = DARKENED * frame if background == PLATE else flat
            shown.append(view_of(view, frame, matte, before, behind).movedim(1, -1))
            before = matte
        made = torch.cat(shown)
        return io.NodeOutput(made, ui=review(zip(frames, alpha, strict=True), fps))
