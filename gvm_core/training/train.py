"""The training loop: runs stages in order, each on a source of clips, and writes checkpoints, losses and sample sheets.

``gvm train`` starts it. Everything random in a step depends only on the seed and the step's number. So a training that
was stopped and resumed gives the same weights as one that was not stopped.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..atomic import atomic
from ..datasets.backgrounds import Places
from ..datasets.batch import Batch, Source
from ..datasets.hard_negatives import read_hard_negatives
from ..host.base import Network
from ..post.guided import refined
from ..sampling import LAST_TIMESTEP
from .config import Stage, TrainingConfig
from .encoded import EncodedBatch, EncodedClips, checksum, encode_batch
from .layers import is_temporal
from .loader import StepData, StepDataset, load_steps
from .lora import LORA_FILE, add_lora, bare_state, set_weights, take_out_lora, with_lora, write_lora
from .losses import Parts, autoencoder_losses, latent_loss, matte_losses
from .output import sample_sheet, write_model
from .precision import TrainingLayers
from .processes import Processes
from .start import lora_beside, starting_networks

log = logging.getLogger(__name__)

CHECKPOINT_EVERY = 250
SHEET_EVERY = 1000
LOG_EVERY = 50
WARM_UP = 100
COLUMNS = ["stage", "step", "seconds", "losses"]

Find = Callable[..., tuple[Tensor, ...]]
"""Finds hard negatives: gets `Places`, and ``progress`` if it shall be called with the number of views searched so far."""


class Average:
    """An exponential moving average of the weights that learn. At its end a stage keeps the averages."""

    def __init__(self, weights: dict[str, nn.Parameter], decay: float = 0.995) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in weights.items()}

    @torch.no_grad()
    def update(self, weights: dict[str, nn.Parameter], step: int) -> None:
        """Add the current weights. Over the first steps the average is shorter: the decay grows with ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [weights[name].detach() for name in self.weights]
        get_ema_multi_avg_fn(decay)([*self.weights.values()], current, None)


class Training:
    """One training run: its networks and its folder.

    Args:
        folder: Folder for ``model/`` or ``lora.safetensors``, ``checkpoint.pt``, ``losses.csv`` and ``samples/``.
        config: What to train.
        sources: Returns the source of a stage's clips. The second argument finds the stage's hard negatives.
        seed: Seed of weights, batches and noise.
        dtype: Precision of matrix products and convolutions; weights and losses are float32.
        processes: The processes that train together; by default only this one.
        workers: Processes that prepare batches while earlier steps run; 0 prepares each batch when it is needed. The
            batches are the same.
        progress: Called after every step with the number of steps done in all stages, and the total number.

    Raises:
        ModelError: If the starting model is missing or damaged.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainingConfig,
        sources: Callable[[Stage, Find], Source],
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        processes: Processes | None = None,
        progress: Callable[[int, int], None] | None = None,
        workers: int = 0,
    ) -> None:
        self.folder, self.config, self.sources = folder, config, sources
        self.seed, self.dtype, self.progress = seed, dtype, progress
        self.processes, self.workers = processes or Processes(), workers
        folder.mkdir(parents=True, exist_ok=True)
        operations = TrainingLayers if self.processes.device.type == "cpu" else nn
        with self.own_random_state():
            torch.manual_seed(seed)
            self.unet, self.vae, self.config = starting_networks(config, operations)
        self.averaged = {name for names in (config.average, *(each.start for each in config.stages)) for name in names}
        only_lora = all(stage.learn == "lora" for stage in config.stages)  # else the model that is written contains it
        self.lora_before = lora_beside(config.start) if only_lora else {}
        for network in (self.unet, self.vae):
            network.to(self.processes.device)

    def own_random_state(self) -> AbstractContextManager[None]:
        """A ``with`` block after which torch's random state is as it was before."""
        device = self.processes.device
        return torch.random.fork_rng([device] if device.type == "cuda" else [])

    def run(self) -> Path:
        """Run all stages. Resumes from the folder's checkpoint if there is one.

        Returns:
            The finished model's folder, or the LoRA file if the last stage learned one.
        """
        with self.own_random_state():
            return self.run_stages()

    def run_stages(self) -> Path:
        """Run all stages. Changes torch's random state."""
        checkpoint = self.folder / "checkpoint.pt"
        state: dict[str, Any] = {"stage": 0, "step": 0}
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True, map_location=self.processes.device)
            self.vae.load_state_dict(state["vae"])
            self.unet.load_state_dict(state["unet"])
            self.vae.scaling_factor = state["scaling_factor"]
        for index in range(state["stage"], len(self.config.stages)):
            resumed = state if index == state["stage"] and "optimizer" in state else None
            stage = self.config.stages[index]
            if stage.start and not resumed:
                with self.processes.main_first():  # the main process has written them by then
                    self.unet.load_state_dict(self.mean_weights(stage.start))
            self.run_stage(index, resumed)
            if self.processes.is_main and stage.name in self.averaged:
                with atomic(self.weights_after(stage.name)) as part:
                    torch.save(self.unet.state_dict(), part)
            self.write_checkpoint(index + 1, 0)
            if self.processes.is_main and stage.learn != "lora":
                write_model(self.folder / "model", self.unet, self.vae, self.config)
        if self.processes.is_main and self.config.average:
            self.unet.load_state_dict(self.mean_weights(self.config.average))
            write_model(self.folder / "model", self.unet, self.vae, self.config)
        return self.folder / (LORA_FILE if self.config.stages[-1].learn == "lora" else "model")

    def weights_after(self, stage: str) -> Path:
        """The file of the UNet's weights after a stage that is averaged."""
        number = [each.name for each in self.config.stages].index(stage)
        return self.folder / f"weights_{number}.pt"

    def mean_weights(self, stages: tuple[str, ...]) -> dict[str, Tensor]:
        """The mean of the UNet's weights after these stages."""
        files = [self.weights_after(name) for name in stages]
        kept = [torch.load(file, weights_only=True, map_location=self.processes.device) for file in files]
        return {key: torch.stack([each[key] for each in kept]).mean(dim=0) for key in kept[0]}

    def run_stage(self, index: int, resumed: dict[str, Any] | None) -> None:
        """Train one stage, and put the averaged weights into the network; a LoRA is written to its file."""
        stage = self.config.stages[index]
        first = resumed["step"] if resumed else 0
        table = LossTable(self.folder / "losses.csv", stage, first) if self.processes.is_main else None
        torch.manual_seed(int(np.random.default_rng([self.seed, index]).integers(2**31)))
        start = 0
        if resumed:
            start = resumed.get("start", 0)
        elif stage.hard_negatives:
            start = checksum((*self.unet.parameters(), *self.vae.parameters()))
        with self.processes.main_first():
            source = self.source_of(stage, index, start)
        weights = self.learning(stage)
        optimizer = torch.optim.AdamW(weights.values(), stage.rate, betas=(0.9, 0.95), weight_decay=1e-3, fused=True)
        average = Average(weights)
        if resumed:
            optimizer.load_state_dict(resumed["optimizer"])
            average.weights = resumed["average"]
            set_weights(weights, resumed["learning"])
        dataset = StepDataset(source, stage, [self.seed, index], self.processes.index)
        for step, data in enumerate(load_steps(dataset, first, self.workers, self.processes.device), first):
            parts = self.step(stage, step, data, weights, optimizer)
            average.update(weights, step)
            self.after_step(stage, index, step + 1, source)
            if table:
                table.add(step + 1, parts)
            if (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < stage.steps:
                current = {name: value.detach() for name, value in weights.items()}
                more = {
                    "optimizer": optimizer.state_dict(),
                    "average": average.weights,
                    "learning": current,
                    "start": start,
                }
                self.write_checkpoint(index, step + 1, **more)
        if stage.learn == "lora":
            take_out_lora(self.unet)
            if self.processes.is_main:
                write_lora(self.folder / LORA_FILE, with_lora(average.weights, self.lora_before))
        else:
            set_weights(weights, average.weights)
        if stage.encodes:
            self.vae.scaling_factor = 1 / self.latent_spread(source, stage)

    def source_of(self, stage: Stage, index: int, start: int) -> Source:
        """The source of the stage's batches. ``start`` is the checksum of the weights at the stage's start, for hard negatives."""
        source = self.sources(stage, partial(self.hard_negatives, stage, start))
        if stage.encodes:
            self.vae.scaling_factor = 1.0
        elif stage.encoded:
            pools = self.folder / "pools"
            seed = [self.seed, index, *([start] if start else [])]  # other hard negatives give other clips
            return EncodedClips(pools, self.vae, source, stage, seed, self.dtype)
        return source

    def hard_negatives(
        self, stage: Stage, start: int, places: Places, progress: Callable[[int], None] | None = None
    ) -> tuple[Tensor, ...]:
        """The hard negatives among ``places``, as found at the stage's start, whose weights have this checksum."""
        folder = self.folder / "pools" / f"hard_{start:08x}"
        matte = partial(self.matte, stage)
        return read_hard_negatives(stage.hard_negatives, places, max(stage.sizes), matte, folder, progress)

    @torch.no_grad()
    def matte(self, stage: Stage, pictures: Tensor) -> Tensor:
        """The network's mattes ``[N, 1, H, W]`` of single pictures ``[N, 3, H, W]``."""
        with torch.autocast(self.processes.device.type, self.dtype, enabled=self.dtype != torch.float32):
            known = self.vae.encode(pictures.to(self.processes.device) * 2 - 1).float()
            return self.mattes(stage, known[:, None])[:, 0].float()

    def mattes(self, stage: Stage, known: Tensor) -> Tensor:
        """The mattes ``[B, T, 1, H, W]`` that the UNet predicts in one step from the latents of the pictures."""
        noise = torch.zeros_like(known)
        if stage.objective == "flow":
            noise = torch.randn(noise.shape, generator=torch.Generator().manual_seed(0)).to(noise)
        predicted = self.unet(torch.cat([noise, known], dim=2), torch.tensor(LAST_TIMESTEP), stage.still)
        return self.vae.decode_alpha(noise - predicted if stage.objective == "flow" else predicted, stage.still)

    def after_step(self, stage: Stage, index: int, step: int, source: Source) -> None:
        """Report progress, and write a sample sheet every `SHEET_EVERY` steps."""
        if self.progress:
            done = sum(earlier.steps for earlier in self.config.stages[:index])
            self.progress(done + step, sum(each.steps for each in self.config.stages))
        if (step % SHEET_EVERY == 0 or step == stage.steps) and self.processes.is_main:
            self.write_sample_sheet(stage, index, step, source)

    def step(
        self,
        stage: Stage,
        step: int,
        data: StepData,
        weights: dict[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> Parts:
        """One step of the optimiser."""
        torch.manual_seed(data.seed)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, stage)
        with torch.autocast(self.processes.device.type, self.dtype, enabled=self.dtype != torch.float32):
            parts = self.losses(stage, data.batch)
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        self.processes.average_gradients([*weights.values()])
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        return parts

    def learning(self, stage: Stage) -> dict[str, nn.Parameter]:
        """The weights that learn in ``stage``. All other weights are frozen."""
        for network in (self.vae, self.unet):
            network.requires_grad_(False)
            checkpoint_activations(network, stage.checkpointing)
        if stage.learn == "lora":
            return add_lora(self.unet, stage.rank)
        network = self.vae if stage.network == "vae" else self.unet
        learn = "spatial" if stage.still else stage.learn
        weights = {
            name: parameter
            for name, parameter in network.named_parameters()
            if learn == "all" or is_temporal(name) == (learn == "temporal")
        }
        for parameter in weights.values():
            parameter.requires_grad_(True)
        return weights

    def losses(self, stage: Stage, batch: Batch | EncodedBatch) -> Parts:
        """The losses of one batch; the training minimises ``loss``."""
        if stage.network == "vae":
            assert isinstance(batch, Batch)
            return self.vae_losses(stage, batch)
        if isinstance(batch, Batch):
            batch = encode_batch(self.vae, batch)
        return self.unet_losses(stage, batch)

    def vae_losses(self, stage: Stage, batch: Batch) -> Parts:
        """Losses of pictures and mattes after encoding and decoding, with a little noise added to the latents."""
        clips = torch.cat([batch.images, batch.alpha.expand(-1, -1, 3, -1, -1)])
        latents = self.vae.encode(clips.flatten(0, 1) * 2 - 1).float().unflatten(0, clips.shape[:2])
        noisy = latents + 0.05 * torch.randn_like(latents)
        returned = self.vae.decode(noisy, stage.still).float() * 0.5 + 0.5
        return autoencoder_losses(returned, clips, latents)

    def unet_losses(self, stage: Stage, batch: EncodedBatch) -> Parts:
        """Losses of the predicted latents and, if the stage uses them, of the mattes decoded from these latents."""
        if stage.objective == "zeros":
            known = torch.cat([torch.zeros_like(batch.known), batch.known], dim=2)
            cleaned = predicted = self.unet(known, torch.tensor(LAST_TIMESTEP), stage.still).float()
            wanted = batch.wanted
        else:
            noise = torch.randn_like(batch.wanted)
            level = torch.rand(len(noise), device=noise.device)
            sigma = level[:, None, None, None, None]
            noisy = (1 - sigma) * batch.wanted + sigma * noise
            predicted = self.unet(torch.cat([noisy, batch.known], dim=2), 1000 * level, stage.still).float()
            wanted, cleaned = noise - batch.wanted, noisy - sigma * predicted  # flow matching: paths are straight lines
        parts = {"latent": latent_loss(predicted, wanted, batch.confidence)}
        if stage.pixels:
            cleaned, images, alpha, confidence = self.decoded_square(
                stage, cleaned, batch.images, batch.alpha, batch.confidence
            )
            mattes = self.vae.decode_alpha(cleaned, stage.still).float()
            if stage.refine:
                pairs = zip(images, mattes, strict=True)
                mattes = torch.stack([refined(*pair, stage.refine, neighbours=stage.frames > 1) for pair in pairs])
            parts |= matte_losses(mattes, alpha, confidence)
        return {"loss": torch.stack([weight * parts[name] for name, weight in stage.losses.items()]).sum(), **parts}

    def decoded_square(self, stage: Stage, latents: Tensor, *pictures: Tensor) -> tuple[Tensor, ...]:
        """Crop latents ``[B, T, C, h, w]`` and pictures ``[B, T, ?, H, W]`` to the same random square."""
        factor = self.vae.factor
        if not stage.decoded:
            return latents, *pictures
        sizes = [min(stage.decoded // factor, edge) for edge in latents.shape[-2:]]
        top, left = (
            int(torch.randint(edge - size + 1, ())) for edge, size in zip(latents.shape[-2:], sizes, strict=True)
        )
        rows, columns = slice(top, top + sizes[0]), slice(left, left + sizes[1])
        large = [slice(factor * span.start, factor * span.stop) for span in (rows, columns)]
        return latents[..., rows, columns], *(picture[..., large[0], large[1]] for picture in pictures)

    @torch.no_grad()
    def latent_spread(self, source: Source, stage: Stage) -> float:
        """Standard deviation of unscaled latents over pictures and mattes."""
        batch = source.batch(16, max(stage.sizes), 1, np.random.default_rng(0)).to(self.processes.device)
        clips = torch.cat([batch.images, batch.alpha.expand(-1, -1, 3, -1, -1)]).flatten(0, 1) * 2 - 1
        return float((self.vae.encode(clips) / self.vae.scaling_factor).std())

    @torch.no_grad()
    def write_sample_sheet(self, stage: Stage, index: int, step: int, source: Source) -> None:
        """Write a sample sheet: pictures, their mattes and the network's mattes."""
        batch = source.batch(6, max(stage.sizes), stage.frames, np.random.default_rng([self.seed, index]))
        batch = batch.to(self.processes.device)
        encoded = encode_batch(self.vae, batch) if isinstance(batch, Batch) else batch
        pictures = self.vae.decode(encoded.known, stage.still) * 0.5 + 0.5
        if stage.network == "vae":
            mattes = self.vae.decode_alpha(encoded.wanted, stage.still)
        else:
            mattes = self.mattes(stage, encoded.known)
        name = f"{index}_{stage.name.replace(' ', '_')}_{step:06}.png"
        sample_sheet(self.folder / "samples" / name, pictures[:, 0], encoded.alpha[:, 0], mattes[:, 0])

    def write_checkpoint(self, stage: int, step: int, **more: Any) -> None:
        """Write the checkpoint; the file is never incomplete."""
        if self.processes.is_main:
            weights = {"vae": self.vae.state_dict(), "unet": bare_state(self.unet)}
            state = {"stage": stage, "step": step, "scaling_factor": self.vae.scaling_factor, **weights, **more}
            with atomic(self.folder / "checkpoint.pt") as part:
                torch.save(state, part)


class LossTable:
    """Writes means of a stage's losses over every `LOG_EVERY` steps to a CSV file and to the log.

    The columns are the stage, the step, the seconds that the stage took until then (with the preparation of its data),
    and the losses as JSON. In a resumed stage the seconds go on from the checkpoint.

    Args:
        table: The CSV file.
        stage: The stage.
        first: How many steps of the stage the checkpoint contains. Rows of later steps are removed: these are done
            again.
    """

    def __init__(self, table: Path, stage: Stage, first: int) -> None:
        self.table, self.stage = table, stage
        rows = [row for row in read_rows(table) if row[0] != stage.name or int(row[1]) <= first]
        with atomic(table) as part, part.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
        before = int(rows[-1][2]) if rows and rows[-1][0] == stage.name else 0
        self.started = time.monotonic() - before
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, step: int, parts: Parts) -> None:
        """Add the losses of ``step``."""
        self.count += 1
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double()
        if step % LOG_EVERY and step < self.stage.steps:
            return
        means = {name: float(total) / self.count for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        seconds = time.monotonic() - self.started
        shown = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        log.info("%s step %d/%d  %s  %.0f s", self.stage.name, step, self.stage.steps, shown, seconds)
        with self.table.open("a", newline="") as file:
            csv.writer(file).writerow([self.stage.name, step, f"{seconds:.0f}", json.dumps(means)])


def read_rows(table: Path) -> list[list[str]]:
    """The rows of a table of losses, without its header; none if there is no such file."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return [row for row in csv.reader(file) if row != COLUMNS]


def checkpoint_activations(network: nn.Module, wanted: bool) -> None:
    """Turn activation checkpointing of the network's blocks on or off."""
    for module in network.modules():
        if isinstance(module, Network):
            module.checkpointing = wanted


def learning_rate(step: int, stage: Stage) -> float:
    """The learning rate at ``step`` of ``stage``: a warm-up, then a cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return stage.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / stage.steps)))
