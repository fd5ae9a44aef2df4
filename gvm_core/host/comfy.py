"""`ComfyHost`: ComfyUI's model management owns device and memory. This is the only core file that imports ComfyUI.

Each network has one of ComfyUI's model patchers and is made of ComfyUI's castable layers. So offloading, partial
loading, the VRAM flags and dynamic VRAM work for it as for ComfyUI's own models.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_management as management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch
from PIL import Image
from torch import Tensor

from ..frames import Clip
from ..models.weights import MattingModel, load_model
from .base import Network

PREVIEW_EDGE = 512


@dataclass(frozen=True)
class HostedModel:
    """A matting model that ComfyUI manages: the value of a GVM_MODEL socket.

    Attributes:
        model: The networks.
        patchers: ComfyUI's patcher of each network, by the network's ``id``.
    """

    model: MattingModel
    patchers: dict[int, Any]

    def get_models(self) -> list[Any]:
        """The patchers. ComfyUI's caches call this to learn what a value keeps in memory."""
        return list(self.patchers.values())


def load_hosted(source: str | os.PathLike[str], **choices: Any) -> HostedModel:
    """`load_model` with the same arguments, but with ComfyUI's layers, attention and model patchers.

    ComfyUI's layers fetch offloaded weights and cast them to the input's type. The results are the same to the bit.

    Raises:
        ModelError: As `load_model`.
    """
    model = load_model(source, **choices, operations=comfy.ops.manual_cast, attend=host_attention)
    patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    device = management.get_torch_device()
    places = ((model.unet, management.unet_offload_device()), (model.vae, management.vae_offload_device()))
    return HostedModel(model, {id(network): patcher(network, device, offload) for network, offload in places})


def host_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Attention of ``[N, tokens, C]`` with the kernel that ComfyUI was started with."""
    return comfy.ldm.modules.attention.optimized_attention(query, key, value, heads)  # other packs may replace it


class ComfyHost:
    """Runs a pipeline with ComfyUI's device, memory, progress bar and cancel button.

    Args:
        hosted: The model to run, from `load_hosted`.
        bar: The progress bar of a node; None for no bar.
    """

    def __init__(self, hosted: HostedModel, bar: FrameBar | None = None) -> None:
        self.hosted, self.bar = hosted, bar
        self.device: torch.device = management.get_torch_device()

    @contextmanager
    def resident(self, network: Network, activation_bytes: int) -> Iterator[None]:
        """Ask ComfyUI to load ``network``, partly if necessary, with memory for its activations."""
        management.load_models_gpu([self.hosted.patchers[id(network)]], memory_required=activation_bytes)
        yield

    @contextmanager
    def widened(self, network: Network, activation_bytes: int) -> Iterator[None]:
        """Compute in float32. The castable layers convert each weight when they use it."""
        management.load_models_gpu([self.hosted.patchers[id(network)]], memory_required=activation_bytes)
        network.compute_dtype = torch.float32
        try:
            yield
        finally:
            network.compute_dtype = None

    def free_bytes(self) -> int:
        """Bytes that ComfyUI can free by unloading other models, minus the memory that it must reserve."""
        if management.is_device_cpu(self.device):
            return management.get_free_memory(self.device)
        return management.get_total_memory(self.device) - management.extra_reserved_memory()

    def release_memory(self) -> None:
        """Let ComfyUI free the memory that it holds but does not use."""
        management.soft_empty_cache()

    def check_cancelled(self) -> None:
        """Raise ComfyUI's own interrupt if the user pressed cancel."""
        management.throw_exception_if_processing_interrupted()

    def advance(self, alpha: Clip) -> None:
        """Move the bar, and show the last finished matte."""
        if self.bar is not None:
            self.bar.move(len(alpha), alpha)


class FrameBar:
    """A node's progress bar that moves frame by frame and shows the last finished matte.

    Args:
        frames: Number of frames to finish.
        node_id: Id of the node.
        passes: How often each frame is counted until it is finished.
    """

    def __init__(self, frames: int, node_id: str | None, passes: int = 1) -> None:
        self.bar = comfy.utils.ProgressBar(frames * passes, node_id=node_id)
        self.done = 0

    def counted(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Yield the clips on, and move with each."""
        for clip in clips:
            self.move(len(clip))
            yield clip

    def move(self, frames: int, alpha: Clip | None = None) -> None:
        """Move by ``frames`` frames, and show the last frame of ``alpha`` ``[T, 1, H, W]`` if it is given."""
        picture = None if alpha is None else preview(alpha)
        shown = picture and ("JPEG", picture, min(PREVIEW_EDGE, max(picture.size)))  # ComfyUI scales it to this size
        for left in reversed(range(frames)):
            self.done += 1
            self.bar.update_absolute(self.done, preview=None if left else shown)


def preview(alpha: Clip) -> Image.Image:
    """The last frame of ``alpha`` as a grey picture."""
    return Image.fromarray((alpha.data[-1, 0].clamp(0, 1) * 255).round().byte().cpu().numpy())


def suitable_dtype() -> torch.dtype:
    """Half precision if ComfyUI says that it is useful on this device, else float32.

    float16 is preferred: on this model it is about ten times closer to float32 than bfloat16. Apple's GPU uses float32,
    because float16 attention gives NaN there.
    """
    device = management.get_torch_device()
    if management.is_device_mps(device):
        return torch.float32
    if management.should_use_fp16(device):
        return torch.float16
    return torch.bfloat16 if management.should_use_bf16(device) else torch.float32
