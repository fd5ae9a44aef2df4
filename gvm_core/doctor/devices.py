"""Which devices compute here, and how much memory and disk is free."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from ..host.torch_host import TorchHost, suitable_dtype
from ..models.download import GVM
from ..models.weights import is_model, released_folder
from .models import weight_bytes
from .page import Facts, Finding, Found, disk_size, memory_size
from .privacy import words_of

SMI = "nvidia-smi"
SPARE = 2**30
"""Bytes that should be free beside the weights, for a picture of a usual size."""
LEAST_DISK = 10**9
NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
"""What precisions are called on the command line and on the nodes."""


def devices(model: str) -> Found:
    """Devices, their memory, the processor and the disk of the folder for downloads."""
    chosen = TorchHost().device
    cards, system = cards_here(), memory()
    facts: Facts = {
        "mattes are computed on": f"{chosen}, in {NAMES[suitable_dtype(chosen)]}",
        "processor": f"{processor()}, {os.cpu_count()} cores ({usable_cores()} usable, torch uses {torch.get_num_threads()})",
        "memory": f"{memory_size(system[1])} of {memory_size(system[0])} free" if system else "not known",
        "disk for downloads": f"{disk_size(free_disk(released_folder()))} free at {released_folder().parent}",
    }
    drivers = nvidia_cards()
    if drivers:
        facts["NVIDIA's driver says"] = "; ".join(drivers)
    if cards:
        facts["cards"] = [{key: str(value) for key, value in card.items() if key[0] != "_"} for card in cards]
    findings = unused_card(drivers, torch.version.cuda, torch.cuda.is_available(), reason_without_cuda())
    if chosen.type == "cuda" and torch.version.cuda:
        archs = torch.cuda.get_arch_list()
        findings += [found for card in cards for found in code_findings(card["card"], card["_capability"], archs)]
    available = (cards[0]["_total"], cards[0]["_free"]) if cards else system
    place = cards[0]["card"] if cards else "the computer"
    wanted = weight_bytes_or_none(model, suitable_dtype(chosen))
    findings += memory_findings(place, available, wanted, model)
    return facts, [*findings, *disk_findings(free_disk(released_folder()), is_model(released_folder()))]


def cards_here() -> list[dict[str, Any]]:
    """The cards that torch sees, the first one first, with bytes and capability under names that begin with ``_``."""
    kind = TorchHost().device.type
    if kind == "mps" and hasattr(torch.mps, "recommended_max_memory"):  # torch 2.3 and later
        total, used = torch.mps.recommended_max_memory(), torch.mps.driver_allocated_memory()
        return [described("Apple's GPU", total, total - used, ())]
    if kind not in ("cuda", "xpu"):
        return []
    backend, rows = getattr(torch, kind), []
    for index in range(backend.device_count()):
        about = backend.get_device_properties(index)
        try:
            free, total = backend.mem_get_info(index)
        except (RuntimeError, AttributeError):  # a card without room for a context; torch.xpu before 2.6
            free, total = None, about.total_memory
        rows.append(described(about.name, total, free, (getattr(about, "major", 0), getattr(about, "minor", 0))))
    return rows


def described(name: str, total: int, free: int | None, capability: tuple[int, ...]) -> dict[str, Any]:
    """A row of the table of cards."""
    shown = {"card": name, "memory": memory_size(total), "free": "not known" if free is None else memory_size(free)}
    return {
        **shown,
        "capability": ".".join(map(str, capability)),
        "_total": total,
        "_free": free,
        "_capability": capability,
    }


def nvidia_cards() -> list[str]:
    """Name, driver and memory of each card that NVIDIA's driver sees; nothing where there is no driver."""
    if (program := shutil.which(SMI)) is None:
        return []
    asked = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        said = subprocess.run([program, *asked], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.splitlines() if line.strip()]


def reason_without_cuda() -> str:
    """Why torch cannot use CUDA, in its own words; empty if it can."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return words_of(error).splitlines()[0]
    return ""


def unused_card(drivers: list[str], build: str | None, available: bool, reason: str) -> list[Finding]:
    """Whether there is an NVIDIA card that torch does not use.

    Args:
        drivers: What NVIDIA's driver says of each card.
        build: The CUDA that torch is built for; None for a torch without CUDA.
        available: Whether torch can compute with CUDA.
        reason: Why it cannot.
    """
    if not drivers or available:
        return []
    if build is None:
        what = f"There is an NVIDIA card ({drivers[0]}), but this torch is built without CUDA, so the processor does all the work."
        return [
            Finding(what, "Install torch with CUDA in this Python: pytorch.org, Get Started, gives the command for it.")
        ]
    what = f"There is an NVIDIA card ({drivers[0]}), but torch cannot use it: {reason}"
    hidden = "CUDA_VISIBLE_DEVICES is set; unset it. " if "CUDA_VISIBLE_DEVICES" in os.environ else ""
    return [Finding(what, f"{hidden}Install the newest driver from NVIDIA: this torch is built for CUDA {build}.")]


def code_findings(card: str, capability: tuple[int, ...], archs: list[str]) -> list[Finding]:
    """Whether torch has code for a card of this capability.

    Args:
        card: Its name.
        capability: Major and minor number.
        archs: What torch is compiled for, as in ``sm_90``; ``compute_90`` is also compiled on later cards.
    """
    major, minor = capability
    known = [(kind, int(digits[:-1]), int(digits[-1])) for kind, digits in map(split_arch, archs) if digits]
    fits = any(
        (their_major == major and their_minor <= minor)
        or (kind == "compute" and (their_major, their_minor) <= (major, minor))
        for kind, their_major, their_minor in known
    )
    if fits or not known:
        return []
    what = f"This torch has no code for {card} (sm_{major}{minor}); it has code for {', '.join(archs)}."
    newer = (major, minor) > max((their_major, their_minor) for _, their_major, their_minor in known)
    return [Finding(what, f"Install {'a newer' if newer else 'an older'} torch: pytorch.org lists them.", "stops")]


def split_arch(arch: str) -> tuple[str, str]:
    """Kind and digits of an architecture.

    Example:
        >>> split_arch("sm_90a"), split_arch("compute_120")
        (('sm', '90'), ('compute', '120'))
    """
    kind, _, number = arch.partition("_")
    return kind, "".join(filter(str.isdigit, number))


def memory_findings(
    place: str, memory: tuple[int, int | None] | None, weights: int | None, model: str
) -> list[Finding]:
    """Whether too little memory is free for a model.

    Args:
        place: The card, or the computer.
        memory: Its total and free bytes, as far as they are known.
        weights: Bytes of the model's weights, if they are known.
        model: The model's name.
    """
    if memory is None or memory[1] is None or memory[1] >= (weights or 0) + SPARE:
        return []
    what = f"Only {memory_size(memory[1])} of {memory_size(memory[0])} of memory are free on {place}."
    if weights:
        what += f" The weights of {model} alone need {memory_size(weights)}."
    remedy = "Close other programs that use it. In ComfyUI, unload other models, or start it with --lowvram."
    return [Finding(what, remedy)]


def disk_findings(free: int, has_release: bool) -> list[Finding]:
    """Whether too little of the disk is free, for anything or for the released weights."""
    if free < LEAST_DISK:
        what = f"Only {disk_size(free)} are free on the disk of {released_folder().parent}."
        return [Finding(what, "Make room: runs keep their finished parts beside the output until they are joined.")]
    if free < GVM.size and not has_release:
        what = f"The released weights need {disk_size(GVM.size)}, but {released_folder().parent} has {disk_size(free)} free."
        return [Finding(what, "gvm fetch --to FOLDER puts them on another disk.", "note")]
    return []


def weight_bytes_or_none(model: str, dtype: torch.dtype) -> int | None:
    """Bytes of a model's weights; None if it is not there or damaged, which another check says."""
    try:
        return weight_bytes(model, dtype)
    except ModelError:
        return None


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist."""
    return shutil.disk_usage(next(each for each in [folder, *folder.absolute().parents] if each.exists())).free


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def memory() -> tuple[int, int] | None:
    """Total and free bytes of main memory, if the system or psutil tells them."""
    try:
        import psutil
    except ImportError:
        pass
    else:
        known = psutil.virtual_memory()
        return known.total, known.available
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return sizes["MemTotal"], sizes["MemAvailable"]
