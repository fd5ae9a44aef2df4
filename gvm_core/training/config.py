"""Training configurations: what is trained, on what, and for how long. They are read from JSON and checked first."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..datasets.drawn import Clips
from ..datasets.people import Shares
from ..errors import InputError

CONFIGS = Path(__file__).with_name("configs")
NETWORKS = ("vae", "unet")
LEARN = ("all", "spatial", "temporal", "lora")
OBJECTIVES = ("zeros", "flow")
LOSSES = ("latent", "l1", "soft", "laplacian", "gradient", "coherence")
SOURCES = ("drawn", "people", "clips")


@dataclass(frozen=True, kw_only=True)
class Stage(Shares):
    """One stage of a training. What ``people`` gives has the `Shares` of `datasets.people`, which are keys of a stage, too.

    Attributes:
        name: Name in the log and the table of losses; each stage needs its own.
        network: Which network learns: ``"vae"`` or ``"unet"``. With ``"unet"`` the VAE is frozen.
        learn: Which of its weights learn: ``"all"``, ``"spatial"`` or ``"temporal"``. ``"lora"`` freezes them and
            trains a LoRA.
        objective: ``"zeros"`` predicts matte latents from zeros in one step, like the released weights; ``"flow"`` is
            flow matching from noise.
        still: Train on single frames, without the layers over time.
        sizes: Edges of the square clips in pixels; each batch uses one of them.
        frames: Frames in a clip.
        batch: Clips in a step.
        steps: Optimiser steps.
        rate: Peak learning rate. It warms up over 100 steps, then falls to a hundredth along a cosine.
        closest: The smallest part of a drawn clip that is cropped, as a share of its edge.
        losses: Weight of each loss of the UNet: ``latent``, ``l1``, ``soft`` (L1 where alpha is neither 0 nor 1),
            ``laplacian``, ``gradient`` and ``coherence``. All but ``latent`` need the decoder, most of a step's work.
        decoded: Edge in pixels of the random square that is decoded for these losses; 0 decodes whole frames.
        refine: Radius in pixels with which decoded mattes are refined by the frames before these losses, as matting
            does later; 0 turns it off.
        rank: Rank of the LoRA.
        clips: Drawn clips to learn from, in addition to the given footage.
        sources: Shares of ``drawn`` clips, of ``people`` composed from the given subjects and backgrounds, and of the
            given ``clips``. If empty, all available sources have equal shares.
        chimeras: How many drawn bodies to put under the heads of the given subjects; see `datasets.chimeras`.
        hard_negatives: How many views of the panoramas to search for hard negatives before the stage: those in which the
            network finds somebody. A third of the backgrounds of ``people`` are these then. 0 searches none.
        start: Names of earlier stages. The UNet starts this stage with the mean of the weights that it had after each
            of them. Empty: with those after the stage before.
        encoded: How many clips to compose and encode in advance and reuse; 0 composes new clips for every step.
        repeats: In how many steps a newly composed clip is used, on average. Above 1, each step mixes clips of the last
            batches. That helps where a step is faster than the composition of its clips, as on a card.
        checkpointing: Activation checkpointing: less memory, a third more time.
    """

    name: str
    network: str = "unet"
    learn: str = "all"
    objective: str = "zeros"
    still: bool = False
    sizes: tuple[int, ...]
    frames: int = 1
    batch: int
    steps: int
    rate: float
    closest: float = 0.6
    losses: dict[str, float] = field(default_factory=lambda: {"latent": 1.0})
    decoded: int = 0
    refine: int = 0
    rank: int = 32
    clips: Clips | None = None
    sources: dict[str, float] = field(default_factory=dict)
    chimeras: int = 0
    hard_negatives: int = 0
    start: tuple[str, ...] = ()
    encoded: int = 0
    repeats: int = 1
    checkpointing: bool = False

    def __post_init__(self) -> None:
        at = f"stage {self.name!r}"
        for value, known, what in (
            (self.network, NETWORKS, "network"),
            (self.learn, LEARN, "learn"),
            (self.objective, OBJECTIVES, "objective"),
        ):
            if value not in known:
                raise InputError(f"{at}: {what} must be one of {', '.join(known)}, got {value!r}")
        if unknown := set(self.losses) - set(LOSSES):
            raise InputError(f"{at}: there is no loss {min(unknown)!r}; the losses are {', '.join(LOSSES)}")
        counts = (self.frames, self.batch, self.steps, self.rank, self.repeats, *self.sizes)
        if not self.sizes or min(counts) < 1 or self.rate <= 0:
            raise InputError(f"{at}: sizes, frames, batch, steps, rank, repeats and rate must be above 0")
        if self.repeats > 1 and self.encoded:
            raise InputError(f"{at}: encoded clips are reused anyway; leave out either encoded or repeats")
        if self.refine < 0 or (self.refine and not self.pixels):
            raise InputError(f"{at}: refine must be 0 or more pixels, and it needs a loss on decoded mattes")
        if self.still and self.frames > 1:
            raise InputError(f"{at}: with still, frames must be 1, got {self.frames}")
        if self.learn == "lora" and self.network != "unet":
            raise InputError(f"{at}: only the unet can learn a lora")
        if self.clips and self.clips.frames < self.frames:
            raise InputError(f"{at}: clips of {self.clips.frames} frames are too short; it needs {self.frames}")
        if self.clips and self.clips.size < max(self.sizes):
            raise InputError(f"{at}: clips of {self.clips.size} pixels are too small; it needs {max(self.sizes)}")
        self.check_sources(at)

    def check_sources(self, at: str) -> None:
        """Check the shares of sources; ``at`` names the stage in messages."""
        if unknown := set(self.sources) - set(SOURCES):
            raise InputError(f"{at}: there is no source {min(unknown)!r}; the sources are {', '.join(SOURCES)}")
        if self.sources and (min(self.sources.values()) < 0 or not sum(self.sources.values())):
            raise InputError(f"{at}: shares of sources must be 0 or more, and one above 0, got {self.sources}")
        for share in fields(Shares):
            if not 0 <= (value := getattr(self, share.name)) <= 1:
                raise InputError(f"{at}: {share.name} must be between 0 and 1, got {value}")
        if self.hard_negatives < 0 or (self.hard_negatives and self.network != "unet"):
            raise InputError(f"{at}: hard_negatives must be 0 or more views, and only the unet can find them")
        if self.sources.get("drawn") and not self.clips:
            raise InputError(f"{at}: a share of drawn clips needs the key clips, which describes the clips to draw")

    @property
    def encodes(self) -> bool:
        """Whether the stage trains the encoder."""
        return self.network == "vae" and self.learn != "temporal"

    @property
    def pixels(self) -> bool:
        """Whether any loss needs decoded mattes."""
        return any(weight for name, weight in self.losses.items() if name != "latent")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A whole training.

    Attributes:
        stages: What to do, in order.
        unet: The UNet's configuration, in the published layout; None takes that of the starting model.
        vae: The VAE's configuration, in the published layout; None takes that of the starting model.
        start: ``"scratch"``, or a model folder to start from: the released weights, or SVD's own.
        sizes: The best frame sizes and ``refine``, written beside the model; None takes those of the starting model.
        latent_channels: Widen the starting model's latents to this many channels, for a stage that teaches the VAE to
            use them; None leaves them unchanged.
        average: Names of stages. The finished UNet has the mean of the weights that it had after each of them, which is
            often better than any of them (Wortsman et al., Model soups, ICML 2022). A stage that is named twice counts
            twice. Empty: those after the last stage.
    """

    stages: tuple[Stage, ...]
    unet: dict[str, Any] | None = None
    vae: dict[str, Any] | None = None
    start: str = "scratch"
    sizes: dict[str, int] | None = None
    latent_channels: int | None = None
    average: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("a training needs at least one stage")
        names = [stage.name for stage in self.stages]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise InputError(f"each stage needs a name of its own, but {min(repeated)!r} is repeated")
        whole = [stage.name for stage in self.stages if stage.network == "unet" and stage.learn != "lora"]
        if unknown := set(self.average) - set(whole):
            raise InputError(f"average names stages that train the whole unet; {min(unknown)!r} is none of them")
        for number, stage in enumerate(self.stages):
            if unknown := set(stage.start) - (set(whole) & set(names[:number])):
                raise InputError(
                    f"stage {stage.name!r}: start names earlier stages that train the whole unet; "
                    f"{min(unknown)!r} is none of them"
                )
        if self.start == "scratch" and not (self.unet and self.vae):
            raise InputError("a training from scratch needs the configurations unet and vae")


def read_config(name: str) -> TrainingConfig:
    """Read a configuration by its file name, or by the name of a bundled configuration.

    Raises:
        InputError: If it does not exist, or a value in it is not allowed.

    Example:
        >>> [stage.network for stage in read_config("quick").stages][:2]
        ['vae', 'unet']
    """
    path = Path(name)
    if not path.is_file():
        path = CONFIGS / f"{name}.json"
    if not path.is_file():
        raise InputError(f"there is no training configuration {name!r}; bundled ones: {', '.join(bundled_configs())}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stages = tuple(build(Stage, stage) for stage in content.pop("stages", ()))
        return build(TrainingConfig, {**content, "stages": stages})
    except (json.JSONDecodeError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a training configuration: {error}") from error


def bundled_configs() -> list[str]:
    """The names of the bundled configurations."""
    return sorted(path.stem for path in CONFIGS.glob("*.json"))


def build(kind: type, content: dict[str, Any]) -> Any:
    """Build a dataclass of ``kind`` from the values of a JSON object."""
    names = {each.name for each in fields(kind)}
    if unknown := set(content) - names:
        raise InputError(f"{kind.__name__} has no key {min(unknown)!r}; its keys are {', '.join(sorted(names))}")
    values = dict(content)
    if isinstance(values.get("clips"), dict):
        values["clips"] = build(Clips, values["clips"])
    for name in ("sizes", "tiers", "average", "start"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    return kind(**values)
