"""Lets a CUDA-linked torchvision be imported beside a torch without CUDA.

pip's default torchvision for Linux links CUDA libraries. Beside a CPU torch its compiled part cannot load; torchvision
tolerates that, yet stops at import, because it describes two operators that only the compiled part would have declared.
Declaring the two is all it takes: everything written in Python works, and calling a compiled operator still raises
torchvision's own "Couldn't load custom C++ ops".

`comfy_env.environment` copies this file into the environment's site-packages, with a ``.pth`` line that calls `install`
in every interpreter. Nothing happens until torchvision is imported (ComfyUI warns when torch comes before its main.py),
and nothing at all where torchvision's compiled part loads. Importing this module changes nothing.
"""

import contextlib
import functools
import sys
from importlib.machinery import PathFinder
from pathlib import Path

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class Finder:
    """Finds torchvision as Python would, and has the operators declared just before its code runs."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Answer Python's question for a module; only torchvision is ours."""
        if name != "torchvision":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.origin:
            execute = spec.loader.exec_module

            def declare_then_execute(module):
                declare_operators(Path(spec.origin).parent)
                execute(module)

            spec.loader.exec_module = declare_then_execute
        return spec


@functools.cache  # the library must outlive the call: its declarations go when it does
def declare_operators(package: Path):
    """Declare the two schemas, unless torchvision's compiled part can do it itself."""
    import torch

    for compiled in package.glob("_C*"):
        with contextlib.suppress(OSError):  # raised where CUDA's libraries are missing
            torch.ops.load_library(compiled)
            return None
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    return library


def install():
    """Watch for the first import of torchvision."""
    if Finder not in sys.meta_path:  # Python may read a .pth file twice
        sys.meta_path.insert(0, Finder)
