"""Refine and combine mattes, and estimate the colours of the foreground."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..gvm_core.finishing import AT_ONCE, foregrounds, refined
from ..gvm_core.frames import Clip
from ..gvm_core.host.comfy import FrameBar
from ..gvm_core.post.combine import CORE, combine, fitted
from ..gvm_core.post.despill import screen_of
from ..gvm_core.post.foreground import FARTHEST, LIMITS, SCREENS, ForegroundSettings
from ..gvm_core.post.light import Light
from ..gvm_core.post.refine import RefineSettings
from ..gvm_core.runs.outputs import decoded, encoded
from .review import REFINABLE, refuse_without_frames, review
from .sockets import matched, schema, to_alpha, to_mask

log = logging.getLogger(__name__)

SRGB = "sRGB"
LIGHT_OF = {SRGB: Light(), "linear": Light("linear")}
DEFAULTS, IDENTITY = ForegroundSettings(), RefineSettings()


def collected(clips: Iterator[Clip], frames: int, node_id: str | None, *, shown: bool = True) -> Tensor:
    """The data of all clips ``[T, C, H, W]``. The node's bar moves, and the user can cancel between clips.

    Mattes are shown on the node while it runs, if ``shown``.
    """
    bar, made = FrameBar(frames, node_id), []
    for clip in clips:
        comfy.model_management.throw_exception_if_processing_interrupted()
        made.append(clip.data)
        bar.move(len(clip), clip if shown and clip.data.shape[1] == 1 else None)
    return torch.cat(made)


def images_light_input() -> Any:
    """The widget that says in which light the images are."""
    return io.Combo.Input(
        "images_light",
        options=list(LIGHT_OF),
        default=SRGB,
        optional=True,
        tooltip=(
            "The light of the images. sRGB (default): as from most nodes. linear: for 'images' of GVM Load Clip from EXR, and "
            "what was made of them. Rule of thumb: the wrong choice makes the result far too bright or too dark."
        ),
    )


class GVMRefineMatte(io.ComfyNode):
    """Refine a finished matte."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMRefineMatte",
            display_name="GVM Refine Matte",
            description=(
                "Refines a finished matte: cleans it, moves and softens its edges, removes specks, calms chatter. Until a "
                "value is changed, nothing changes. The network does not run again, so trying settings takes seconds."
            ),
            search_aliases=["matte levels", "choke matte", "erode dilate mask", "feather mask", "despeckle", "chatter"],
            is_output_node=True,  # or its player stays empty where ComfyUI has the result already
            inputs=[
                io.Mask.Input("mask", tooltip="The matte, from GVM Matte or a file. 1 = subject."),
                slider("guided", 0, 64, 1, "Aligns edges with those in the frames, up to this far away. Needs images."),
                slider(
                    "chatter", 0, 4, 1, "Soft edges are averaged over so many frames before and after. Needs images."
                ),
                slider("clean_black", 0.0, 0.5, 0.005, "Alpha up to this becomes 0: haze in the background."),
                slider(
                    "clean_white", 0.0, 0.5, 0.005, "Alpha down to 1 minus this becomes 1: thin places in the subject."
                ),
                slider(
                    "rollback", 0.0, 64.0, 0.5, "Gives detail back that cleaning took, this near to the edges (pixels)."
                ),
                slider("gamma", 0.1, 4.0, 0.05, "Above 1: soft edges become thicker. Below 1: thinner."),
                slider("despeckle", 0, 100000, 10, "Islands with fewer pixels vanish."),
                slider(
                    "fill_holes", 0, 100000, 10, "Holes with fewer pixels are filled. A gap at an elbow is a hole, too."
                ),
                slider("expand", -128.0, 128.0, 0.1, "Moves the edge outwards, or inwards below 0 (pixels)."),
                slider("feather", 0.0, 64.0, 0.5, "Makes the edge softer by so much to each side (pixels)."),
                slider("mix", 0.0, 1.0, 0.05, "1: the refined matte. 0: the matte as it came."),
                io.Image.Input("images", optional=True, tooltip="The frames, for chatter and guided."),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The refined matte, 1 = subject.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, mask: Tensor, images: Tensor | None = None, **sliders: Any) -> io.NodeOutput:
        """Refine every matte."""
        settings = RefineSettings(**sliders)
        refuse_without_frames(settings, images)
        node_id = cls.hidden.unique_id
        REFINABLE.keep(node_id, mask, images)
        frames, alpha = matched(mask, images)
        if not settings.identity:
            device = comfy.model_management.get_torch_device()
            clips = refined(zip(frames, alpha, strict=True), settings, device)
            alpha = collected(clips, len(alpha), node_id, shown=False)
        return io.NodeOutput(to_mask(alpha), ui=review(zip(frames, alpha, strict=True)))


def slider(name: str, low: float, high: float, step: float, effect: str) -> Any:
    """A widget of `RefineSettings` with its default, which changes nothing."""
    default = getattr(IDENTITY, name)
    kind = io.Float if isinstance(low, float) else io.Int
    tooltip = f"{effect}\nDefault {default:g}: no change." if name != "mix" else f"{effect}\nDefault {default:g}."
    return kind.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip)


class GVMCombineMattes(io.ComfyNode):
    """Combine a matte with other masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMCombineMattes",
            display_name="GVM Combine Mattes",
            description=(
                "Adds to a matte what it lost, and takes away what does not belong to it. All masks are optional: one "
                "mask for all frames, or one for each. They are used in the order of the sockets, so garbage always "
                "wins. In every mask, 1 = white = the part that is meant."
            ),
            search_aliases=[
                "garbage matte",
                "holdout matte",
                "core matte",
                "combine masks",
                "add mask",
                "subtract mask",
            ],
            inputs=[
                io.Mask.Input("mask", tooltip="The matte, from GVM Matte or GVM Refine Matte. 1 = subject."),
                io.Float.Input(
                    "core",
                    default=CORE,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    tooltip=(
                        "For 'add': so many pixels are taken off the rim of the added mask, and it becomes soft there. "
                        "So its hard rim does not show in the soft edges of the matte.\n"
                        "Default 4. Rule of thumb: the width of the matte's soft edge. 0 adds the whole mask."
                    ),
                ),
                io.Mask.Input(
                    "add",
                    optional=True,
                    tooltip="What the matte lost, such as a bag in a hand: a mask from SAM, or another matte.",
                ),
                io.Mask.Input(
                    "holdout", optional=True, tooltip="What is subject for certain (inside mask, core). Added as it is."
                ),
                io.Mask.Input(
                    "intersect", optional=True, tooltip="The matte stays only where this mask is white, too."
                ),
                io.Mask.Input(
                    "subtract",
                    optional=True,
                    tooltip="Another matte to take away, as of a person in front of the subject.",
                ),
                io.Mask.Input(
                    "garbage",
                    optional=True,
                    tooltip="What is background for certain (outside mask): lamps, crew, other people. It always wins.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The combined matte, 1 = subject.")],
        )

    @classmethod
    def execute(cls, mask: Tensor, core: float, **masks: Tensor | None) -> io.NodeOutput:
        """Bring all masks to the size of the matte, and combine them."""
        alpha, others = to_alpha(mask), {}
        for name, other in masks.items():
            if other is not None:
                others[name], note = fitted(to_alpha(other), tuple(alpha.shape[-2:]), len(alpha), name)
                if note:
                    log.info(note)
        made = []
        for index, each in enumerate(alpha):  # one at a time: masks of a long clip would fill the memory twice
            comfy.model_management.throw_exception_if_processing_interrupted()
            of_frame = {name: other[min(index, len(other) - 1)][None] for name, other in others.items()}
            made.append(combine(each[None], core=core, **of_frame))
        return io.NodeOutput(to_mask(torch.cat(made)))


class GVMForeground(io.ComfyNode):
    """Estimate the subject's own colours."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMForeground",
            display_name="GVM Foreground",
            description=(
                "The subject's own colours, without the old background: soft edges and hair lose their halo. The matte "
                "stays as it is. It can also remove the spill of a green or blue screen. Connect the result to GVM "
                "Composite or GVM Save Matte."
            ),
            search_aliases=["despill", "decontaminate", "edge colour", "remove halo", "unmix", "foreground estimation"],
            inputs=[
                io.Image.Input("images", tooltip="The frames that were matted, in order."),
                io.Mask.Input("mask", tooltip="Their matte, 1 = subject. A single mask is used for every frame."),
                io.Combo.Input(
                    "despill",
                    options=list(SCREENS),
                    default=DEFAULTS.screen,
                    tooltip=(
                        "Removes the light of a screen from the subject's edges. off (default). auto: looks at the "
                        "background, and does nothing if it is no screen."
                    ),
                ),
                io.Combo.Input(
                    "limit",
                    options=list(LIMITS),
                    default=DEFAULTS.limit,
                    tooltip=(
                        "How much of the screen's colour may stay, for despill. average (default): at most the average of "
                        "the other two channels. double average and maximum leave more: for skin that turns purple."
                    ),
                ),
                io.Float.Input(
                    "strength",
                    default=DEFAULTS.strength,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the spill is removed. Default 1: all of it.",
                ),
                io.Boolean.Input(
                    "keep_brightness",
                    default=DEFAULTS.keep_brightness,
                    tooltip="Give back the light that despill removed, as grey. Default off, as in keyers.",
                ),
                io.Int.Input(
                    "steady",
                    default=DEFAULTS.margin,
                    min=0,
                    max=FARTHEST,
                    tooltip=(
                        "Frames before and after that are averaged where nothing moves, so that edges do not flicker. "
                        f"Default {DEFAULTS.margin}. 0: every frame on its own."
                    ),
                ),
                images_light_input(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="The subject's colours, straight. Where the mask is 0, the nearest colours of the subject.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        mask: Tensor,
        despill: Any,
        limit: Any,
        strength: float,
        keep_brightness: bool,
        steady: int,
        images_light: str = SRGB,
    ) -> io.NodeOutput:
        """Decide on the screen once for the clip, then estimate every frame's colours."""
        frames, alpha = matched(mask, images)
        light, screen = LIGHT_OF[images_light], despill
        if despill == "auto":
            opening = torch.stack([light.to_srgb(frame) for frame in frames[:AT_ONCE].float()])
            screen = screen_of(opening, alpha[:AT_ONCE].float())
            log.info("despill: %s", "the background is no screen" if screen == "off" else f"a {screen} screen")
        settings = ForegroundSettings(
            margin=steady, screen=screen, limit=limit, strength=strength, keep_brightness=keep_brightness
        )
        device = comfy.model_management.get_torch_device()
        even = (encoded(frame, light) for frame in frames)
        clips = foregrounds(zip(even, alpha, strict=True), settings, device)
        colours = (
            clip.replace(decoded(clip.data[:, :3], list(frames[clip.start : clip.stop]), light)) for clip in clips
        )
        made = collected(colours, len(frames), cls.hidden.unique_id)
        return io.NodeOutput(made.movedim(1, -1).contiguous())
