"""The three stages of the method as separate nodes, to look at or change the latents between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..gvm_core.errors import InputError
from ..gvm_core.frames import Clip
from ..gvm_core.host.comfy import ComfyHost, FrameBar, HostedModel
from ..gvm_core.pipeline import MattingPipeline
from ..gvm_core.windows import WindowPlan
from .matte import AUTO_REFINE, DEFAULTS, noise_inputs, picture_settings, refine_input, resolution_inputs, window_inputs
from .sockets import GVMAlphaLatents, GVMLatents, GVMModel, Latents, schema, to_frames, to_mask


def collected(clips: Iterable[Clip]) -> Clip:
    """Join gapless clips into one, since a socket needs the whole clip."""
    parts = list(clips)
    return Clip(torch.cat([part.data for part in parts]), parts[0].start)


class GVMEncode(io.ComfyNode):
    """Encode frames to image latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMEncode",
            display_name="GVM Encode",
            description="First of three stages: scales and pads the frames, and encodes each frame to latents.",
            inputs=[
                GVMModel.Input("model", tooltip="From Load GVM Model."),
                io.Image.Input("images", tooltip="The frames of one clip, in order."),
                *resolution_inputs(),
            ],
            outputs=[GVMLatents.Output(display_name="latents", tooltip="Image latents, for GVM Denoise.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: HostedModel, images: Tensor, **widgets: Any) -> io.NodeOutput:
        """Scale, pad and encode."""
        settings = picture_settings(**widgets)
        bar = FrameBar(len(images), cls.hidden.unique_id)
        pipeline = MattingPipeline(model.model, settings, ComfyHost(model))
        fit, clips = pipeline.fit(to_frames(images))
        return io.NodeOutput(Latents(collected(bar.counted(pipeline.encode(clips))), fit))


class GVMDenoise(io.ComfyNode):
    """Turn image latents into alpha latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMDenoise",
            display_name="GVM Denoise",
            description="Second of three stages: runs the video network window by window, and cross-fades the windows.",
            inputs=[
                GVMModel.Input("model", tooltip="The model that encoded the latents."),
                GVMLatents.Input("latents", tooltip="From GVM Encode."),
                *window_inputs(),
                *noise_inputs(),
            ],
            outputs=[GVMAlphaLatents.Output(display_name="alpha latents", tooltip="For GVM Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: HostedModel, latents: Latents, **widgets: Any) -> io.NodeOutput:
        """Denoise in windows, and join them."""
        settings = picture_settings(**widgets)
        bar = FrameBar(len(latents.clip), cls.hidden.unique_id)
        pipeline = MattingPipeline(model.model, settings, ComfyHost(model))
        return io.NodeOutput(
            Latents(collected(bar.counted(pipeline.denoise([latents.clip]))), latents.fit, settings.plan)
        )


class GVMDecode(io.ComfyNode):
    """Decode alpha latents to a MASK."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMDecode",
            display_name="GVM Decode",
            description="Last of three stages: decodes alpha latents to a MASK of the frames' own size, 1 = subject.",
            inputs=[
                GVMModel.Input("model", tooltip="The model that made the latents."),
                GVMAlphaLatents.Input("alpha_latents", tooltip="From GVM Denoise."),
                *window_inputs(DEFAULTS.decoder_plan),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The frames that were encoded. If connected, edges are refined as in GVM Matte.",
                ),
                refine_input(),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="Soft alpha for every frame, 1 = subject.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: HostedModel,
        alpha_latents: Latents,
        window: int,
        overlap: int,
        images: Tensor | None = None,
        refine: int = AUTO_REFINE,
    ) -> io.NodeOutput:
        """Decode, refine with the frames if they are given, and clamp."""
        settings = replace(
            picture_settings(refine=0 if images is None else refine),
            plan=alpha_latents.plan,
            decode_plan=WindowPlan(window, overlap),
        )
        if images is not None and images.shape[:3] != (len(alpha_latents.clip), *alpha_latents.fit.source):
            raise InputError(
                f"images holds {list(images.shape[:3])} (frames, height, width), but the latents were made "
                f"from {[len(alpha_latents.clip), *alpha_latents.fit.source]}; connect the frames that were encoded"
            )
        host = ComfyHost(model, FrameBar(len(alpha_latents.clip), cls.hidden.unique_id))
        pipeline = MattingPipeline(model.model, settings, host)
        clip, fit = alpha_latents.clip, alpha_latents.fit
        if images is not None:
            _, fitted = pipeline.fit(to_frames(images), fit=fit, originals=True)
            clip = Clip(clip.data, clip.start, tuple(each.originals[0] for each in fitted))
        alpha = pipeline.refine(pipeline.decode([clip]), fit)
        return io.NodeOutput(to_mask(collected(pipeline.finish(alpha)).data))
