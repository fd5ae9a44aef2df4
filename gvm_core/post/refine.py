"""Finish a matte as a compositor does: align its edges, steady, clean and despeckle it, move its edges, soften them.

`refine` puts the operations in order. Each is a function of its own: `refine_edges` here, and those of `chatter`,
`levels`, `despeckle` and `expand`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from . import guided as colours
from .chatter import chatter, check_chatter
from .despeckle import check_despeckle, despeckle
from .expand import FARTHEST_EXPAND, FARTHEST_FEATHER, SNAP, busy, check_range, expand, feather
from .levels import check_levels, levels, near_edges

FARTHEST_GUIDED = 64
"""The largest `RefineSettings.guided`, in pixels."""
FIT = 2.5
"""Radius of a fit, in pixels of the reduced picture that it is made on."""
PIXELS_AT_ONCE = 2**16
"""Rows of the reduced picture are fitted at once up to about this many pixels, which need 640 bytes each: 40 MB."""


@dataclass(frozen=True, kw_only=True)
class RefineSettings:
    """How `refine` finishes a matte. With the defaults, nothing changes, to the bit.

    Lengths are pixels of the matte, and may be parts of a pixel except where they are whole numbers here.

    Attributes:
        guided: Align edges with those in the plate that are about this far off, 0 to 64; see `refine_edges`.
        chatter: Steady soft edges over this many frames before and after, 0 to 4; see `chatter.chatter`.
        clean_black: Alpha at or below this becomes 0, 0 to 0.5; see `levels.levels`, also for the next three.
        clean_white: Alpha at or above 1 minus this becomes 1, 0 to 0.5.
        rollback: Near edges, give back the detail that cleaning cost, 0 to 64.
        gamma: Above 1 makes soft edges thicker, below 1 thinner.
        despeckle: Remove islands of fewer pixels than this, 0 to 100,000; see `despeckle.despeckle`.
        fill_holes: Fill holes of fewer pixels than this, 0 to 100,000. A gap between arm and body is a hole too.
        expand: Move edges outwards by this, or inwards if below 0, -128 to 128; see `expand.expand`.
        feather: Soften edges by this much to each side, 0 to 64; see `expand.feather`.
        mix: 1 gives the refined matte, 0 the given one, and values between mix both.

    Raises:
        InputError: If a value is out of range.

    Example:
        >>> RefineSettings().identity, RefineSettings(chatter=2, expand=-0.5).margin
        (True, 2)
    """

    guided: int = 0
    chatter: int = 0
    clean_black: float = 0.0
    clean_white: float = 0.0
    rollback: float = 0.0
    gamma: float = 1.0
    despeckle: int = 0
    fill_holes: int = 0
    expand: float = 0.0
    feather: float = 0.0
    mix: float = 1.0

    @property
    def identity(self) -> bool:
        """Whether these settings change nothing."""
        cleans = self.clean_black or self.clean_white or self.gamma != 1
        speckles = self.despeckle > 1 or self.fill_holes > 1
        return not self.mix or not (self.guided or self.chatter or cleans or speckles or self.expand or self.feather)

    @property
    def needs_frames(self) -> bool:
        """Whether the plate is needed."""
        return not self.identity and bool(self.guided or self.chatter)

    @property
    def margin(self) -> int:
        """Number of frames before and after a frame that its result depends on."""
        return 0 if self.identity else self.chatter

    def __post_init__(self) -> None:
        if not (isinstance(self.guided, int) and 0 <= self.guided <= FARTHEST_GUIDED):
            raise InputError(f"guided must be 0 to {FARTHEST_GUIDED} whole pixels, got {self.guided!r}")
        check_chatter(self.chatter)
        check_levels(self.clean_black, self.clean_white, self.gamma, self.rollback)
        check_despeckle(self.despeckle, self.fill_holes)
        check_range("expand", self.expand, -FARTHEST_EXPAND, FARTHEST_EXPAND, "pixels")
        check_range("feather", self.feather, 0, FARTHEST_FEATHER, "pixels")
        check_range("mix", self.mix, 0, 1)


def refine(alpha: Tensor, frames: Tensor | None, settings: RefineSettings) -> Tensor:
    """Refine a matte: guided, chatter, levels with rollback, despeckle, expand, feather, mix, in this order.

    The order is that of compositing. Edges are aligned first, as the fit needs the matte as it was made. Flicker is
    removed next, while soft values still are what they were; cleaning would cut it at 0 and 1 and make it look like
    motion. Despeckling needs a clean black and white. After it, nothing grows that is to vanish. Then edges move, and
    what is soft in the end is soft by as much as was asked for.

    Args:
        alpha: ``[T, 1, H, W]``, any floating type. If anything changes, values outside 0..1 are clamped first.
        frames: ``[T, 3, H, W]``, the plates of the same size, sRGB; any range. Only chatter and guided need them.
        settings: What to do.

    Returns:
        ``[T, 1, H, W]``, float32, 0..1. If nothing changes, ``alpha`` itself, whatever its type and values. A frame's
        result depends on `RefineSettings.margin` frames before and after it and on no others.

    Raises:
        InputError: If the frames are missing or do not fit the matte.

    Example:
        >>> matte = torch.tensor([0, 0.02, 0.5, 1, 1]).view(1, 1, 1, 5)
        >>> [f"{value:.2f}" for value in refine(matte, None, RefineSettings(clean_black=0.04)).flatten().tolist()]
        ['0.00', '0.00', '0.48', '1.00', '1.00']
    """
    if settings.identity:
        return alpha
    if alpha.ndim != 4 or alpha.shape[1] != 1 or not alpha.is_floating_point():
        raise InputError(f"a matte must be [T, 1, H, W], in floating point, got {list(alpha.shape)} of {alpha.dtype}")
    found = alpha.float().clamp(0, 1)
    if settings.needs_frames:
        plates = plates_of(alpha, frames).float()
        found = refine_edges(found, plates, settings.guided)
        found = chatter(found, plates, settings.chatter)
    for index in range(len(found)):  # one at a time, for memory
        found[index : index + 1] = finished(found[index : index + 1], settings)
    return found if settings.mix == 1 else torch.lerp(alpha.float().clamp(0, 1), found, settings.mix)


def plates_of(alpha: Tensor, frames: Tensor | None) -> Tensor:
    """The frames, if they fit the matte.

    Raises:
        InputError: Otherwise.
    """
    if frames is None:
        raise InputError("chatter and guided need the frames that the matte was made from; give them, or set both to 0")
    wanted = [len(alpha), 3, *alpha.shape[2:]]
    if list(frames.shape) != wanted:
        raise InputError(
            f"chatter and guided need one frame for every matte, of the same size: {wanted}, got {list(frames.shape)}"
        )
    return frames


def finished(matte: Tensor, settings: RefineSettings) -> Tensor:
    """The operations that need one frame ``[1, 1, H, W]`` alone."""
    cleaning = {name: getattr(settings, name) for name in ("clean_black", "clean_white", "gamma", "rollback")}
    matte = despeckle(levels(matte, **cleaning), settings.despeckle, settings.fill_holes)
    return feather(expand(matte, settings.expand), settings.feather)


def refine_edges(alpha: Tensor, frames: Tensor, radius: int) -> Tensor:
    """Align a matte's edges with the edges in its frames: the fast guided filter, frame by frame.

    `guided.alpha_by_colour` fits alpha as a linear function of colour around every pixel, on pictures reduced so far
    that the radius is about `FIT` there (He and Sun, Fast guided filter, 2015). The functions are applied at full size.
    So a large radius costs less than a small one.

    Args:
        alpha: ``[T, 1, H, W]``, 0..1.
        frames: ``[T, 3, H, W]``, sRGB; values outside 0..1 are clamped.
        radius: About how far an edge may be off, in pixels. 0 returns ``alpha``. With far more than that, the texture
            of the plate shows in the matte.

    Returns:
        ``[T, 1, H, W]``, 0..1. Up to ``radius`` from the matte's edges it is what colours say, farther out more and more
        of ``alpha``, and from about twice the radius on nothing else.

    Example:
        >>> frames = torch.zeros(1, 3, 1, 8)
        >>> frames[..., 4:] = 1  # a sharp edge; the matte below has a soft one
        >>> sharper = refine_edges(torch.linspace(0, 1, 8).expand(1, 1, 1, 8), frames, 3)
        >>> [f"{value:.2f}" for value in sharper[0, 0, 0, 3:5].tolist()]
        ['0.18', '0.82']
    """
    if radius == 0:
        return alpha
    factor = max(round(radius / FIT), 1)
    result = alpha.clone()
    for matte, frame in zip(result[:, 0], frames, strict=True):
        part = busy(matte, 3 * radius + 2 * factor)
        if part is not None:
            rows, columns = (slice(span.start - span.start % factor, span.stop) for span in part)
            plate = frame[:, rows, columns].clamp(0, 1)
            here = matte[rows, columns]
            aligned = by_colour(here, plate, max(round(radius / factor), 1), factor)
            here.lerp_(aligned, near_edges(here, 2 * radius))
    return result


def by_colour(matte: Tensor, frame: Tensor, radius: int, factor: int) -> Tensor:
    """Alpha ``[H, W]`` by the colours of ``frame`` ``[3, H, W]``, fitted on pictures that are smaller by ``factor``."""
    height, width = matte.shape
    small = reduced(torch.cat([frame, matte[None]]), factor)[None]
    small = small if small.is_cuda else small.cpu()  # few other devices have float64
    result = torch.empty_like(matte)
    rows, reach = max(PIXELS_AT_ONCE // small.shape[3], 1), 2 * radius + 1  # one more to interpolate
    for top in range(0, small.shape[2], rows):
        first, stop = max(top - reach, 0), min(top + rows, small.shape[2])
        band = small[:, :, first : stop + reach]
        functions = colours.alpha_by_colour(band[:, :3], band[:, 3:], radius, neighbours=False)
        above = min(top, 1)
        functions = functions[:, :, top - above - first : stop + 1 - first].to(matte.device)
        if factor > 1:
            functions = F.interpolate(functions, scale_factor=factor, mode="bilinear", align_corners=False)
        here = slice(top * factor, min(stop * factor, height))
        functions = functions[:, :, above * factor : above * factor + here.stop - here.start, :width]
        result[here] = colours.alpha_of(functions, frame[None, :, here])[0, 0]
    return result.mul_(1 + 2 * SNAP).sub_(SNAP).clamp_(0, 1)


def reduced(picture: Tensor, factor: int) -> Tensor:
    """Means over squares of ``factor`` pixels of ``[C, H, W]``; the border is repeated where they are not full."""
    right, below = (-edge % factor for edge in reversed(picture.shape[-2:]))
    if right or below:
        picture = F.pad(picture[None], (0, right, 0, below), mode="replicate")[0]
    return F.avg_pool2d(picture, factor) if factor > 1 else picture
