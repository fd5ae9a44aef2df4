"""Matte a batch of images in one node."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..gvm_core.host.comfy import ComfyHost, FrameBar, HostedModel
from ..gvm_core.pipeline import MattingPipeline
from ..gvm_core.settings import FARTHEST, MatteSettings
from ..gvm_core.windows import WindowPlan
from .sockets import GVMModel, schema, to_frames, to_mask

DEFAULTS = MatteSettings()

AS_SUITS = -1
SUITED, OWN, CUSTOM = "as suits the model", "as the frames are", "custom"


def resolution_inputs() -> list[Any]:
    """The widgets that decide at what size the network sees the frames."""
    return [
        io.Combo.Input(
            "resolution",
            options=[SUITED, OWN, CUSTOM],
            default=SUITED,
            tooltip=(
                "At what size the network sees the frames; the matte always comes back at their own size.\n"
                "as suits the model: what it was trained for (gvm: 720 to 1024 px). Right for almost everything.\n"
                "as the frames are: no scaling. More detail and much more memory.\ncustom: the two values below."
            ),
        ),
        io.Int.Input(
            "short_edge",
            default=720,
            min=32,
            max=8192,
            step=8,
            tooltip=(
                "Only for resolution 'custom': the shorter side is scaled to this. Larger: finer hair, slower, more "
                "memory.\nDefault 720, as released. Rule of thumb: not above the footage's own."
            ),
        ),
        io.Int.Input(
            "max_edge",
            default=1024,
            min=32,
            max=8192,
            step=8,
            tooltip=(
                "Only for resolution 'custom': then the longer side is limited to this, which bounds time and memory."
                "\nDefault 1024, as released."
            ),
        ),
    ]


def window_inputs(plan: WindowPlan = DEFAULTS.plan) -> list[Any]:
    """The widgets that decide how windows tile the clip; ``plan`` holds their defaults."""
    return [
        io.Int.Input(
            "window",
            default=plan.length,
            min=1,
            max=64,
            tooltip=(
                "Frames the network sees at once. More: steadier and more memory. Part of the picture, never changed "
                "behind your back.\nDefault 8, as released."
            ),
        ),
        io.Int.Input(
            "overlap",
            default=plan.overlap,
            min=0,
            max=63,
            tooltip=(
                "Frames that neighbouring windows share and cross-fade. More: smoother joins, slower; must be smaller "
                f"than the window.\nDefault {plan.overlap}. Rule of thumb: a quarter of the UNet's window, none for the decoder."
            ),
        ),
    ]


def noise_inputs() -> list[Any]:
    """The widgets of the experimental sampling mode."""
    return [
        io.Combo.Input(
            "noise",
            options=["zeros", "gaussian"],
            default=DEFAULTS.noise,
            tooltip=(
                "How a window starts. zeros: the released one-step mode. gaussian: experimental, from noise in several "
                "steps; it needs diffusers, which ComfyUI does not bring.\nDefault zeros; leave it there for real work."
            ),
        ),
        io.Int.Input(
            "steps",
            default=DEFAULTS.steps,
            min=1,
            max=50,
            tooltip=(
                "Network calls per window: time grows with it.\nDefault 1, as released; more only makes sense with "
                "gaussian noise, then 2 to 4."
            ),
        ),
        io.Int.Input(
            "seed",
            default=DEFAULTS.seed,
            min=0,
            max=2**53,
            control_after_generate=False,
            tooltip="Names the noise of the gaussian mode; no effect on zeros.\nDefault 0. Any value will do.",
        ),
    ]


def refine_input() -> Any:
    """The widget of `MatteSettings.refine`."""
    return io.Int.Input(
        "refine",
        default=AS_SUITS,
        min=AS_SUITS,
        max=FARTHEST,
        optional=True,
        tooltip=(
            "Bring edges to where the frames have them: how far around, in pixels of what the network saw, pixels are "
            "looked at. Frames that were shrunk for the network get hair back that it never saw.\n"
            "-1: what suits the model (gvm: 1 where frames are shrunk to four fifths or less). 0: leave the matte as "
            "the network made it.\nDefault -1. Rule of thumb: raise it if edges are soft, to 4 at most; too much draws the background's "
            "texture into the matte."
        ),
    )


def picture_settings(
    resolution: str = SUITED,
    short_edge: int = 0,
    max_edge: int = 0,
    window: int = DEFAULTS.plan.length,
    overlap: int = DEFAULTS.plan.overlap,
    noise: Any = DEFAULTS.noise,
    steps: int = DEFAULTS.steps,
    seed: int = DEFAULTS.seed,
    refine: int = AS_SUITS,
) -> MatteSettings:
    """The settings that the widgets of these names stand for."""
    sizes: dict[str, tuple[Any, Any]] = {
        SUITED: ("auto", "auto"), OWN: ("own", "own"), CUSTOM: (short_edge, max_edge)
    }  # fmt: skip
    short, long = sizes[resolution]
    return MatteSettings(
        plan=WindowPlan(window, overlap),
        short_edge=short,
        max_edge=long,
        noise=noise,
        steps=steps,
        seed=seed,
        refine="auto" if refine == AS_SUITS else refine,
    )


class GVMMatte(io.ComfyNode):
    """Mattes for a batch of images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMMatte",
            display_name="GVM Matte",
            description=(
                "Mattes the people (or animals) in a clip: no mask, no click. Takes the frames in order as one batch "
                "and gives a soft MASK of the same size for each, 1 = subject, as Remove Background does (Load Image's "
                "mask is the other way round)."
            ),
            search_aliases=["video matting", "remove background video", "alpha matte", "rotoscope"],
            inputs=[
                GVMModel.Input("model", tooltip="From Load GVM Model."),
                io.Image.Input("images", tooltip="The frames of one clip, in order. RGB, any size, at least one."),
                *window_inputs(),
                *resolution_inputs(),
                *noise_inputs(),
                refine_input(),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="Soft alpha for every frame, 1 = subject.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: HostedModel, images: Tensor, **widgets: Any) -> io.NodeOutput:
        """Widgets to settings, frames through the pipeline, alpha to a MASK."""
        frames = to_frames(images)
        host = ComfyHost(model, FrameBar(len(frames), cls.hidden.unique_id))
        clips = MattingPipeline(model.model, picture_settings(**widgets), host).stream(frames)
        return io.NodeOutput(to_mask(torch.cat([clip.data for clip in clips])))
