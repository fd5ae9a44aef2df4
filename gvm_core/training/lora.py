"""Trains a LoRA beside the frozen weights of a UNet, and writes it to a file."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import InputError
from ..models.lora import LowRank

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
LORA_FILE = "lora.safetensors"
ORIGINAL = ".parametrizations.weight.original"


class LowRankUpdate(nn.Module):
    """``weight + up @ down``, where ``up`` is zero at first (Hu et al., LoRA, 2021).

    Args:
        weight: ``[out, in]``, the weight to update.
        rank: Rank of the update.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The updated weight."""
        return weight + self.up @ self.down


def add_lora(unet: nn.Module, rank: int) -> dict[str, nn.Parameter]:
    """Add a new LoRA to every attention projection. Returns its weights by their names in a LoRA file."""
    weights: dict[str, nn.Parameter] = {}
    for name, module in [*unet.named_modules()]:
        if isinstance(module, nn.Linear) and name.endswith(TARGETS):
            update = LowRankUpdate(module.weight.detach(), min(rank, *module.weight.shape))
            parametrize.register_parametrization(module, "weight", update)
            weights[f"{name}.lora_A.weight"], weights[f"{name}.lora_B.weight"] = update.down, update.up
    if not weights:
        raise InputError("the network has no attention layers for a LoRA to update")
    return weights


def take_out_lora(unet: nn.Module) -> None:
    """Remove the LoRA. The weights are then as they were without it."""
    for module in [*unet.modules()]:
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def bare_state(network: nn.Module) -> dict[str, Tensor]:
    """The network's own weights by their usual names, whether or not a LoRA is added."""
    state = network.state_dict()
    return {
        name.replace(ORIGINAL, ".weight"): value
        for name, value in state.items()
        if ".parametrizations.weight.0." not in name
    }


def with_lora(weights: dict[str, Tensor], other: dict[str, LowRank]) -> dict[str, Tensor]:
    """The weights of one LoRA that has the effect of ``weights`` and ``other`` together.

    The sum of two low-rank products equals one low-rank product of the concatenated matrices.
    """
    both = {**weights}
    for name, update in other.items():
        halves = (("lora_A", update.down, 0), ("lora_B", update.scale * update.up.float(), 1))
        for half, value, along in halves:
            key = f"{name}.{half}.weight"
            learned = weights.get(key)
            both[key] = value.float() if learned is None else torch.cat([learned, value.to(learned)], along)
    return both


def write_lora(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a LoRA file in peft's naming. Its scale is 1, so no alpha is recorded."""
    from safetensors.torch import save_file

    half = {f"base_model.model.{name}": value.detach().half().cpu().contiguous() for name, value in weights.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(half, path, metadata={"format": "pt"})


@torch.no_grad()
def set_weights(weights: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    """Copy ``values`` into the ``weights`` of the same names."""
    for name, weight in weights.items():
        weight.copy_(values[name])
