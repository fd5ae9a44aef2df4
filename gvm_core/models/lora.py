"""Low-rank updates (LoRA) of the UNet: read the usual file formats, merge them into the weights, remove them again."""

from __future__ import annotations

import json
import math
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .files import opened, read_header, read_json, read_safetensors, safetensors_metadata

LORA_FILES = ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.pt")
ADAPTER_CONFIG = "adapter_config.json"

# peft writes lora_A and lora_B, older files have lora.down and lora.up. Both may contain an adapter's name.
PARTS = re.compile(r"^(?P<module>.+?)\.(?:lora_(?P<ab>[AB])|lora[._](?P<du>down|up))(?:\.\w+)?\.weight$")
PREFIXES = ("base_model.model.", "model.", "unet.")


@dataclass(frozen=True, slots=True)
class LowRank:
    """The update of one module, ``scale * up @ down``.

    Attributes:
        down: ``[r, in]``, or ``[r, in, kh, kw]`` for a convolution.
        up: ``[out, r]``, or ``[out, r, 1, 1]``.
        scale: ``alpha / r``, or ``alpha / sqrt(r)`` for rank-stabilised files.
    """

    down: Tensor
    up: Tensor
    scale: float

    def delta(self) -> Tensor:
        """The full update in float32, shaped like the module's weight."""
        rank = self.down.shape[0]
        product = self.up.float().reshape(-1, rank) @ self.down.float().reshape(rank, -1)
        return self.scale * product.reshape(self.up.shape[0], *self.down.shape[1:])


def find_lora(folder: Path) -> Path | None:
    """The LoRA file beside a UNet's weights in ``folder``; None if there is none."""
    return next((folder / name for name in LORA_FILES if (folder / name).is_file()), None)


def read_lora(path: Path, *, values: bool = True) -> dict[str, LowRank]:
    """Read a LoRA file, or the LoRA file in a folder. All four usual namings are understood.

    The rank is read from the tensors. Alpha is read from the file's ``.alpha`` entries, else from
    ``adapter_config.json`` beside it, else from the metadata in a safetensors file. If no alpha is recorded, it equals
    the rank: the scale is 1, as in other tools.

    Args:
        path: A ``.safetensors`` or ``.pt`` file, or a folder that holds one under its usual name.
        values: Read the matrices of a ``.safetensors`` file. Otherwise they have their shapes and types only.

    Returns:
        The update of each module, by the module's name in the UNet.

    Raises:
        ModelError: If there is no such file, it is damaged, or it holds something else.
    """
    if path.is_dir():
        found = find_lora(path)
        if found is None:
            raise ModelError(f"no LoRA in {path}: it needs {' or '.join(LORA_FILES)}")
        path = found
    tensors = read_tensors(path, values=values)
    alphas = {
        strip(key.removesuffix(".alpha")): float(tensors.pop(key)) for key in [*tensors] if key.endswith(".alpha")
    }
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = PARTS.match(key)
        if match is None:
            raise ModelError(f"{path} is not a LoRA that can be read: {key!r} is not the name of a LoRA tensor")
        half = "down" if match["ab"] == "A" or match["du"] == "down" else "up"
        halves.setdefault(strip(match["module"]), {})[half] = tensor
    incomplete = [name for name, half in halves.items() if len(half) != 2]
    if incomplete or not halves:
        raise ModelError(f"{path} is incomplete: {incomplete[0] if incomplete else 'it'} lacks an up or down matrix")

    config = adapter_config(path)
    return {
        name: LowRank(half["down"], half["up"], scale_of(name, half["down"].shape[0], alphas.get(name), config))
        for name, half in halves.items()
    }


def check_lora(unet: nn.Module, lora: dict[str, LowRank]) -> None:
    """Raise `ModelError` unless every update of ``lora`` fits a weight of ``unet``."""
    parameters = dict(unet.named_parameters())
    for name, update in lora.items():
        weight = parameters.get(f"{name}.weight")
        shape = (update.up.shape[0], *update.down.shape[1:])
        if weight is None or tuple(weight.shape) != shape:
            there = "no such weight" if weight is None else f"a weight of shape {list(weight.shape)}"
            raise ModelError(
                f"the LoRA belongs to another network: it updates {name} with shape {list(shape)}, "
                f"but this network has {there}"
            )


def merge_lora(unet: nn.Module, lora: dict[str, LowRank], strength: float) -> dict[str, Tensor]:
    """Add ``strength`` times the updates to the UNet's weights in place. Call `check_lora` first.

    Returns:
        The original values of the changed weights. `restore_weights` uses them to remove the LoRA exactly.
    """
    parameters = dict(unet.named_parameters())
    originals = {}
    with torch.no_grad():
        for name, update in lora.items():
            weight = parameters[f"{name}.weight"]
            originals[f"{name}.weight"] = weight.detach().clone()
            weight.copy_(weight.float() + strength * update.delta().to(weight.device))
    return originals


def restore_weights(unet: nn.Module, originals: dict[str, Tensor]) -> None:
    """Put back the weights that `merge_lora` returned."""
    parameters = dict(unet.named_parameters())
    with torch.no_grad():
        for name, original in originals.items():
            parameters[name].copy_(original)


def read_tensors(path: Path, *, values: bool = True) -> dict[str, Tensor]:
    """The tensors of a LoRA file. A ``.pt`` file may hold tensors only; other pickled objects are refused.

    Without ``values``, matrices of a ``.safetensors`` file are on torch's meta device; only alphas are read.
    """
    if not path.is_file():
        raise ModelError(f"there is no LoRA file {path}")
    if path.suffix == ".safetensors":
        return read_safetensors(path) if values else read_header(path) | read_alphas(path)
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} is damaged, or it holds more than tensors. It was not opened for safety; use a .safetensors file."
        ) from error


def read_alphas(path: Path) -> dict[str, Tensor]:
    """The alphas in a ``.safetensors`` file, each a single number."""
    with opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys() if key.endswith(".alpha")}  # noqa: SIM118


def strip(name: str) -> str:
    """A module's name without the prefixes that LoRA tools add."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def adapter_config(path: Path) -> dict[str, Any]:
    """The settings of a LoRA: ``adapter_config.json`` beside the file, or the file's own metadata."""
    beside = path.parent / ADAPTER_CONFIG
    if beside.is_file():
        config = read_json(beside)
    else:
        metadata = safetensors_metadata(path).get("lora_adapter_metadata") if path.suffix == ".safetensors" else None
        config = {strip(key): value for key, value in json.loads(metadata).items()} if metadata else {}
    if config.get("use_dora"):
        raise ModelError(f"{path} is a DoRA, which cannot be merged like a LoRA; train it without use_dora")
    return config


def scale_of(name: str, rank: int, alpha: float | None, config: dict[str, Any]) -> float:
    """The factor before ``up @ down`` for one module."""
    if alpha is None:
        patterns: dict[str, float] = config.get("alpha_pattern") or {}
        own = [value for pattern, value in patterns.items() if re.search(rf"(^|\.){pattern}$", name)]
        alpha = float(own[0] if own else config.get("lora_alpha", rank))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
