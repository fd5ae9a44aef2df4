"""The nodes, in menu order, and the entry point for ComfyUI."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .clip import GVMLoadClip, GVMLoadClips
from .composite import GVMComposite
from .finish import GVMCombineMattes, GVMForeground, GVMRefineMatte
from .load import GVMLoadModel, register_model_folder
from .matte import GVMMatte
from .measure import GVMCompareMattes, GVMSyntheticClip
from .preview import GVMPreviewMatte
from .renames import register_renames
from .routes import register_routes
from .save import GVMSaveMatte
from .stages import GVMDecode, GVMDenoise, GVMEncode
from .video import GVMMatteVideo

NODES: list[type[io.ComfyNode]] = [
    GVMLoadModel,
    GVMLoadClip,
    GVMLoadClips,
    GVMMatte,
    GVMMatteVideo,
    GVMEncode,
    GVMDenoise,
    GVMDecode,
    GVMRefineMatte,
    GVMCombineMattes,
    GVMForeground,
    GVMComposite,
    GVMPreviewMatte,
    GVMSaveMatte,
    GVMCompareMattes,
    GVMSyntheticClip,
]


class GVMExtension(ComfyExtension):
    """The extension ComfyUI-GVM."""

    async def on_load(self) -> None:
        """Tell ComfyUI what the nodes were called in earlier releases."""
        await register_renames(NODES)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes, in menu order."""
        return NODES


async def comfy_entrypoint() -> GVMExtension:
    """Register the model folder and the routes, and return the nodes. ComfyUI calls this."""
    register_model_folder()
    register_routes()
    return GVMExtension()
