"""Read weight files and their configs, with clear errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError

WEIGHTS = "diffusion_pytorch_model.safetensors"
WEIGHTS_FP16 = "diffusion_pytorch_model.fp16.safetensors"
INDICES = ("diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.fp16.json")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from ``path``, or a `ModelError` that names the file."""
    if not path.is_file():
        raise ModelError(f"there is no {path.name} in {path.parent}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} must hold a JSON object")
    return content


def read_safetensors(path: Path, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, converted to ``dtype`` one at a time."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: to_dtype(file.get_tensor(key), dtype) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise ModelError(
            f"{path} ({size:,} bytes) is incomplete or damaged: {error}. Delete it and download it again."
        ) from error


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def read_weights(folder: Path, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The weights in a published network folder: one file or several parts, float32 or float16."""
    for name in (WEIGHTS, WEIGHTS_FP16):
        if (folder / name).is_file():
            return read_safetensors(folder / name, dtype)
    index = next((folder / name for name in INDICES if (folder / name).is_file()), None)
    if index is None:
        raise ModelError(f"there are no weights in {folder}: it needs {WEIGHTS}, or the parts that {INDICES[0]} lists")
    weights: dict[str, Tensor] = {}
    for name in sorted(set(read_json(index)["weight_map"].values())):
        part = folder / Path(name).name
        if not part.is_file():
            raise ModelError(f"{part} is missing: {index.name} lists it as a part of the weights")
        weights |= read_safetensors(part, dtype)
    return weights


def has_weights(folder: Path) -> bool:
    """Whether ``folder`` holds weights that `read_weights` can find."""
    return any((folder / name).is_file() for name in (WEIGHTS, WEIGHTS_FP16, *INDICES))


def to_dtype(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """``tensor`` in ``dtype``, if it is floating point and ``dtype`` is not None."""
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
