"""Which formats can be written here. Each one is tried with a frame."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import torch

from ..errors import GVMError
from ..media.exr import library
from ..media.exr_writer import BY_PACKAGE
from ..media.formats import ALL, MATTE, SUBJECT, Format
from ..media.sequence import SequenceWriter, numbered
from ..media.video_writer import VideoWriter
from ..version import installed
from .comfyui import older
from .page import Facts, Finding, Found
from .privacy import words_of

SIZE = (64, 96)
WITH_LABELS = "18"
"""The first PyAV that lets .mov and .mp4 hold timecode and reel."""


def formats(forms: Sequence[Format] = ALL) -> Found:
    """Whether each format can be written, for a matte and for a subject with alpha, and how EXR is read."""
    rows, faults = [], list[str]()
    with tempfile.TemporaryDirectory() as folder:
        for form in forms:
            matte = fault_in(form, MATTE, Path(folder))
            subject = fault_in(form, SUBJECT, Path(folder)) if form.subject else ""
            cells = ["cannot be written" if fault else "written" for fault in (matte, subject)]
            cells[1] = cells[1] if form.subject else "no alpha"
            rows.append({"format": form.title, "matte": cells[0], "subject with alpha": cells[1]})
            faults += [fault for fault in (matte or subject,) if fault]
    weight = "stops" if len(faults) == len(forms) else "wrong"
    facts: Facts = {"EXR": exr_reader(library()), "tried": rows}
    return facts, [
        *(Finding(fault, weight=weight) for fault in dict.fromkeys(faults)),
        *label_findings(installed("av")),
    ]


def fault_in(form: Format, channels: int, folder: Path) -> str:
    """Why a frame of so many channels cannot be written in this format; empty if it can."""
    frame = torch.linspace(0, 1, SIZE[1]).expand(channels, *SIZE)
    name = f"{form.name}_{channels}"
    try:
        if form.kind == "pictures":
            SequenceWriter(folder / name, numbered("frame.####"), form=form).write(frame)
        else:
            with VideoWriter(folder / f"{name}{form.suffix}", form, Fraction(24)) as writer:
                writer.write(frame)
    except Exception as error:  # noqa: BLE001  a broken FFmpeg may raise anything
        return str(error) if isinstance(error, GVMError) else f"{form.title} cannot be written: {words_of(error)}."
    return ""


def exr_reader(openexr: object) -> str:
    """By what EXR is read."""
    if openexr is None:
        return f"read by FFmpeg; reading layers of one channel and writing {', '.join(BY_PACKAGE)} need the OpenEXR package"
    return f"read by OpenEXR {getattr(openexr, '__version__', '')}"


def label_findings(version: str | None) -> list[Finding]:
    """Whether this PyAV keeps timecode and reel in .mov and .mp4."""
    if version is None or not older(version, WITH_LABELS):
        return []
    what = f"With PyAV {version}, .mov and .mp4 hold no timecode and no reel name."
    return [Finding(what, f"If you need them: pip install --upgrade 'av>={WITH_LABELS}'", "note")]
