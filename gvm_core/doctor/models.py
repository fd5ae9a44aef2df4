"""Where models are looked for, what is there, and whether it is whole. No weights are loaded: their headers tell all this."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import GVMError, ModelError
from ..host.base import Network
from ..models.files import read_header, weight_files
from ..models.fold import published_shapes
from ..models.lora import LowRank, adapter_config, check_lora, find_lora, read_lora
from ..models.unet import MattingUNet
from ..models.vae import TemporalVAE
from ..models.weights import (
    SMALL_FOLDER,
    check_weights,
    empty_network,
    folded_lora,
    model_config,
    model_folder,
    released_folder,
)
from .comfyui import KIND, ComfyUI, extra_folders
from .page import Facts, Finding, Found, disk_size
from .privacy import words_of

NETWORKS: dict[str, type[Network]] = {"unet": MattingUNet, "vae": TemporalVAE}
LORAS = "loras"
PICKLED = {".pt", ".pth", ".bin", ".ckpt"}
POINTER = b"version https://git-lfs"
"""How the small file begins that stands for a large one in a clone without Git LFS."""


@dataclass(frozen=True)
class Place:
    """A folder where models are looked for.

    Attributes:
        folder: The folder.
        readers: Who looks there.
    """

    folder: Path
    readers: str

    @property
    def for_nodes(self) -> bool:
        """Whether the nodes look there."""
        return self.readers.startswith("nodes")


@dataclass
class Model:
    """What is known about a model folder without its weights.

    Attributes:
        folder: The folder.
        facts: For the page.
        findings: What is wrong with it.
        unet: Its UNet without weights, if its configuration is whole.
    """

    folder: Path
    facts: Facts = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unet: Network | None = None

    def fault(self, what: str) -> None:
        """Add something that is wrong with its files."""
        self.findings.append(Finding(what, remedy_for(self.folder)))


def models(comfy: ComfyUI | None, asked: str) -> Found:
    """The models in every place, LoRA files, and the model that was ``asked`` for."""
    looked, findings = places(comfy)
    known = {folder: inspected(folder) for place in looked for folder in model_folders(place.folder)}
    facts: Facts = {}
    try:
        folder = model_config(asked).folder
        facts["asked for"] = f"{asked}, in {folder}"
        known.setdefault(folder, inspected(folder))
    except ModelError as error:
        folder = None
        facts["asked for"] = f"{asked}, which cannot be used"
        findings.append(Finding(str(error), weight="stops"))
    for place in looked:
        facts[f"{place.folder} ({place.readers})"], more = contents(place, known)
        findings += more
    for model in known.values():
        stops = model.folder == folder
        findings += [replace(finding, weight="stops") if stops else finding for finding in model.findings]
    return facts, [*findings, *release_findings(looked, known)]


def places(comfy: ComfyUI | None) -> tuple[list[Place], list[Finding]]:
    """Every folder where models are looked for, in the order in which they count."""
    found, findings = [], []
    if comfy is not None:
        extra, findings = extra_folders(comfy)
        found += [Place(folder, "nodes, from extra_model_paths.yaml") for folder in extra]
        found.append(Place(comfy.folder / "models" / KIND, "nodes"))
    found += [Place(released_folder().parent, "command line"), Place(SMALL_FOLDER.parent, "bundled")]
    return found, findings


def model_folders(place: Path) -> list[Path]:
    """The folders in ``place``, and ``place`` itself, that hold a part of a model."""
    inside = sorted(place.iterdir()) if place.is_dir() else []
    return [each for each in [place, *inside] if any((each / part).is_dir() for part in NETWORKS)]


def contents(place: Place, known: Mapping[Path, Model]) -> tuple[Any, list[Finding]]:
    """The facts of a place: its models and LoRA files. What is wrong with its other files."""
    if not place.folder.is_dir():
        return "not there", []
    here = [model for model in known.values() if place.folder in (model.folder, model.folder.parent)]
    facts: Facts = {model.folder.name: model.facts for model in here}
    unets = {model.folder.name: model.unet for model in known.values() if model.unet is not None}
    findings: list[Finding] = []
    for file in sorted((place.folder / LORAS).glob("*")):
        if file.suffix == ".safetensors":
            facts[f"{LORAS}/{file.name}"], more = lora_facts(file, unets)
            findings += more
        elif place.for_nodes and file.suffix in PICKLED:
            what = f"The nodes do not list {file}: they take LoRA files in the safetensors format only."
            findings.append(Finding(what, "Convert it. gvm matte --lora takes .pt files, too.", "note"))
    if place.for_nodes:
        findings += misplaced(place.folder, [model.folder for model in here])
    return facts or "no models", findings


def misplaced(place: Path, here: Iterable[Path]) -> Iterator[Finding]:
    """Weight files that lie where no model is looked for."""
    folders = [place, *(each for each in place.iterdir() if each.is_dir() and each.name != LORAS)]
    for folder in folders:
        if folder not in here and (file := next(folder.glob("*.safetensors"), None)):
            what = f"{file} is not used: a model is a folder with unet/ and vae/, each with config.json and weights."
            yield Finding(what, f"Give each model such a folder in {place}, as it is published.", "note")


def inspected(folder: Path) -> Model:
    """What is in a model folder, and what is wrong with it."""
    model = Model(folder)
    for part, kind in NETWORKS.items():
        model.facts[part] = weights_facts(folder / part)
        for unfinished in sorted((folder / part).glob("*.part")):
            size = disk_size(unfinished.stat().st_size)
            model.fault(f"{unfinished} is an unfinished download, of which {size} are there.")
        try:
            network = empty_network(kind, folder / part)
        except ModelError as error:
            model.fault(str(error))
            continue
        if part == "unet":
            model.unet = network
        try:
            header = {name: value for path in weight_files(folder / part) for name, value in read_header(path).items()}
            check_weights(published_shapes(network), header, folder / part)
        except ModelError as error:
            model.fault(explained(error, folder / part))
    there = (folder / "scheduler" / "scheduler_config.json").is_file()
    model.facts["scheduler"] = "there" if there else "not there (only the gaussian mode needs it)"
    model.facts["LoRA"] = "none"
    if path := find_lora(folder / "unet"):
        unets = {} if model.unet is None else {folder.name: model.unet}
        model.facts["LoRA"], more = lora_facts(path, unets)
        model.findings += more
    return model


def weights_facts(folder: Path) -> str:
    """The weight files of one network: names, sizes, number types."""
    try:
        files = weight_files(folder)
    except ModelError:
        return "not whole"
    names = files[0].name if len(files) == 1 else f"{len(files)} files, {files[0].name} and others"
    return f"{names}, {disk_size(sum(file.stat().st_size for file in files))}, {number_types(files)}"


def number_types(files: Iterable[Path]) -> str:
    """The number types in these files, the most frequent first, and how many numbers there are."""
    sizes = dict[torch.dtype, int]()
    try:
        for value in (value for file in files for value in read_header(file).values()):
            sizes[value.dtype] = sizes.get(value.dtype, 0) + value.numel()
    except ModelError:
        return "damaged"
    names = [type_name(dtype) for dtype in sorted(sizes, key=sizes.__getitem__, reverse=True)]
    return f"{' and '.join(names)}, {sum(sizes.values()):,} numbers"


def type_name(dtype: torch.dtype) -> str:
    """The name of a number type, as in ``float16``."""
    return str(dtype).removeprefix("torch.")


def explained(error: ModelError, folder: Path) -> str:
    """What is wrong with the weights in a folder. Files that only stand for others are called that."""
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as content:
            if content.read(len(POINTER)) == POINTER:
                return f"{file} is not the weights, but a note of Git LFS that stands for them."
    return str(error)


def remedy_for(folder: Path) -> str:
    """How to mend a model folder."""
    if folder == released_folder() or (folder.name == KIND and folder.parent.name == KIND):
        return f"gvm fetch --to {folder} keeps what is whole and downloads the rest."
    return "Install this pack again." if folder.parent == SMALL_FOLDER.parent else "Copy the model there again."


def lora_facts(path: Path, unets: Mapping[str, Network]) -> tuple[str, list[Finding]]:
    """Size, type, rank and alpha of a LoRA file, and which of the UNets it fits; what is wrong with it.

    Args:
        path: The file.
        unets: UNets without weights, by the names of their models.
    """
    try:
        lora = read_lora(path, values=False)
        stabilised = bool(adapter_config(path).get("use_rslora"))
    except (GVMError, ValueError, OSError) as error:
        return "cannot be read", [Finding(words_of(error) if str(path) in str(error) else f"{path}: {words_of(error)}")]
    ranks = {name: update.down.shape[0] for name, update in lora.items()}
    alphas = [up.scale * (math.sqrt(ranks[name]) if stabilised else ranks[name]) for name, up in lora.items()]
    types = sorted({type_name(update.down.dtype) for update in lora.values()})
    parts = [path.name, disk_size(path.stat().st_size), " and ".join(types), f"{len(lora)} layers"]
    parts += [f"rank {span(ranks.values())}", f"alpha {span(alphas)} (scale {span(up.scale for up in lora.values())})"]
    faults = {name: fault_of(unet, lora) for name, unet in unets.items()}
    fits = [name for name, fault in faults.items() if fault is None]
    if fits or not faults:
        return ", ".join([*parts, *([f"fits {' and '.join(fits)}"] if fits else [])]), []
    why = next(iter(faults.values())) if len(faults) == 1 else f"it fits none of the models here ({', '.join(faults)})"
    return ", ".join([*parts, "fits no model here"]), [
        Finding(f"{path}: {why}.", "Use it with the model it was made for.")
    ]


def fault_of(unet: Network, lora: dict[str, LowRank]) -> str | None:
    """Why a LoRA does not fit a UNet; None if it fits."""
    try:
        check_lora(unet, folded_lora(lora, {}))
    except ModelError as error:
        return str(error)
    return None


def span(values: Iterable[float]) -> str:
    """One number, or the smallest and the largest of several.

    Example:
        >>> span([16, 16]), span([4.0, 0.5])
        ('16', '0.5 to 4')
    """
    least, most = min(values := [*values]), max(values)
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def release_findings(looked: Iterable[Place], known: Mapping[Path, Model]) -> list[Finding]:
    """What is good to know where the released weights, or other real models, are not where they are wanted."""
    whole = [folder for folder, model in known.items() if not model.findings]
    nodes = [place.folder for place in looked if place.for_nodes]
    if all(folder.parent == SMALL_FOLDER.parent for folder in whole):
        what = "Only the bundled model is here. It sees frames at a small size."
        return [Finding(what, "gvm fetch downloads the released weights, after it has shown their licence.", "note")]
    if released_folder() in whole and nodes and not any({folder, folder.parent} & {*nodes} for folder in whole):
        what = f"The released weights are in {released_folder()}, where the command line finds them, but not the nodes."
        return [Finding(what, f"Move them to {nodes[0] / KIND}; gvm takes this folder with --model.", "note")]
    return []


def weight_bytes(source: str, dtype: torch.dtype) -> int:
    """Bytes that the weights of a model take in memory in this precision. Raises `ModelError` if it is not whole."""
    files = [path for part in NETWORKS for path in weight_files(model_folder(source) / part)]
    return sum(value.numel() for path in files for value in read_header(path).values()) * torch.finfo(dtype).bits // 8
