"""Read weight files and their configs, with clear errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError

WEIGHTS = "diffusion_pytorch_model.safetensors"
WEIGHTS_FP16 = "diffusion_pytorch_model.fp16.safetensors"
INDICES = ("diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.fp16.json")
TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
"""What torch calls the number types of safetensors files."""


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
    with opened(path) as file:
        return {key: to_dtype(file.get_tensor(key), dtype) for key in file.keys()}  # noqa: SIM118


def read_header(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file without its values: on torch's meta device. Only the file's header is read.

    Raises:
        ModelError: If the file is not as long as its header says, or its header is damaged.
    """
    with opened(path), path.open("rb") as file:  # opening checks the header
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    if unknown := [each["dtype"] for each in header.values() if each["dtype"] not in TYPES]:
        raise ModelError(f"{path} holds numbers of the type {unknown[0]}, which cannot be used here")
    return {
        key: torch.empty(each["shape"], dtype=getattr(torch, TYPES[each["dtype"]]), device="meta")
        for key, each in header.items()
    }


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file. Values are read only when they are asked for.

    Raises:
        ModelError: If the file is damaged, also while it is read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
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
    weights: dict[str, Tensor] = {}
    for path in weight_files(folder):
        weights |= read_safetensors(path, dtype)
    return weights


def weight_files(folder: Path) -> list[Path]:
    """The files of the weights in a published network folder. Raises `ModelError` if one is missing."""
    for name in (WEIGHTS, WEIGHTS_FP16):
        if (folder / name).is_file():
            return [folder / name]
    index = next((folder / name for name in INDICES if (folder / name).is_file()), None)
    if index is None:
        raise ModelError(f"there are no weights in {folder}: it needs {WEIGHTS}, or the parts that {INDICES[0]} lists")
    parts = [folder / Path(name).name for name in sorted(set(read_json(index)["weight_map"].values()))]
    for part in parts:
        if not part.is_file():
            raise ModelError(f"{part} is missing: {index.name} lists it as a part of the weights")
    return parts


def has_weights(folder: Path) -> bool:
    """Whether ``folder`` holds weights that `read_weights` can find."""
    return any((folder / name).is_file() for name in (WEIGHTS, WEIGHTS_FP16, *INDICES))


def to_dtype(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """``tensor`` in ``dtype``, if it is floating point and ``dtype`` is not None."""
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
