"""The method, in order: fit, encode, denoise, decode, refine, finish. Start reading here.

Knows the order of the stages and asks its host for device and memory; nothing of files or ComfyUI.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import chain, starmap

import torch
from torch import Tensor

from .errors import InputError
from .execution import Executor
from .frames import Clip, Original, as_clips
from .host.base import Host
from .host.torch_host import TorchHost
from .models.weights import MattingModel
from .post import edges, guided
from .post.resize import Fit
from .sampling import denoise_from_noise, denoise_from_zeros, flow_scheduler, frame_noise
from .settings import MatteSettings
from .windows import around, crossfade, cut, gather


class MattingPipeline:
    """Mattes for videos of any length.

    Args:
        model: The networks, from `load_model`.
        settings: Everything the picture depends on; ``None`` for the defaults.
        host: Owner of device and memory; ``None`` for the fastest device here.

    Attributes:
        settings: As given, with what ``"auto"`` means for this model in place of it.

    Raises:
        MissingPackageError: If the settings ask for gaussian noise and diffusers is not installed.

    Example:
        >>> from gvm_core import load_model
        >>> pipeline = MattingPipeline(load_model("demo"), host=TorchHost("cpu"))
        >>> pipeline.matte(torch.rand(3, 3, 40, 56)).shape
        torch.Size([3, 1, 40, 56])
    """

    def __init__(self, model: MattingModel, settings: MatteSettings | None = None, host: Host | None = None) -> None:
        self.model = model
        self.settings = (settings or MatteSettings()).suited(model.config.short_edge, model.config.max_edge)
        self.host = host or TorchHost()
        self.executor = Executor(self.host)
        self.scheduler = flow_scheduler(model.config.scheduler) if self.settings.noise == "gaussian" else None

    def matte(self, frames: Iterable[Tensor]) -> Tensor:
        """`stream`, collected.

        Args:
            frames: As for `stream`; ``[T, 3, H, W]`` is one such iterable.

        Returns:
            Alpha ``[T, 1, H, W]`` in 0..1, float32 on the CPU.
        """
        return torch.cat([clip.data for clip in self.stream(frames)])

    def stream(
        self, frames: Iterable[Tensor], first: int = 0, *, originals: bool = False
    ) -> Generator[Clip, None, None]:
        """Matte a stream of frames of any length, holding a few windows of it at most.

        Args:
            frames: ``[3, H, W]`` each, sRGB 0..1 (values beyond pass), float, all of one size, at least one. Each must
                stay as it is until its matte has come.
            first: Index of the first frame in the video it comes from.
            originals: Have every clip bring its frames along, for what is made of both.

        Yields:
            Clips of alpha ``[T, 1, H, W]`` in 0..1 at the frames' own size, float32 on the CPU, gapless, in order.

        Raises:
            InputError: For frames that are not as above, naming the frame.
            GVMError: If the result is not finite even in float32.
        """
        fit, clips = self.fit(frames, first, originals=originals)
        image_latents = self.encode(clips)
        alpha_latents = self.denoise(image_latents)
        alpha = self.decode(alpha_latents)
        yield from self.finish(self.refine(alpha, fit, originals=originals))

    def fit(
        self, frames: Iterable[Tensor], first: int = 0, *, originals: bool = False, fit: Fit | None = None
    ) -> tuple[Fit, Iterator[Clip]]:
        """Check the frames, and scale and pad them for the network.

        Args:
            frames: As for `stream`.
            first: Likewise.
            originals: Likewise; where edges are to be refined, clips bring their frames along in any case.
            fit: How to scale and pad them, where that is decided already.

        Returns:
            How they are scaled and padded, and the clips ``[T, 3, H, W]`` that result.
        """
        clips = as_clips(frames, first)
        opening = next(clips)
        settings, (height, width) = self.settings, opening.data.shape[-2:]
        if settings.pad_multiple % self.model.vae.factor:
            raise InputError(f"pad_multiple must be a multiple of {self.model.vae.factor}, as this model's VAE demands")
        sizes = fit or Fit.plan((height, width), *settings.edges, settings.pad_multiple)
        wanted = originals or self._radius(sizes) > 0

        def fitted(clip: Clip) -> Clip:
            seen = sizes.fit(clip.data)
            if not wanted:
                return clip.replace(seen)
            low, high = clip.data.aminmax()
            shown = seen if low >= 0 and high <= 1 else sizes.fit(clip.data.clamp(0, 1))
            return Clip(seen, clip.start, (Original(clip.data[0], shown[0]),))

        return sizes, map(fitted, chain(iter([opening]), clips))  # an iterator lets go of what it has given

    def encode(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Images ``[T, 3, H, W]`` in 0..1 to image latents ``[T, 4, h, w]``, each frame once and by itself."""
        vae = self.model.vae
        for clip in gather(clips, self.settings.plan.stride):
            pixels, latents = clip.data[0, 0].numel(), []
            at_once = self.executor.frames_at_once(pixels)
            for start in range(clip.start, clip.stop, at_once):
                part = clip[start : min(start + at_once, clip.stop)]
                variants = vae.encode_variants(pixels, len(part))
                latents.append(self.executor.run("encoding", variants, part.data, start, vae))
            yield clip.replace(torch.cat(latents))

    def denoise(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Image latents ``[T, 4, h, w]`` to alpha latents ``[T, 4, h, w]``, in overlapping windows, cross-faded."""
        return crossfade(map(self._denoise_window, cut(clips, self.settings.plan)))

    def _denoise_window(self, window: Clip) -> Clip:
        """Alpha latents ``[T, 4, h, w]`` of one window: what the network sees at once."""
        unet, settings = self.model.unet, self.settings

        def network(latents: Tensor, timestep: Tensor) -> Tensor:
            self.host.check_cancelled()
            return unet(latents, timestep)

        def sample(latents: Tensor) -> Tensor:
            if settings.noise == "zeros":
                return denoise_from_zeros(network, latents[None], settings.steps)[0]
            # Each frame has its own noise, whichever window it is in.
            noise = [frame_noise(settings.seed, i, tuple(latents.shape[1:])) for i in range(window.start, window.stop)]
            noisy = torch.stack(noise).to(latents)[None]
            return denoise_from_noise(network, latents[None], noisy, self.scheduler, settings.steps)[0]

        variants = unet.variants(window.data[:, 0].numel(), sample)
        return window.replace(self.executor.run("denoising", variants, window.data, window.start, unet))

    def decode(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Alpha latents ``[T, 4, h, w]`` to unclamped alpha ``[T, 1, H, W]``, in overlapping windows, cross-faded."""
        return crossfade(map(self._decode_window, cut(clips, self.settings.decoder_plan)))

    def _decode_window(self, window: Clip) -> Clip:
        """Unclamped alpha ``[T, 1, H, W]`` of one window: the decoder, too, works over time."""
        vae = self.model.vae
        pixels = window.data[0, 0].numel() * vae.factor**2
        at_once = self.executor.frames_at_once(pixels)
        variants = vae.decode_variants(pixels, len(window), window.data.shape[-1], at_once)
        return window.replace(self.executor.run("decoding", variants, window.data, window.start, vae))

    def refine(self, clips: Iterable[Clip], fit: Fit, *, originals: bool = False) -> Iterator[Clip]:
        """Unclamped alpha ``[T, 1, H, W]`` of the network's size to unclamped alpha of the frames' own.

        Args:
            clips: From `decode`, with their originals.
            fit: How the frames were scaled and padded.
            originals: Let what results have its originals, too.
        """
        radius, margin = self._radius(fit), self.settings.margin

        def seen(clip: Clip) -> Clip:
            fitted = torch.stack([original.fitted for original in clip.originals])
            return clip.replace(torch.cat([fitted, clip.data.clamp(0, 1)], dim=1))

        def refined(window: Clip, new: slice) -> Clip:
            variants = edges.variants(
                window.data.shape,
                radius,
                neighbours=margin > 0,
                device=self.host.device,
                between=self.host.check_cancelled,
            )
            functions = window.replace(self.executor.run("refining", variants, window.data, window.start))[new]
            # Frame by frame, since these are four channels of the frames' own size.
            pairs = zip(functions.data.split(1), functions.originals, strict=True)
            alpha = [guided.alpha_of(fit.restore(each), original.pixels[None]) for each, original in pairs]
            return functions.replace(torch.cat(alpha))

        def restored(clip: Clip) -> Clip:
            return clip.replace(fit.restore(clip.data))

        # Mapped, not looped over: a loop's variable would keep frames in memory until the next window has come.
        result = starmap(refined, around(map(seen, clips), margin)) if radius else map(restored, clips)
        return result if originals else map(Clip.bare, result)

    def finish(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Clamped to 0..1, thresholds applied if any were asked for, reported."""
        low, high = self.settings.low, self.settings.high
        for clip in clips:
            alpha = clip.data.clamp(0, 1)
            alpha = alpha.masked_fill(alpha <= low, 0) if low > 0 else alpha
            alpha = alpha.masked_fill(alpha >= high, 1) if high < 1 else alpha
            finished = clip.replace(alpha)
            self.host.advance(finished)
            yield finished

    def _radius(self, fit: Fit) -> int:
        """How far around a pixel of the network's picture refining looks; 0 for not at all."""
        if self.settings.refine != "auto":
            return self.settings.refine
        shrunk = 1.25 * max(fit.scaled) <= max(fit.source)  # nearer to their size refining takes about what it gives
        return max(self.model.config.refine, int(shrunk))
