"""Matte a batch of images in one node."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..gvm_core.follow import regions_in
from ..gvm_core.host.comfy import ComfyHost, FrameBar, HostedModel
from ..gvm_core.pipeline import MattingPipeline
from ..gvm_core.settings import FARTHEST, MatteSettings
from ..gvm_core.windows import WindowPlan
from .sockets import GVMModel, schema, to_frames, to_mask, to_masks

DEFAULTS = MatteSettings()

STAGES = 4
"""A frame is encoded, denoised, decoded and finished: each moves the bar, as a window takes long on a processor."""
AUTO_REFINE = -1
ADVANCED = {"advanced": True}
"""ComfyUI's new nodes show such an input after a click on "Show advanced inputs", canvas nodes always."""
SUITED, OWN, CUSTOM = "as suits the model", "as the frames are", "custom"


def resolution_inputs() -> list[Any]:
    """The widgets for the size at which the network sees the frames."""
    return [
        io.Combo.Input(
            "resolution",
            options=[SUITED, OWN, CUSTOM],
            default=SUITED,
            tooltip=(
                "The size at which the network sees the frames. The matte always has the frames' own size.\n"
                "as suits the model: the size it was trained for (gvm: 720 to 1024 px). Right for almost everything.\n"
                "as the frames are: no scaling. More detail and much more memory.\n"
                "custom: short_edge and max_edge, two of the advanced inputs."
            ),
        ),
        io.Int.Input(
            "short_edge",
            extra_dict=ADVANCED,
            default=720,
            min=32,
            max=8192,
            step=8,
            tooltip=(
                "Only for resolution 'custom': the shorter side is scaled to this size. Larger: finer hair, slower, "
                "more memory.\nDefault 720, as released. Rule of thumb: not larger than the footage."
            ),
        ),
        io.Int.Input(
            "max_edge",
            extra_dict=ADVANCED,
            default=1024,
            min=32,
            max=8192,
            step=8,
            tooltip=(
                "Only for resolution 'custom': after that, the longer side is limited to this size. It limits time and "
                "memory.\nDefault 1024, as released."
            ),
        ),
    ]


def window_inputs(plan: WindowPlan = DEFAULTS.plan) -> list[Any]:
    """The widgets for the windows that tile the clip. ``plan`` holds their defaults."""
    return [
        io.Int.Input(
            "window",
            default=plan.length,
            min=1,
            max=64,
            tooltip=(
                "Frames the network sees at once. More: steadier mattes, more memory. The matte depends on it, so it "
                "is never changed automatically.\nDefault 8, as released."
            ),
        ),
        io.Int.Input(
            "overlap",
            default=plan.overlap,
            min=0,
            max=63,
            tooltip=(
                "Frames that neighbouring windows share and cross-fade. More: smoother joins, slower. Must be smaller "
                f"than the window.\nDefault {plan.overlap}. Rule of thumb: a quarter of the window; 0 for the decoder."
            ),
        ),
    ]


def noise_inputs() -> list[Any]:
    """The widgets of the experimental sampling mode."""
    return [
        io.Combo.Input(
            "noise",
            extra_dict=ADVANCED,
            options=["zeros", "gaussian"],
            default=DEFAULTS.noise,
            tooltip=(
                "What a window starts from. zeros: the released one-step mode. gaussian: experimental, from noise in "
                "several steps. It needs diffusers, which ComfyUI does not install.\nDefault zeros: keep it for real "
                "work."
            ),
        ),
        io.Int.Input(
            "steps",
            extra_dict=ADVANCED,
            default=DEFAULTS.steps,
            min=1,
            max=50,
            tooltip=(
                "Network calls per window. Time grows with it.\nDefault 1, as released. More makes sense only with "
                "gaussian noise: 2 to 4."
            ),
        ),
        io.Int.Input(
            "seed",
            extra_dict=ADVANCED,
            default=DEFAULTS.seed,
            min=0,
            max=2**53,
            control_after_generate=False,
            tooltip="Selects the noise of the gaussian mode. No effect with zeros.\nDefault 0. Any value is fine.",
        ),
    ]


def refine_input() -> Any:
    """The widget of `MatteSettings.refine`."""
    return io.Int.Input(
        "refine",
        default=AUTO_REFINE,
        min=AUTO_REFINE,
        max=FARTHEST,
        optional=True,
        tooltip=(
            "Moves the matte's edges to the edges in the frames. The value is the radius to look at, in pixels at the "
            "network's size. Hair that was lost when the frames were shrunk comes back.\n"
            "-1: what suits the model (gvm: 1 where frames are shrunk to four fifths or less). 0: keep the matte as "
            "the network made it.\nDefault -1. Rule of thumb: raise it if edges are soft, to 4 at most. Too much draws "
            "the background's texture into the matte."
        ),
    )


def look_inputs() -> list[Any]:
    """The socket and the widget that say where the network looks."""
    return [
        io.Mask.Input(
            "region",
            optional=True,
            tooltip=(
                "Which subject: a mask that covers it roughly, one for all frames or one for each frame, of any size. "
                "The network sees only what is around it, and sees it large. Alpha is 0 farther away."
            ),
        ),
        io.Boolean.Input(
            "follow",
            default=False,
            optional=True,
            label_on="subject, seen large",
            label_off="whole frames",
            tooltip=(
                "Finds the subject in a first quick pass. Then the network sees only what is around it, on a smooth "
                "path. For subjects that are small in the frame, as in 4K.\nDefault off. Without effect on subjects that "
                "fill the frame. Not together with a region."
            ),
        ),
    ]


def picture_settings(
    resolution: str = SUITED,
    short_edge: int = 0,
    max_edge: int = 0,
    window: int = DEFAULTS.plan.length,
    overlap: int = DEFAULTS.plan.overlap,
    noise: Any = DEFAULTS.noise,
    steps: int = DEFAULTS.steps,
    seed: int = DEFAULTS.seed,
    refine: int = AUTO_REFINE,
) -> MatteSettings:
    """Turn the values of the widgets into settings."""
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
        refine="auto" if refine == AUTO_REFINE else refine,
    )


class GVMMatte(io.ComfyNode):
    """Matte a batch of images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMMatte",
            display_name="GVM Matte",
            description=(
                "Mattes the people (or animals) in a clip. It needs no mask and no click. It takes the frames in order "
                "as one batch, and gives a soft MASK of the same size for each. 1 = subject, as in Remove Background. "
                "(Load Image's mask is inverted.)"
            ),
            search_aliases=["video matting", "remove background video", "alpha matte", "rotoscope"],
            inputs=[
                GVMModel.Input("model", tooltip="From Load GVM Model."),
                io.Image.Input("images", tooltip="The frames of one clip, in order. RGB, any size, at least one."),
                *window_inputs(),
                *resolution_inputs(),
                *noise_inputs(),
                refine_input(),
                *look_inputs(),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="Soft alpha for every frame, 1 = subject.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, model: HostedModel, images: Tensor, region: Tensor | None = None, follow: bool = False, **widgets: Any
    ) -> io.NodeOutput:
        """Run the frames through the pipeline, and return alpha as a MASK."""
        frames = to_frames(images)
        bar = FrameBar(len(frames), cls.hidden.unique_id, STAGES)
        pipeline = MattingPipeline(model.model, picture_settings(**widgets), ComfyHost(model, bar))
        regions = regions_in(pipeline, frames, to_masks(region), find=follow)
        clips = pipeline.stream(frames, regions=regions, between=bar.counted)
        return io.NodeOutput(to_mask(torch.cat([clip.data for clip in clips])))
