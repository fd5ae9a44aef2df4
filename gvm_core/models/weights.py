"""Find, check, fold and load a folder of weights as a `MattingModel`."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..host.base import Network
from .blocks import Attention, SpatioTemporalResnet, attention, bare
from .files import has_weights, read_json, read_weights
from .fold import Weights, fold, is_text, published_shapes
from .lora import LowRank, check_lora, find_lora, merge_lora, read_lora, restore_weights
from .unet import MattingUNet
from .vae import TemporalVAE

SMALL, RELEASED = "small", "gvm"
"""The models that are called by a name; every other is a folder."""
EARLIER_NAMES = {"demo": SMALL}
SMALL_FOLDER = Path(__file__).parent / SMALL
ADVICE = "gvm.json"
"""File beside the published folders with a model's best sizes, where they differ from the released model's."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Facts about a model other than its weights.

    Attributes:
        name: A name to show: ``"small"``, ``"gvm"`` or the folder's name.
        folder: The model folder.
        scheduler: The published ``scheduler_config.json``; empty if there is none.
        short_edge: Best shorter side of frames, in pixels.
        max_edge: Largest longer side of frames.
        refine: How far edges of its mattes are off, in pixels: the best `MatteSettings.refine` at any size.
    """

    name: str
    folder: Path
    scheduler: dict[str, Any]
    short_edge: int = 720
    max_edge: int = 1024
    refine: int = 0


@dataclass
class MattingModel:
    """The networks of one matting model, frozen, with at most one LoRA merged in.

    Attributes:
        unet: Predicts alpha latents from image latents.
        vae: Converts pixels to latents and back.
        config: Facts about the model.
        shares: The factors by which `fold` scaled layers of the UNet. A LoRA must be scaled by them too.
        compiled: Whether torch compiles the networks; see `compile`.
    """

    unet: MattingUNet
    vae: TemporalVAE
    config: ModelConfig
    shares: dict[str, float] = field(default_factory=dict, repr=False)
    compiled: bool = False
    _originals: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for network in (self.unet, self.vae):
            network.requires_grad_(False).eval()

    @property
    def fingerprint(self) -> str:
        """A digest that identifies the current weights, with their LoRA and precision."""
        return fingerprint(self.unet, self.vae)

    def compile(self) -> None:
        """Let torch compile the networks at their first use. This takes minutes; after that each window is faster.

        The first change of the frame size or window length compiles them once more, for all sizes and lengths. Later
        changes compile nothing. Mattes change in their last bits. ``torch.compile`` needs a C++ compiler, and Triton on
        a card.
        """
        self.compiled = True
        self.unet.compile()
        self.vae.encoder.compile()
        for block in self.vae.decoder.modules():
            if isinstance(block, SpatioTemporalResnet):
                block.spatial_res_block.compile()

    def apply_lora(self, path: str | os.PathLike[str], strength: float = 1.0) -> None:
        """Merge the LoRA at ``path`` into the UNet. It replaces a LoRA that was merged before.

        Raises:
            ModelError: If the file is damaged or belongs to another network. The weights are then unchanged.
        """
        lora = folded_lora(read_lora(Path(path)), self.shares)
        check_lora(self.unet, lora)
        self.remove_lora()
        self._originals = merge_lora(self.unet, lora, strength)

    def remove_lora(self) -> None:
        """Remove the LoRA. The weights are then exactly the original ones."""
        restore_weights(self.unet, self._originals)
        self._originals = {}


def load_model(
    source: str | os.PathLike[str] = SMALL,
    dtype: torch.dtype = torch.float32,
    lora: Literal["auto"] | str | os.PathLike[str] | None = "auto",
    lora_strength: float = 1.0,
    operations: Any = nn,
    attend: Attention = attention,
) -> MattingModel:
    """Load a matting model.

    Args:
        source: ``"small"`` (once called ``"demo"``) for the bundled network, ``"gvm"`` for the released weights (see
            `released_folder`), or a folder in the published layout: ``unet/``, ``vae/``, ``scheduler/``.
        dtype: Precision of the weights in memory and of the computation.
        lora: ``"auto"`` merges the LoRA beside the UNet, if there is one. A path merges that LoRA; None merges none.
        lora_strength: Factor on the LoRA's update; 1 is as trained.
        operations: Makes the networks' layers: a namespace of layer classes, such as `torch.nn`.
        attend: Computes the UNet's attention.

    Raises:
        ModelError: If a file is missing, damaged, or belongs to another model.

    Example:
        >>> model = load_model("small")
        >>> model.config.name, model.config.refine
        ('small', 2)
    """
    config = model_config(source)
    unet, shares = read_network(MattingUNet, config.folder / "unet", dtype, operations, attend=attend)
    vae, _ = read_network(TemporalVAE, config.folder / "vae", dtype, operations)
    model = MattingModel(unet, vae, config, shares)
    path = find_lora(config.folder / "unet") if lora == "auto" else lora
    if path is not None and lora_strength != 0:
        model.apply_lora(path, lora_strength)
    return model


def model_config(source: str | os.PathLike[str]) -> ModelConfig:
    """The facts about the model that ``source`` stands for. Its weights are not read.

    Raises:
        ModelError: If there is no such model, or its ``gvm.json`` is wrong.
    """
    folder = model_folder(source)
    scheduler, advice = folder / "scheduler" / "scheduler_config.json", folder / ADVICE
    name = named(source) or folder.name
    config = ModelConfig(name, folder, read_json(scheduler) if scheduler.is_file() else {})
    known = read_json(advice) if advice.is_file() else {}
    for key, value in known.items():
        if key not in ("short_edge", "max_edge", "refine") or type(value) is not int or value < (key != "refine"):
            raise ModelError(
                f"{advice} may hold short_edge, max_edge and refine as whole numbers; it holds {key} {value!r}"
            )
    return replace(config, **known)


def fingerprint(*networks: nn.Module) -> str:
    """A digest of every tensor's name, shape and precision, and of about a thousand of its values."""
    digest = hashlib.sha256()
    for network in networks:
        for name, tensor in network.state_dict().items():
            values = tensor.detach().flatten()
            sample = values[:: max(1, len(values) // 1000)].float().cpu()
            digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
            digest.update(sample.numpy().tobytes())
    return digest.hexdigest()


def named(source: str | os.PathLike[str]) -> str | None:
    """The name of today of the model that ``source`` names; None if it is a folder.

    Example:
        >>> named("small"), named("demo"), named("my/model")
        ('small', 'small', None)
    """
    name = EARLIER_NAMES.get(str(source), str(source))
    return name if name in (SMALL, RELEASED) else None


def model_folder(source: str | os.PathLike[str]) -> Path:
    """The folder that ``source`` stands for. Raises `ModelError` if it does not look like a model."""
    name = named(source)
    folder = Path(source).expanduser() if name is None else {SMALL: SMALL_FOLDER, RELEASED: released_folder()}[name]
    if not folder.is_dir():
        if name == RELEASED:
            raise ModelError(
                f"the released GVM weights are not in {folder}. Download them with: gvm fetch (or python -m gvm_core "
                "fetch). It shows their licence first; they are 6.5 GB. Or give the path of a folder that holds them."
            )
        raise ModelError(f"there is no model folder {folder}; give 'small', 'gvm' or an existing folder")
    missing = [part for part in ("unet", "vae") if not (folder / part / "config.json").is_file()]
    if missing:
        raise ModelError(
            f"{folder} is not a GVM model: it lacks {' and '.join(f'{part}/config.json' for part in missing)}"
        )
    return folder


def is_model(folder: Path) -> bool:
    """Whether ``folder`` holds a whole model in the published layout, with no file missing or partly downloaded."""
    parts = [folder / "unet", folder / "vae"]
    whole = all((part / "config.json").is_file() and has_weights(part) for part in parts)
    return whole and not any(file for part in parts for file in part.glob("*.part"))


def released_folder() -> Path:
    """The folder of the released weights outside ComfyUI: ``$GVM_HOME/gvm``, by default ``~/.cache/gvm/gvm``."""
    return Path(os.environ.get("GVM_HOME", Path.home() / ".cache" / "gvm")) / "gvm"


def read_network(
    kind: type[Network], folder: Path, dtype: torch.dtype, operations: Any, ignored: str | None = None, **more: Any
) -> tuple[Any, dict[str, float]]:
    """A network of ``kind`` with the published weights in ``folder``, and the shares from `fold`.

    The weights are never held in memory twice.

    Args:
        kind: `MattingUNet` or `TemporalVAE`.
        folder: Holds ``config.json`` and weights.
        dtype: Precision of the weights.
        operations: Makes the layers.
        ignored: Weights whose names begin with this are left out.
        more: More arguments for ``kind``.

    Raises:
        ModelError: If a file is missing, damaged, or belongs to another model.
    """
    network = empty_network(kind, folder, operations, **more)
    plain = network if operations is nn else empty_network(kind, folder)  # a host's may lack weights
    published = read_weights(folder, dtype)
    if ignored:
        published = {name: value for name, value in published.items() if not name.startswith(ignored)}
    check_weights(published_shapes(plain), published, folder)
    weights, shares = fold(published, mixes_in_time=kind is TemporalVAE)
    del published
    network.load_state_dict(weights, assign=True)
    return network, shares


def empty_network(kind: type[Network], folder: Path, operations: Any = nn, **more: Any) -> Any:
    """The network that ``config.json`` in ``folder`` describes, without weights: on torch's meta device.

    Raises:
        ModelError: If the file is missing, or describes no network of ``kind``.
    """
    config = read_json(folder / "config.json")
    try:
        with torch.device("meta"):
            return kind(config, operations=bare(operations), **more)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ModelError(f"{folder / 'config.json'} does not describe a GVM network: {error}") from error


def folded_lora(lora: dict[str, LowRank], shares: dict[str, float]) -> dict[str, LowRank]:
    """Convert a LoRA for the published UNet to one for our UNet; see `fold`."""
    return {
        name: replace(update, scale=update.scale * shares.get(name, 1.0))
        for name, update in lora.items()
        if not is_text(name)
    }


def check_weights(wanted: dict[str, tuple[int, ...]], weights: Weights, folder: Path) -> None:
    """Raise `ModelError` unless ``weights`` have exactly the names and shapes in ``wanted``."""
    missing, surplus = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    shapes = [key for key in wanted.keys() & weights.keys() if wanted[key] != tuple(weights[key].shape)]
    faults = [
        f"{len(keys)} {what} (first {keys[0]})"
        for keys, what in ((missing, "missing"), (surplus, "unexpected"), (sorted(shapes), "of another shape"))
        if keys
    ]
    if faults:
        hint = ""
        if any(key.startswith("add_embedding.") for key in surplus):
            hint = " They look like Stable Video Diffusion itself, from which GVM was trained, not like GVM."
        raise ModelError(f"the weights in {folder} belong to another model: tensors {', '.join(faults)}.{hint}")
