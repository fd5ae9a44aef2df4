"""The method, in order: fit, encode, denoise, decode, refine, finish. Start reading here.

The pipeline knows the order of the stages, but not files or ComfyUI. Its host owns device and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from fractions import Fraction
from itertools import chain, repeat, starmap

import torch
from torch import Tensor

from .errors import InputError
from .execution import Executor
from .frames import Clip, Original, as_clips
from .host.base import Host
from .host.torch_host import TorchHost
from .models.weights import MattingModel
from .post import edges, guided, reach
from .post.resize import SQUARE, Fit
from .region import Region
from .sampling import denoise_from_noise, denoise_from_zeros, flow_scheduler, frame_noise
from .settings import MatteSettings
from .windows import around, crossfade, cut, gather


class MattingPipeline:
    """Mattes for videos of any length.

    Args:
        model: The networks, from `load_model`.
        settings: Everything the matte depends on; ``None`` for the defaults.
        host: Owner of device and memory; ``None`` for the fastest device of this machine.

    Attributes:
        settings: The given settings, with this model's sizes in place of ``"auto"``.

    Raises:
        MissingPackageError: If the settings ask for gaussian noise and diffusers is not installed.

    Example:
        >>> from gvm_core import load_model
        >>> pipeline = MattingPipeline(load_model("small"), host=TorchHost("cpu"))
        >>> pipeline.matte(torch.rand(3, 3, 40, 56)).shape
        torch.Size([3, 1, 40, 56])
    """

    def __init__(self, model: MattingModel, settings: MatteSettings | None = None, host: Host | None = None) -> None:
        self.model = model
        self.settings = (settings or MatteSettings()).suited(model.config.short_edge, model.config.max_edge)
        self.host = host or TorchHost()
        self.executor = Executor(self.host)
        self.scheduler = flow_scheduler(model.config.scheduler) if self.settings.noise == "gaussian" else None

    def matte(self, frames: Iterable[Tensor], *, regions: Iterable[Region] | None = None) -> Tensor:
        """Matte all frames, and return one tensor.

        Args:
            frames: As for `stream`; also a tensor ``[T, 3, H, W]``.
            regions: As for `stream`.

        Returns:
            Alpha ``[T, 1, H, W]`` in 0..1, float32 on the CPU.
        """
        return torch.cat([clip.data for clip in self.stream(frames, regions=regions)])

    def stream(
        self,
        frames: Iterable[Tensor],
        first: int = 0,
        *,
        regions: Iterable[Region] | None = None,
        originals: bool = False,
        pixel_aspect: Fraction = SQUARE,
        between: Callable[[Iterator[Clip]], Iterator[Clip]] = iter,
    ) -> Generator[Clip, None, None]:
        """Matte a stream of frames of any length. At most a few windows are in memory.

        Args:
            frames: ``[3, H, W]`` each, sRGB 0..1 (values outside are allowed), float, all of the same size, at least
                one. Do not change a frame before its matte is yielded.
            first: Index of the first frame in its video.
            regions: Where the network looks in each frame, in the same order: from `region.from_masks` or
                `follow.follow`. Outside, alpha is 0. None lets it look everywhere.
            originals: Give every clip its original frames, for results that need both.
            pixel_aspect: The width of a pixel over its height.
            between: Given the clips that are encoded, those that are denoised and those that are decoded, each of all
                frames. It yields them on, and may count them: a window is finished only after all three.

        Yields:
            Clips of alpha ``[T, 1, H, W]`` in 0..1 at the frames' own size, float32 on the CPU, in order, without gaps.

        Raises:
            InputError: If a frame is not as described above, or has no region. The message gives its index.
            GVMError: If the result is not finite even in float32.
        """
        fit, clips = self.fit(frames, first, regions=regions, originals=originals, pixel_aspect=pixel_aspect)
        image_latents = between(self.encode(clips))
        alpha_latents = between(self.denoise(image_latents))
        alpha = between(self.decode(alpha_latents))
        yield from self.finish(self.refine(alpha, fit, originals=originals))

    def fit(
        self,
        frames: Iterable[Tensor],
        first: int = 0,
        *,
        regions: Iterable[Region] | None = None,
        originals: bool = False,
        pixel_aspect: Fraction = SQUARE,
        fit: Fit | None = None,
    ) -> tuple[Fit, Iterator[Clip]]:
        """Check the frames, and scale and pad them for the network.

        Args:
            frames: As for `stream`.
            first: As for `stream`.
            regions: As for `stream`.
            originals: As for `stream`. If edges are refined or there are regions, clips have their originals anyway.
            pixel_aspect: As for `stream`.
            fit: How to scale and pad the frames, if that is already decided.

        Returns:
            How whole frames are scaled and padded, and the resulting clips ``[T, 3, H, W]``.
        """
        clips = as_clips(frames, first)
        if isinstance(regions, Sized) and isinstance(frames, Sized) and len(regions) != len(frames):
            raise InputError(f"there are {len(frames)} frames but {len(regions)} regions; every frame needs one region")
        looks = repeat(None) if regions is None else iter(regions)
        opening = next(clips)
        settings, (height, width) = self.settings, opening.data.shape[-2:]
        if settings.pad_multiple % self.model.vae.factor:
            raise InputError(f"pad_multiple must be a multiple of {self.model.vae.factor}, for this model's VAE")
        sizes = fit or Fit.plan((height, width), *settings.edges, settings.pad_multiple, pixel_aspect)
        wanted = originals or regions is not None or self._radius(sizes) > 0

        def fitted(clip: Clip) -> Clip:
            if (region := next(looks, None)) is None and regions is not None:
                raise InputError(f"frame {clip.start} has no region: there are fewer regions than frames")
            view = sizes.at(region)
            seen = view.fit(clip.data)
            if not wanted:
                return clip.replace(seen)
            low, high = clip.data.aminmax()
            shown = seen if low >= 0 and high <= 1 else view.fit(clip.data.clamp(0, 1))
            return Clip(seen, clip.start, (Original(clip.data[0], shown[0], region),))

        return sizes, map(fitted, chain(iter([opening]), clips))  # an iterator does not keep used clips in memory

    def encode(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Images ``[T, 3, H, W]`` in 0..1 to image latents ``[T, 4, h, w]``. Each frame is encoded once, on its own."""
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
        """Alpha latents ``[T, 4, h, w]`` of one window: the frames that the network sees at once."""
        unet, settings = self.model.unet, self.settings

        def network(latents: Tensor, timestep: Tensor) -> Tensor:
            self.host.check_cancelled()
            return unet(latents, timestep)

        def sample(latents: Tensor) -> Tensor:
            if settings.noise == "zeros":
                return denoise_from_zeros(network, latents[None], settings.steps)[0]
            # Each frame has its own noise, the same in every window.
            noise = [frame_noise(settings.seed, i, tuple(latents.shape[1:])) for i in range(window.start, window.stop)]
            noisy = torch.stack(noise).to(latents)[None]
            return denoise_from_noise(network, latents[None], noisy, self.scheduler, settings.steps)[0]

        variants = unet.variants(window.data[:, 0].numel(), sample)
        return window.replace(self.executor.run("denoising", variants, window.data, window.start, unet))

    def decode(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Alpha latents ``[T, 4, h, w]`` to unclamped alpha ``[T, 1, H, W]``, in overlapping windows, cross-faded."""
        return crossfade(map(self._decode_window, cut(clips, self.settings.decoder_plan)))

    def _decode_window(self, window: Clip) -> Clip:
        """Unclamped alpha ``[T, 1, H, W]`` of one window. The decoder also works over time."""
        vae = self.model.vae
        pixels = window.data[0, 0].numel() * vae.factor**2
        at_once = self.executor.frames_at_once(pixels)
        variants = vae.decode_variants(pixels, len(window), window.data.shape[-1], at_once)
        return window.replace(self.executor.run("decoding", variants, window.data, window.start, vae))

    def refine(self, clips: Iterable[Clip], fit: Fit, *, originals: bool = False) -> Iterator[Clip]:
        """Unclamped alpha ``[T, 1, H, W]`` at the network's size to unclamped alpha at the frames' own size.

        Args:
            clips: From `decode`, with their originals.
            fit: How the frames were scaled and padded.
            originals: Keep the originals in the results.
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
            return restored(window.replace(self.executor.run("refining", variants, window.data, window.start))[new])

        def restored(clip: Clip) -> Clip:
            if not clip.originals:
                return clip.replace(fit.restore(clip.data))
            # Frame by frame: four channels at the frames' own size need much memory.
            pairs = zip(clip.data.split(1), clip.originals, strict=True)
            return clip.replace(torch.cat([self._at_full_size(each, original, fit) for each, original in pairs]))

        # Not a loop: a loop variable would keep frames in memory until the next window is there.
        result = starmap(refined, around(map(seen, clips), margin)) if radius else map(restored, clips)
        return result if originals else map(Clip.bare, result)

    def _at_full_size(self, seen: Tensor, original: Original, fit: Fit) -> Tensor:
        """Unclamped alpha ``[1, 1, H, W]`` of a frame, 0 outside its region.

        Args:
            seen: ``[1, C, h, w]`` at the network's size: alpha, or functions of colour that give alpha (`guided`).
            original: The frame and its region.
            fit: How whole frames were scaled and padded.
        """
        region, view = original.region, fit.at(original.region)
        rows, columns = view.place
        alpha = view.inside(seen)
        if alpha.shape[1] > 1:
            alpha = guided.alpha_of(alpha, original.pixels[None, :, rows, columns])
        if region is not None and (view.box is not None or region.mask is not None):
            alpha = alpha.clamp(0, 1) * reach.weights(region, view, self.settings.region)
        return view.placed(alpha)

    def finish(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Clamp alpha to 0..1, apply the thresholds if there are any, and report the frames to the host."""
        low, high = self.settings.low, self.settings.high
        for clip in clips:
            alpha = clip.data.clamp(0, 1)
            alpha = alpha.masked_fill(alpha <= low, 0) if low > 0 else alpha
            alpha = alpha.masked_fill(alpha >= high, 1) if high < 1 else alpha
            finished = clip.replace(alpha)
            self.host.advance(finished)
            yield finished

    def _radius(self, fit: Fit) -> int:
        """Radius for refining edges, in pixels of the network's picture; 0 for no refining."""
        if self.settings.refine != "auto":
            return self.settings.refine
        shrunk = 1.25 * max(fit.scaled) <= max(fit.source)  # else refining loses about as much as it gains
        return max(self.model.config.refine, int(shrunk))
