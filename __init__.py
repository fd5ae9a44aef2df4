"""What ComfyUI imports: the nodes and the web folder. Outside ComfyUI this module does nothing."""

from importlib.util import find_spec

if find_spec("comfy_api"):
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
