"""`ComfyHost`: inside ComfyUI, where its model management owns device and memory. The only core file that imports it.

Each network lives in one of ComfyUI's model patchers and is made of ComfyUI's castable layers, so offloading, partial
loading, the VRAM flags and dynamic VRAM work on it as on any of its own models.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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
    """A matting model in ComfyUI's keeping: what travels through a GVM_MODEL socket.

    Attributes:
        model: The networks.
        patchers: ComfyUI's patcher for each, by the network's ``id``.
    """

    model: MattingModel
    patchers: dict[int, Any]

    def get_models(self) -> list[Any]:
        """The patchers, where ComfyUI's caches look for what a value keeps in memory."""
        return list(self.patchers.values())


def load_hosted(source: str | os.PathLike[str], **choices: Any) -> HostedModel:
    """`load_model` with the same arguments, into ComfyUI's keeping: its layers, its attention, its model patchers.

    ComfyUI's layers fetch weights that stayed behind and cast them to their input; results stay the same to the bit.

    Raises:
        ModelError: As `load_model`.
    """
    model = load_model(source, **choices, operations=comfy.ops.manual_cast, attend=host_attention)
    patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    device = management.get_torch_device()
    places = ((model.unet, management.unet_offload_device()), (model.vae, management.vae_offload_device()))
    return HostedModel(model, {id(network): patcher(network, device, offload) for network, offload in places})


def host_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Attention of ``[N, tokens, C]`` by whichever kernel ComfyUI was started with."""
    return comfy.ldm.modules.attention.optimized_attention(query, key, value, heads)  # other packs may replace it


class ComfyHost:
    """Runs a pipeline on ComfyUI's device, within its memory, under its progress bar and cancel button.

    Args:
        hosted: The model to run, from `load_hosted`.
        bar: Shows how far it is, on a node; None for none.
    """

    def __init__(self, hosted: HostedModel, bar: FrameBar | None = None) -> None:
        self.hosted, self.bar = hosted, bar
        self.device: torch.device = management.get_torch_device()

    @contextmanager
    def resident(self, network: Network, activation_bytes: int) -> Iterator[None]:
        """Ask ComfyUI to load ``network``, in part if it must, with room for its activations."""
        management.load_models_gpu([self.hosted.patchers[id(network)]], memory_required=activation_bytes)
        yield

    @contextmanager
    def widened(self, network: Network, activation_bytes: int) -> Iterator[None]:
        """Compute in float32; the castable layers widen each weight as they use it."""
        management.load_models_gpu([self.hosted.patchers[id(network)]], memory_required=activation_bytes)
        network.compute_dtype = torch.float32
        try:
            yield
        finally:
            network.compute_dtype = None

    def free_bytes(self) -> int:
        """What ComfyUI can make free by unloading other models, less what it was told to leave alone."""
        if management.is_device_cpu(self.device):
            return management.get_free_memory(self.device)
        return management.get_total_memory(self.device) - management.extra_reserved_memory()

    def release_memory(self) -> None:
        """Have ComfyUI give back what it holds and does not use."""
        management.soft_empty_cache()

    def check_cancelled(self) -> None:
        """Raise ComfyUI's own interrupt if the user pressed cancel."""
        management.throw_exception_if_processing_interrupted()

    def advance(self, alpha: Clip) -> None:
        """Move the bar, and show the last finished matte."""
        if self.bar is not None:
            self.bar.move(len(alpha), alpha)


class FrameBar:
    """A node's progress bar that moves frame by frame, and the last finished matte on the node.

    Args:
        frames: How many will be finished.
        node_id: The node.
    """

    def __init__(self, frames: int, node_id: str | None) -> None:
        self.bar = comfy.utils.ProgressBar(frames, node_id=node_id)
        self.done = 0

    def move(self, frames: int, alpha: Clip | None = None) -> None:
        """Move by so many frames, and show the last of ``alpha`` ``[T, 1, H, W]`` if it is given."""
        shown = None if alpha is None else ("JPEG", preview(alpha), PREVIEW_EDGE)
        for left in reversed(range(frames)):
            self.done += 1
            self.bar.update_absolute(self.done, preview=None if left else shown)


def preview(alpha: Clip) -> Image.Image:
    """The last frame of ``alpha`` as a grey picture."""
    return Image.fromarray((alpha.data[-1, 0].clamp(0, 1) * 255).round().byte().cpu().numpy())


def suitable_dtype() -> torch.dtype:
    """Half precision where ComfyUI finds it works and pays on this device, else float32.

    float16 first: on this model it is about ten times closer to float32 than bfloat16. Not on Apple's GPU, where its
    attention turns into NaN.
    """
    device = management.get_torch_device()
    if management.is_device_mps(device):
        return torch.float32
    if management.should_use_fp16(device):
        return torch.float16
    return torch.bfloat16 if management.should_use_bf16(device) else torch.float32
