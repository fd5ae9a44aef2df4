"""The contestants: our models with any windows, classic methods as baselines, and mattes made by other programs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..datasets.pairs import media_named
from ..errors import InputError, optional
from ..frames import Clip
from ..host.base import Host
from ..media import open_frames
from ..models.weights import load_model, model_folder
from ..pipeline import MattingPipeline
from ..settings import MatteSettings
from ..synthesis.backdrop import blur
from ..windows import WindowPlan

WALKER_EDGE = 128


Matte = Callable[[Iterable[Tensor]], Iterator[Clip]]
"""Frames ``[3, H, W]`` in, clips of alpha ``[T, 1, H, W]`` out, without gaps."""


@dataclass(frozen=True)
class Contestant:
    """A model or method to score.

    Attributes:
        name: Name in the table.
        matte: The function that mattes.
        joins: Returns where the windows meet, for a number of frames (`WindowPlan.joins`). None without windows.
        given_truth: Whether it gets the true mattes instead of frames. Its score is a bound, not a competing result.
        megabytes: Size of its weight files; None if there are none, or the size is not known.
        case: Returns ``matte`` for the name of a case, if ``matte`` differs between cases.
    """

    name: str
    matte: Matte
    joins: Callable[[int], Tensor] | None = None
    given_truth: bool = False
    megabytes: float | None = None
    case: Callable[[str], Matte] | None = None


def model_contestant(spec: str, settings: MatteSettings, dtype: torch.dtype, host: Host) -> Contestant:
    """A model by name or folder. ``NAME@1`` uses windows of one frame, to show what other frames contribute.

    Args:
        spec: ``small``, ``gvm`` or a model folder; add ``@LENGTH`` or ``@LENGTH/OVERLAP`` for other windows.
        settings: All other settings.
        dtype: Precision of the weights.
        host: Where the model runs.

    Raises:
        ModelError: If there is no such model.
    """
    name, windows = split_spec(spec)
    if windows:
        settings = replace(settings, plan=windows, decode_plan=None)
    model = load_model(name, dtype)
    plans = settings.plan, settings.decoder_plan

    def joins(frames: int) -> Tensor:
        return plans[0].joins(frames) | plans[1].joins(frames)

    folder = model.config.folder
    stored = sum(path.stat().st_size for part in ("unet", "vae") for path in (folder / part).glob("*.safetensors"))
    return Contestant(spec, MattingPipeline(model, settings, host).stream, joins, megabytes=stored / 1e6)


def split_spec(spec: str) -> tuple[str, WindowPlan | None]:
    """Split ``small@16/4`` into the model's name and its windows; the windows are None if none are given.

    Example:
        >>> split_spec("small@16/4"), split_spec("my@home/model")
        (('small', WindowPlan(length=16, overlap=4)), ('my@home/model', None))
    """
    found = re.fullmatch(r"(.+)@(\d+)(?:/(\d+))?", spec)
    return (found[1], WindowPlan(int(found[2]), int(found[3] or 0))) if found else (spec, None)


def fingerprint(spec: str) -> str:
    """A digest of the model folder of ``spec``, so that stored results of another model are not reused."""
    return digest_of(model_folder(split_spec(spec)[0]))


def digest_of(folder: Path) -> str:
    """A digest of the names and contents of all files in ``folder``."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            while block := content.read(2**20):
                digest.update(block)
    return digest.hexdigest()[:16]


def results_contestant(name: str, folder: Path) -> Contestant:
    """Mattes made by another program: for every case a picture, a video or a folder of pictures with the case's name.

    Args:
        name: Name in the table.
        folder: The folder with the mattes.
    """

    def case(which: str) -> Matte:
        place = folder / which
        found = media_named(place.parent, place.name)

        def read(frames: Iterable[Tensor]) -> Iterator[Clip]:
            mattes = iter(open_frames(found, gaps="skip"))
            for index, _ in enumerate(frames):
                if (matte := next(mattes, None)) is None:
                    raise InputError(f"{found} holds {index} mattes, too few for {which}")
                yield Clip(matte[None, :1], index)
            if next(mattes, None) is not None:
                raise InputError(f"{found} holds more mattes than {which} has frames")

        return read

    return Contestant(name, lambda _: iter(()), case=case)


def background_subtraction(frames: Iterable[Tensor]) -> Iterator[Clip]:
    """Background subtraction: pixels that differ from the median of the clip's frames are subject. Holds the clip."""
    clip = torch.stack(list(frames))
    difference = (clip - clip.median(dim=0).values).abs().amax(dim=1, keepdim=True)
    yield Clip(((difference - 0.06) / 0.12).clamp(0, 1), 0)


def random_walker(frames: Iterable[Tensor]) -> Iterator[Clip]:
    """Grady's random walker on each frame, with the border as background and the middle as subject.

    Such methods ask the user to mark the subject; here the marks are a guess. Needs scikit-image.
    """
    walk = optional("skimage.segmentation", "scikit-image").random_walker
    for index, frame in enumerate(frames):
        scale = min(1.0, WALKER_EDGE / min(frame.shape[-2:]))
        size = [max(round(edge * scale), 8) for edge in frame.shape[-2:]]
        small = interpolate(frame[None], size, mode="area")[0]
        y, x = np.mgrid[0 : size[0], 0 : size[1]] / np.array(size).reshape(2, 1, 1)
        seeds = np.zeros(size, int)
        seeds[(x < 0.04) | (x > 0.96) | (y < 0.04)] = 2
        seeds[((x - 0.5) / 0.08) ** 2 + ((y - 0.62) / 0.25) ** 2 < 1] = 1
        share = walk(small.movedim(0, -1).double().numpy(), seeds, beta=150, mode="cg_j", channel_axis=-1,
                     return_full_prob=True)[0]  # fmt: skip
        alpha = torch.from_numpy(np.ascontiguousarray(share)).float()[None, None]
        yield Clip(interpolate(alpha, frame.shape[-2:], mode="bilinear", align_corners=False).clamp(0, 1), index)


def blurred_mask(truths: Iterable[Tensor]) -> Iterator[Clip]:
    """The truth thresholded at one half and blurred by a hundredth of its height: a bound for segmentation methods."""
    for index, truth in enumerate(truths):
        binary = (truth > 0.5).float()
        yield Clip(blur(binary, max(0.01 * truth.shape[-2], 1.0))[None].clamp(0, 1), index)


BASELINES = {
    "background": Contestant("background", background_subtraction),
    "walker": Contestant("walker", random_walker),
    "blurred-mask": Contestant("blurred-mask", blurred_mask, given_truth=True),
}
