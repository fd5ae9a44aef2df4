"""Load a model: the small bundled one, the released weights, or any folder under ``models/gvm``."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io

from ..gvm_core.errors import ModelError
from ..gvm_core.host.comfy import load_hosted, suitable_dtype
from ..gvm_core.models.download import GVM, fetch_release
from ..gvm_core.models.weights import RELEASED, SMALL, is_model, named
from .sockets import GVMModel, schema

FOLDER = "gvm"
LORAS = "loras"
AUTO, NONE = "auto", "none"
PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


class GVMLoadModel(io.ComfyNode):
    """Load a matting model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Widgets and sockets."""
        return schema(
            node_id="GVMLoadModel",
            display_name="Load GVM Model",
            description=(
                "Loads a Generative Video Matting model. 'small' comes with this pack. It mattes people, and sees frames "
                f"at a small size: 224 pixels. 'gvm' is the released model.\n\n{GVM.notice}"
            ),
            search_aliases=["matting model", "generative video matting", "background removal model"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=model_names(),
                    default=SMALL,
                    tooltip=(
                        "The weights to use.\nsmall: bundled, mattes people at a small size.\n"
                        f"gvm: the released weights ({GVM.size / 1e9:.1f} GB), from models/gvm/gvm.\n"
                        "Others: folders under models/gvm that hold unet/ and vae/."
                    ),
                ),
                io.Combo.Input(
                    "precision",
                    options=["auto", *PRECISIONS],
                    default="auto",
                    tooltip=(
                        "Number format of the networks. auto takes what suits your device: fp16 on most cards, fp32 "
                        "on Apple and CPU.\nDefault auto. Choose fp32 if the log reports frames repeated in float32."
                    ),
                ),
                io.Float.Input(
                    "lora_strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip=(
                        "How much of the LoRA to merge into the weights. The released LoRA was trained on hair. 1: as "
                        "trained. 0: no LoRA.\nDefault 1. No effect on models without a LoRA."
                    ),
                ),
                io.Boolean.Input(
                    "download",
                    default=False,
                    label_on="download if missing",
                    label_off="never",
                    tooltip=(
                        f"Download the released weights (gvm, {GVM.size / 1e9:.1f} GB, once) if they are missing.\n"
                        "Default off. Switching it on means that you have read the licence notice in the description."
                    ),
                ),
                io.Combo.Input(
                    "lora",
                    options=[AUTO, NONE, *sorted(loras())],
                    default=AUTO,
                    optional=True,
                    tooltip=(
                        "The LoRA to merge in, from models/gvm/loras, such as one trained on your own clips.\n"
                        "auto: the LoRA beside the model's weights, if there is one. none: no LoRA.\nDefault auto."
                    ),
                ),
            ],
            outputs=[GVMModel.Output(display_name="model", tooltip="For every GVM node that has a model socket.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        """Accept the choices and earlier names, in place of ComfyUI, which knows only the choices."""
        if model is None or (named(model) or model) in model_names():  # None: another node gives it
            return True
        return f"there is no model {model!r}; choose one of {', '.join(model_names())}"

    @classmethod
    def execute(
        cls, model: str, precision: str, lora_strength: float, download: bool, lora: str = AUTO
    ) -> io.NodeOutput:
        """Find or download the model, and load it into ComfyUI's model management."""
        folder = find_model(model) or obtain(model, download, cls.hidden.unique_id)
        dtype = suitable_dtype() if precision == "auto" else PRECISIONS[precision]
        return io.NodeOutput(load_hosted(folder, dtype=dtype, lora=find_lora(lora), lora_strength=lora_strength))


def register_model_folder() -> None:
    """Add ``models/gvm`` after the folders that the user's ``extra_model_paths.yaml`` names for GVM."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


def model_names() -> list[str]:
    """The choices: the bundled and the released model always, then every installed model folder."""
    return list(dict.fromkeys([SMALL, RELEASED, *(named(name) or name for name in sorted(installed()))]))


def installed() -> dict[str, Path]:
    """Model folders in every registered folder, by name. If a name occurs twice, the first one counts."""
    found: dict[str, Path] = {}
    for registered in map(Path, folder_paths.get_folder_paths(FOLDER)):
        folders = [registered, *sorted(registered.iterdir())] if registered.is_dir() else []
        for folder in folders:
            if is_model(folder):
                # Weights directly in a registered folder, without a folder of their own, are the released ones.
                found.setdefault(RELEASED if folder == registered else folder.name, folder)
    return found


def loras() -> dict[str, Path]:
    """LoRA files in ``loras`` of every registered folder, by name. If a name occurs twice, the first one counts."""
    found: dict[str, Path] = {}
    for registered in map(Path, folder_paths.get_folder_paths(FOLDER)):
        for file in sorted((registered / LORAS).glob("*.safetensors")):
            found.setdefault(file.name, file)
    return found


def find_lora(name: str) -> str | Path | None:
    """The ``lora`` argument of `load_model` for the LoRA called ``name``."""
    if name in (AUTO, NONE):
        return AUTO if name == AUTO else None
    if (path := loras().get(name)) is None:
        raise ModelError(f"there is no LoRA {name!r} any more; choose another, or put its file into models/gvm/loras")
    return path


def find_model(name: str) -> str | Path | None:
    """The source of the model called ``name``, for `load_hosted`; None if it is not installed."""
    return SMALL if named(name) == SMALL else installed().get(name)


def released_target() -> Path:
    """Where the released weights are downloaded to: the first registered folder."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0]) / RELEASED


def obtain(name: str, allowed: bool, node_id: str | None) -> Path:
    """Download the released weights into the first registered folder, or raise an error that says how to get them."""
    target = released_target()
    if name != RELEASED:
        raise ModelError(f"there is no model {name!r} any more; choose another, or put its folder into {target.parent}")
    if not allowed:
        raise ModelError(
            f"the released GVM weights ({GVM.size / 1e9:.1f} GB) are not here yet. Press Download on this node, or choose "
            f"{SMALL!r}, which comes with the pack.\n\nWithout the page, switch 'download' on, or put unet/, vae/ and "
            f"scheduler/ of {GVM.repo} into {target}.\n\n{GVM.notice}"
        )
    bar = comfy.utils.ProgressBar(100, node_id=node_id)

    def progress(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if (percent := 100 * done // max(total, 1)) != bar.current:
            bar.update_absolute(percent)

    return fetch_release(GVM, target, progress)
