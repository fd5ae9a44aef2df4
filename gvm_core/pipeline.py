"""The method, in order: fit, encode, denoise, decode, refine, finish. Start reading here.

Knows the order of the stages and asks its host for device and memory; nothing of files or ComfyUI.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import accumulate, chain, count, islice

import torch
from torch import Tensor

from .errors import GVMError, InputError
from .frames import Clip
from .host.base import Host, Network
from .host.torch_host import TorchHost
from .models.layerwise import BY_ROWS, IN_HOST_MEMORY, Slicing
from .models.weights import MattingModel
from .post import guided
from .post.resize import Fit
from .sampling import denoise_from_noise, denoise_from_zeros, flow_scheduler, frame_noise
from .settings import MatteSettings
from .ways import Choice, Way
from .windows import around, crossfade, cut, gather

log = logging.getLogger(__name__)

PIXELS_AT_ONCE = 2**20
"""Small frames go through the VAE's layers over space several at a time, up to this many pixels."""
PIXELS_REFINED = 2**18
"""Refining takes so many rows of a window that they are this many pixels."""
BYTES_REFINING = 640
"""Peak of memory while refining, for each pixel: some eighty numbers."""
ROWS_AT_ONCE = 2**19
"""The decoder's layers over time take so many rows of all frames at once that they are this many pixels."""


class MattingPipeline:
    """Mattes for videos of any length.

    Args:
        model: The networks, from `load_model`.
        settings: Everything the picture depends on; ``None`` for the defaults.
        host: Owner of device and memory; ``None`` for the fastest device here.

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
        self.settings = settings or MatteSettings()
        self.host = host or TorchHost()
        self.scheduler = flow_scheduler(model.config.scheduler) if self.settings.noise == "gaussian" else None
        self.choices: dict[str, Choice] = {}

    def matte(self, frames: Iterable[Tensor]) -> Tensor:
        """`stream`, collected.

        Args:
            frames: As for `stream`; ``[T, 3, H, W]`` is one such iterable.

        Returns:
            Alpha ``[T, 1, H, W]`` in 0..1, float32 on the CPU.
        """
        return torch.cat([clip.data for clip in self.stream(frames)])

    def stream(self, frames: Iterable[Tensor], first: int = 0) -> Generator[Clip, None, None]:
        """Matte a stream of frames of any length, holding a few windows of it at most.

        Args:
            frames: ``[3, H, W]`` each, sRGB 0..1 (values beyond pass), float, all of one size, at least one. Each must
                stay as it is until its matte has come.
            first: Index of the first frame in the video it comes from.

        Yields:
            Clips of alpha ``[T, 1, H, W]`` in 0..1 at the frames' own size, float32 on the CPU, gapless, in order.

        Raises:
            InputError: For frames that are not as above, naming the frame.
            GVMError: If the result is not finite even in float32.
        """
        waiting: deque[Tensor] = deque()  # frames whose mattes are on their way, if these are to be refined
        fit, clips = self.fit(frames, first, waiting)
        image_latents = self.encode(clips)
        alpha_latents = self.denoise(image_latents)
        alpha = self.decode(alpha_latents)
        yield from self.finish(self.refine(alpha, (waiting.popleft() for _ in count()), fit))

    def context(self, first: int, last: int | None) -> tuple[int, int | None]:
        """The frames that the mattes of ``first`` to ``last`` depend on, themselves included.

        `stream` over these, with this first index, gives the range the same mattes as a run over the whole video.
        """
        unet, decoder = self.settings.plan, self.settings.decoder_plan
        earliest = max(first - self.margin, 0)
        begin = unet.context(decoder.context(earliest, earliest)[0], earliest)[0]
        aligned = begin - begin % math.lcm(unet.stride, decoder.stride)
        end = None if last is None else unet.context(0, decoder.context(0, last + self.margin)[1])[1]
        return aligned, end

    def fit(
        self, frames: Iterable[Tensor], first: int = 0, waiting: deque[Tensor] | None = None
    ) -> tuple[Fit, Iterator[Clip]]:
        """Check the frames, and scale and pad them for the network.

        Args:
            frames: As for `stream`.
            first: Likewise.
            waiting: Receives the frames ``[3, H, W]``, float32 on the CPU, as they go by, where `refine` will ask for them.

        Returns:
            How they are scaled and padded, and the clips ``[T, 3, H, W]`` that result.
        """
        clips = as_clips(frames, first)
        opening = next(clips)
        settings, (height, width) = self.settings, opening.data.shape[-2:]
        if settings.pad_multiple % self.model.vae.factor:
            raise InputError(f"pad_multiple must be a multiple of {self.model.vae.factor}, as this model's VAE demands")
        fit = Fit.plan((height, width), settings.short_edge, settings.max_edge, settings.pad_multiple)
        kept = waiting if self.radius(fit) else None

        def fitted(clip: Clip) -> Clip:
            if kept is not None:
                kept.extend(clip.data)
            return clip.replace(fit.fit(clip.data))

        return fit, map(fitted, chain([opening], clips))

    def encode(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Images ``[T, 3, H, W]`` in 0..1 to image latents ``[T, 4, h, w]``, each frame once and by itself."""
        for clip in gather(clips, self.settings.plan.stride):
            # How many frames share a call changes speed and memory, never the latents.
            parts = clip.data.split(self.frames_at_once(clip.data[0, 0].numel()))
            starts = accumulate(map(len, parts[:-1]), initial=clip.start)
            yield clip.replace(torch.cat([self.encode_frames(*each) for each in zip(parts, starts, strict=True)]))

    def encode_frames(self, images: Tensor, start: int) -> Tensor:
        """Image latents ``[T, 4, h, w]`` of a few frames ``[T, 3, H, W]``, the first of which is frame ``start``."""
        vae = self.model.vae

        def sliced(slicing: Slicing) -> Way:
            room = vae.encode_bytes(images[0, 0].numel(), slicing)
            return Way(slicing.name, room, lambda images: vae.encode(images * 2 - 1, slicing))

        whole = Way("as planned", vae.encode_bytes(images[:, 0].numel()), lambda images: vae.encode(images * 2 - 1))
        return self.call("encoding", vae, [whole, sliced(BY_ROWS), sliced(IN_HOST_MEMORY)], images, start)

    def frames_at_once(self, pixels: int) -> int:
        """Frames of ``pixels`` pixels that layers over space see at once: several, where they are small for a card.

        A processor is twice as fast with one: its caches hold that.
        """
        return 1 if self.host.device.type == "cpu" else max(1, PIXELS_AT_ONCE // pixels)

    def denoise(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Image latents ``[T, 4, h, w]`` to alpha latents ``[T, 4, h, w]``, in overlapping windows, cross-faded."""
        return crossfade(map(self.denoise_window, cut(clips, self.settings.plan)))

    def denoise_window(self, window: Clip) -> Clip:
        """Alpha latents ``[T, 4, h, w]`` of one window: what the network sees at once."""
        unet, settings = self.model.unet, self.settings

        def network(latents: Tensor, timestep: Tensor) -> Tensor:
            self.host.check_cancelled()
            return unet(latents, timestep)

        def from_zeros(latents: Tensor) -> Tensor:
            return denoise_from_zeros(network, latents[None], settings.steps)[0]

        def from_noise(latents: Tensor) -> Tensor:
            noise = self.noise(window).to(latents)[None]
            return denoise_from_noise(network, latents[None], noise, self.scheduler, settings.steps)[0]

        sample = from_zeros if settings.noise == "zeros" else from_noise
        room = unet.activation_bytes(window.data[:, 0].numel())

        def with_tokens(count: int) -> Callable[[Tensor], Tensor]:
            def run(latents: Tensor) -> Tensor:
                unet.slice_tokens(count)
                return sample(latents)

            return run

        ways = [Way("as planned", room, with_tokens(2**15)), Way("in thin slices", room * 9 // 10, with_tokens(2**11))]
        return window.replace(self.call("denoising", unet, ways, window.data, window.start))

    def decode(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Alpha latents ``[T, 4, h, w]`` to unclamped alpha ``[T, 1, H, W]``, in overlapping windows, cross-faded."""
        return crossfade(map(self.decode_window, cut(clips, self.settings.decoder_plan)))

    def decode_window(self, window: Clip) -> Clip:
        """Unclamped alpha ``[T, 1, H, W]`` of one window: the decoder, too, works over time."""
        vae = self.model.vae
        frames, pixels = len(window), window.data[0, 0].numel() * vae.factor**2
        rows = max(1, ROWS_AT_ONCE // (frames * window.data.shape[-1] * vae.factor))
        quick = Slicing("as planned", frames=min(self.frames_at_once(pixels), frames), rows=rows)

        def sliced(slicing: Slicing) -> Way:
            room = vae.decode_bytes(pixels, frames, slicing)
            return Way(slicing.name, room, lambda latents: vae.decode_sliced(latents, slicing))

        ways = [sliced(slicing) for slicing in (quick, BY_ROWS, IN_HOST_MEMORY)]
        return window.replace(self.call("decoding", vae, ways, window.data, window.start))

    def refine(self, clips: Iterable[Clip], frames: Iterator[Tensor], fit: Fit) -> Iterator[Clip]:
        """Unclamped alpha ``[T, 1, H, W]`` of the network's size to unclamped alpha of the frames' own.

        Args:
            clips: From `decode`.
            frames: The frames ``[3, H, W]`` these clips belong to, float32 on the CPU; not touched without a `radius`.
            fit: How they were scaled and padded.
        """
        radius = self.radius(fit)
        if not radius:
            yield from (clip.replace(fit.restore(clip.data)) for clip in clips)
            return
        asking: deque[Tensor] = deque()

        def with_frames(clip: Clip) -> Clip:
            originals = list(islice(frames, len(clip)))
            asking.extend(originals)
            small = torch.cat([fit.fit(original[None].clamp(0, 1)) for original in originals])
            return clip.replace(torch.cat([small, clip.data.clamp(0, 1)], dim=1))

        for window, new in around(map(with_frames, clips), self.margin):
            functions = self.alpha_by_colour(window, radius)[new]
            each = functions.data.split(1)  # frame by frame, since these are four channels of the frames' own size
            alpha = [guided.alpha_of(fit.restore(one), asking.popleft()[None]) for one in each]
            yield functions.replace(torch.cat(alpha))

    @property
    def margin(self) -> int:
        """Frames on either side of a frame that refining it looks at: none in windows of one frame."""
        return guided.AROUND if self.settings.plan.length > 1 and self.settings.refine != 0 else 0

    def radius(self, fit: Fit) -> int:
        """How far around a pixel of the network's picture refining looks; 0 for not at all."""
        shrunk = 1.25 * max(fit.scaled) <= max(fit.source)  # nearer to their size refining takes about what it gives
        suited = max(self.model.config.refine, int(shrunk))
        return suited if self.settings.refine is None else self.settings.refine

    def alpha_by_colour(self, window: Clip, radius: int) -> Clip:
        """Of frames and their alpha ``[T, 4, H, W]``, alpha as a function of colour at each pixel ``[T, 4, H, W]``."""
        frames, height, width = len(window), *window.data.shape[-2:]
        processor = torch.device("cpu")
        quickest = self.host.device if self.host.device.type == "cuda" else processor  # other devices lack float64

        def banded(name: str, pixels: int, device: torch.device) -> Way:
            rows = max(1, pixels // (frames * width))

            def run(data: Tensor) -> Tensor:
                bands = []
                for top in range(0, height, rows):
                    self.host.check_cancelled()
                    first = max(top - 2 * radius, 0)
                    band = data[:, :, first : top + rows + 2 * radius].to(device)
                    found = guided.alpha_by_colour(band[:, :3], band[:, 3:], radius, neighbours=self.margin > 0)
                    bands.append(found[:, :, top - first : top - first + rows].cpu())
                return torch.cat(bands, dim=2)

            return Way(name, frames * width * min(rows + 4 * radius, height) * BYTES_REFINING, run)

        ways = [
            banded("as planned", PIXELS_REFINED, quickest),
            banded("in thin bands", PIXELS_REFINED // 16, quickest),
            banded("in thin bands on the processor", PIXELS_REFINED // 16, processor),
        ]
        choice = self.choices.setdefault("refining", Choice("refining", self.host))
        return window.replace(choice.attempt(None, ways, window.start, lambda way: way.run(window.data)))

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

    def noise(self, window: Clip) -> Tensor:
        """The window's noise ``[T, 4, h, w]``: each frame's own, whichever window it is in."""
        shape = tuple(window.data.shape[1:])
        return torch.stack([frame_noise(self.settings.seed, i, shape) for i in range(window.start, window.stop)])

    def call(self, stage: str, network: Network, ways: Sequence[Way], data: Tensor, start: int) -> Tensor:
        """Run a stage on ``data`` in the first of its ways that memory allows. Result in float32 on the CPU."""
        choice = self.choices.setdefault(stage, Choice(stage, self.host))
        with torch.no_grad():
            return choice.attempt(network, ways, start, lambda way: self.compute(network, way, data, start))

    def compute(self, network: Network, way: Way, data: Tensor, start: int) -> Tensor:
        """Run ``way`` on ``data`` in the network's precision; in float32 if that overflows. Result on the CPU.

        The decision is made for every call alone, so a frame's matte does not depend on what came before it.
        """
        self.host.check_cancelled()
        result = way.run(data.to(self.host.device, network.dtype)).float().cpu()
        if result.isfinite().all():
            return result
        name = f"{type(network).__name__} gave values that are not finite at frame {start}"
        if network.dtype != torch.float32:
            log.warning(
                "%s in %s; repeating in float32. If this happens often, load the model in fp32: it will be faster.",
                name,
                str(network.dtype).removeprefix("torch."),
            )
            with self.host.widened(network, 2 * way.room):
                result = way.run(data.to(self.host.device, network.dtype)).float().cpu()
        if not result.isfinite().all():
            raise GVMError(f"{name}, even in float32. The weights or the LoRA are damaged, or do not belong together.")
        return result


def as_clips(frames: Iterable[Tensor], first: int = 0) -> Iterator[Clip]:
    """Give frames their indices, refusing at once what cannot be matted. Yields at least one clip."""
    size = None
    index = first
    for index, frame in enumerate(frames, start=first):
        check_frame(frame, index)
        size = size or frame.shape[-2:]
        if frame.shape[-2:] != size:
            raise InputError(
                f"frame {index} is {frame.shape[2]}x{frame.shape[1]} pixels but the first was {size[1]}x{size[0]}; "
                "all frames of a clip must be of one size"
            )
        yield Clip(frame.detach().float().cpu()[None], index)
    if size is None:
        raise InputError("there are no frames: the clip or batch is empty")


def check_frame(frame: Tensor, index: int) -> None:
    """Raise `InputError` unless ``frame`` is ``[3, H, W]``, floating point and finite."""
    if not isinstance(frame, Tensor):
        raise InputError(f"frame {index} is a {type(frame).__name__}, not a torch tensor [3, H, W]")
    if frame.ndim != 3:
        raise InputError(f"frame {index} has shape {list(frame.shape)}; a frame is [3, H, W], a video [T, 3, H, W]")
    if frame.shape[0] != 3:
        advice = {1: "repeat it to three channels", 4: "drop or composite its alpha channel first"}
        raise InputError(
            f"frame {index} has {frame.shape[0]} channels, the network takes RGB: "
            f"{advice.get(frame.shape[0], 'give it three channels')} (frames are [3, H, W])"
        )
    if min(frame.shape) < 1:
        raise InputError(f"frame {index} has no pixels: its shape is {list(frame.shape)}")
    if not frame.is_floating_point():
        raise InputError(f"frame {index} is {frame.dtype}; frames are floating point in 0..1 (divide bytes by 255)")
    if not frame.isfinite().all():
        raise InputError(f"frame {index} has NaN or infinite pixels; repair the footage or leave the frame out")
