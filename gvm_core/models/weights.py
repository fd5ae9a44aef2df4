"""From a folder of weights to a `MattingModel`: find, check, fold, load."""

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

DEMO_FOLDER = Path(__file__).parent / "demo"
ADVICE = "gvm.json"
"""Beside the published folders: the sizes a model works best at, and more, where that is not the released model's."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is known of a loaded model beside its weights.

    Attributes:
        name: For people: ``"demo"``, ``"gvm"`` or the folder's name.
        folder: Where it was loaded from.
        scheduler: The published ``scheduler_config.json``, empty where there is none.
        short_edge: Shorter side of the frames it works best on, in pixels.
        max_edge: Longer side it should not exceed.
        refine: How far its edges are off, in pixels: the `MatteSettings.refine` that suits it at any size.
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
        unet: Image latents to alpha latents.
        vae: Pixels to latents and back.
        config: Where it came from.
        shares: By which `fold` scaled layers of the UNet, for the LoRA.
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
        """Names the weights as they are, with their LoRA and precision."""
        return fingerprint(self.unet, self.vae)

    def compile(self) -> None:
        """Have torch compile the networks when they are first used: minutes of waiting, then less time a window.

        The first change of the frames' size or of a window's length compiles them once more, for any; later ones
        compile nothing. Last bits of the mattes change. Needs what ``torch.compile`` needs: a C++ compiler, Triton on a card.
        """
        self.compiled = True
        self.unet.compile()
        self.vae.encoder.compile()
        for block in self.vae.decoder.modules():
            if isinstance(block, SpatioTemporalResnet):
                block.spatial_res_block.compile()

    def apply_lora(self, path: str | os.PathLike[str], strength: float = 1.0) -> None:
        """Merge the LoRA at ``path`` into the UNet in place of the one that is in it, if any.

        Raises:
            ModelError: If the file is damaged or belongs to another network; the weights are as before then.
        """
        lora = folded_lora(read_lora(Path(path)), self.shares)
        check_lora(self.unet, lora)
        self.remove_lora()
        self._originals = merge_lora(self.unet, lora, strength)

    def remove_lora(self) -> None:
        """Take the LoRA out again: the weights are then to the bit what they were without it."""
        restore_weights(self.unet, self._originals)
        self._originals = {}


def load_model(
    source: str | os.PathLike[str] = "demo",
    dtype: torch.dtype = torch.float32,
    lora: Literal["auto"] | str | os.PathLike[str] | None = "auto",
    lora_strength: float = 1.0,
    operations: Any = nn,
    attend: Attention = attention,
) -> MattingModel:
    """Load a matting model.

    Args:
        source: ``"demo"`` for the small bundled network, ``"gvm"`` for the released weights (see `released_folder`),
            or a folder in the published layout: ``unet/``, ``vae/``, ``scheduler/``.
        dtype: Precision of the weights in memory, and so of the arithmetic.
        lora: ``"auto"`` merges the LoRA that lies beside the UNet, if there is one; a path merges that; None, none.
        lora_strength: Factor on the LoRA's update; 1 is as trained.
        operations: Makes the networks' layers: a namespace of layer classes, such as `torch.nn`.
        attend: Computes the UNet's attention.

    Raises:
        ModelError: If something is missing, damaged, or of another model.

    Example:
        >>> model = load_model("demo")
        >>> model.config.name, model.vae.factor
        ('demo', 4)
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
    """What is known of the model that ``source`` stands for, its weights unread.

    Raises:
        ModelError: If there is none.
    """
    folder = model_folder(source)
    scheduler, advice = folder / "scheduler" / "scheduler_config.json", folder / ADVICE
    name = str(source) if source in ("demo", "gvm") else folder.name
    config = ModelConfig(name, folder, read_json(scheduler) if scheduler.is_file() else {})
    known = read_json(advice) if advice.is_file() else {}
    for key, value in known.items():
        if key not in ("short_edge", "max_edge", "refine") or type(value) is not int or value < (key != "refine"):
            raise ModelError(
                f"{advice} may hold short_edge, max_edge and refine, whole numbers; it says {key} {value!r}"
            )
    return replace(config, **known)


def fingerprint(*networks: nn.Module) -> str:
    """A digest of every tensor's name, shape and precision, and of a thousand of its values."""
    digest = hashlib.sha256()
    for network in networks:
        for name, tensor in network.state_dict().items():
            values = tensor.detach().flatten()
            sample = values[:: max(1, len(values) // 1000)].float().cpu()
            digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
            digest.update(sample.numpy().tobytes())
    return digest.hexdigest()


def model_folder(source: str | os.PathLike[str]) -> Path:
    """The folder that ``source`` stands for, checked to look like a model."""
    folder = {"demo": DEMO_FOLDER, "gvm": released_folder()}.get(str(source), Path(source).expanduser())
    if not folder.is_dir():
        if source == "gvm":
            raise ModelError(
                f"the released GVM weights are not in {folder}. Fetch them with: gvm fetch (or python -m gvm_core fetch) "
                "(6.5 GB; it shows their licence first), or give the path of a folder that holds them."
            )
        raise ModelError(f"there is no model folder {folder}; give 'demo', 'gvm' or an existing folder")
    missing = [part for part in ("unet", "vae") if not (folder / part / "config.json").is_file()]
    if missing:
        raise ModelError(
            f"{folder} is not a GVM model: it lacks {' and '.join(f'{part}/config.json' for part in missing)}"
        )
    return folder


def is_model(folder: Path) -> bool:
    """Whether ``folder`` holds a whole model in the published layout: no part missing, none still on its way."""
    parts = [folder / "unet", folder / "vae"]
    whole = all((part / "config.json").is_file() and has_weights(part) for part in parts)
    return whole and not any(file for part in parts for file in part.glob("*.part"))


def released_folder() -> Path:
    """Where the released weights are kept outside ComfyUI: ``$GVM_HOME/gvm``, by default ``~/.cache/gvm/gvm``."""
    return Path(os.environ.get("GVM_HOME", Path.home() / ".cache" / "gvm")) / "gvm"


def read_network(
    kind: type[Network], folder: Path, dtype: torch.dtype, operations: Any, ignored: str | None = None, **more: Any
) -> tuple[Any, dict[str, float]]:
    """A network of ``kind`` with the published weights in ``folder``, never held twice, and the shares that `fold` found.

    Args:
        kind: `MattingUNet` or `TemporalVAE`.
        folder: Holds ``config.json`` and weights.
        dtype: Precision of the weights.
        operations: Makes the layers.
        ignored: Weights whose name begins so are left out.
        more: For ``kind``.

    Raises:
        ModelError: If something is missing, damaged, or of another model.
    """
    config = read_json(folder / "config.json")
    published = read_weights(folder, dtype)
    if ignored:
        published = {name: value for name, value in published.items() if not name.startswith(ignored)}
    try:
        with torch.device("meta"):
            network = kind(config, operations=bare(operations), **more)
            plain = network if operations is nn else kind(config, operations=bare())  # a host's may have no weights yet
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ModelError(f"{folder / 'config.json'} does not describe a GVM network: {error}") from error
    check_weights(published_shapes(plain), published, folder)
    weights, shares = fold(published, mixes_in_time=kind is TemporalVAE)
    del published
    network.load_state_dict(weights, assign=True)
    return network, shares


def folded_lora(lora: dict[str, LowRank], shares: dict[str, float]) -> dict[str, LowRank]:
    """A LoRA for the published UNet as one for ours: see `fold`."""
    return {
        name: replace(update, scale=update.scale * shares.get(name, 1.0))
        for name, update in lora.items()
        if not is_text(name)
    }


def check_weights(wanted: dict[str, tuple[int, ...]], weights: Weights, folder: Path) -> None:
    """Raise `ModelError` unless ``weights`` have exactly the names and shapes that are ``wanted``."""
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
            hint = " They look like plain Stable Video Diffusion, which is what GVM was trained from, not GVM."
        raise ModelError(f"the weights in {folder} are of another model: tensors {', '.join(faults)}.{hint}")
