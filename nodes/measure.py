"""Measure mattes: draw clips with exact mattes, and compare mattes with a reference."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..gvm_core.errors import InputError
from ..gvm_core.metrics import MatteScorer
from ..gvm_core.post.resize import resize
from ..gvm_core.synthesis.scene import TIERS, draw_frames
from .chart import chart
from .sockets import schema, to_alpha


class GVMSyntheticClip(io.ComfyNode):
    """Draw a clip whose matte is known exactly."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMSyntheticClip",
            display_name="GVM Synthetic Clip",
            description=(
                "Draws people, with single strands of hair, in front of a moving background. Gives the exact mask, "
                "foreground and background. Use it to test a matte, a workflow or a composite."
            ),
            search_aliases=["test clip", "ground truth", "drawn people"],
            inputs=[
                io.Int.Input(
                    "seed", default=1, min=0, max=2**31 - 1, control_after_generate=True,
                    tooltip="Selects the clip. The same seed always draws the same clip. Default 1. Any value is fine.",
                ),
                io.Combo.Input(
                    "tier", options=list(TIERS), default="medium",
                    tooltip=(
                        "How hard it is to matte. easy: one person, quiet background. medium (default): clutter, wind, "
                        "sometimes two people. hard: similar colours, shapes like people behind, fast motion."
                    ),
                ),
                io.Int.Input("frames", default=24, min=1, max=4096, tooltip="How many frames. Default 24: one second."),
                io.Int.Input("width", default=512, min=16, max=8192, step=8, tooltip="In pixels. Default 512."),
                io.Int.Input("height", default=512, min=16, max=8192, step=8, tooltip="In pixels. Default 512."),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The drawn frames: the foreground over the background."),
                io.Mask.Output(display_name="mask", tooltip="The exact matte, 1 = subject."),
                io.Image.Output(display_name="foreground", tooltip="Straight colour, without the background."),
                io.Image.Output(display_name="background", tooltip="The background alone, with the shadows that fall on it."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, seed: int, tier: str, frames: int, width: int, height: int) -> io.NodeOutput:
        """Draw frame by frame."""
        layers = [torch.empty(frames, height, width, 3) for _ in range(3)]
        mask, bar = torch.empty(frames, height, width), comfy.utils.ProgressBar(frames)
        for index, frame in enumerate(draw_frames(seed, (height, width), frames, tier=tier)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            for layer, drawn in zip(layers, (frame.image, frame.foreground, frame.background), strict=True):
                layer[index] = drawn.movedim(0, -1)
            mask[index] = frame.alpha[0]
            bar.update(1)
        return io.NodeOutput(layers[0], mask, layers[1], layers[2])


class GVMCompareMattes(io.ComfyNode):
    """Score a matte against a reference with the standard measures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMCompareMattes",
            display_name="GVM Compare Mattes",
            description=(
                "Measures the error of a mask against a reference: MAD, MSE, Grad, Conn and dtSSD, scaled as in "
                "published tables. Lower is better. The plot shows every frame."
            ),
            search_aliases=["matting metrics", "MAD", "SAD", "dtSSD", "evaluate mask"],
            inputs=[
                io.Mask.Input("mask", tooltip="The matte to score, 1 = subject."),
                io.Mask.Input(
                    "reference",
                    tooltip="The true matte, such as GVM Synthetic Clip's mask, or another matte to compare with.",
                ),
            ],
            outputs=[
                io.Float.Output(display_name="MAD", tooltip="Mean absolute difference x 1000. Under 10 is good."),
                io.Float.Output(display_name="MSE", tooltip="Mean squared difference x 1000. Large errors count more."),
                io.Float.Output(display_name="Grad", tooltip="Error at edges / 1000. Grows with the number of pixels."),
                io.Float.Output(
                    display_name="Conn", tooltip="Error of connected regions / 1000. Grows with the number of pixels."
                ),
                io.Float.Output(
                    display_name="dtSSD", tooltip="Error of change over time x 100: flicker. Under 2 is good."
                ),
                io.Image.Output(display_name="plot", tooltip="A curve of each measure over all frames."),
            ],
        )

    @classmethod
    def execute(cls, mask: Tensor, reference: Tensor) -> io.NodeOutput:
        """Score frame by frame. A matte of another size is scaled to the reference's size."""
        alpha, truth = to_alpha(mask), to_alpha(reference)
        if len(truth) == 1:
            truth = truth.expand(len(alpha), -1, -1, -1)
        if len(alpha) != len(truth):
            raise InputError(f"there are {len(alpha)} masks but {len(truth)} references; give 1, or one for each mask")
        scorer, bar = MatteScorer(), comfy.utils.ProgressBar(len(alpha))
        size = (truth.shape[2], truth.shape[3])
        for frame, wanted in zip(alpha.split(1), truth.split(1), strict=True):
            comfy.model_management.throw_exception_if_processing_interrupted()
            scorer.add(resize(frame, size).clamp(0, 1), wanted)
            bar.update(1)
        score = scorer.score()
        values = {"MAD": score.mad, "MSE": score.mse, "Grad": score.grad, "Conn": score.conn, "dtSSD": score.dtssd}
        curves = scorer.per_frame()
        picture = chart({name: (value, curves[name.lower()]) for name, value in values.items()})
        return io.NodeOutput(*values.values(), picture[None])
