"""The usual error measures for mattes, and measures of seams and flicker.

Every measure takes alpha ``[T, 1, H, W]`` in 0..1, any float type, computes in double precision, and gives one value
per frame, ``[T]``. Scaled as in the published tables: MAD and MSE by 1000, Grad and Conn by 1/1000, dtSSD by 100.

Definitions: Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009 (Grad, Conn), and
Erofeev et al., "Perceptually Motivated Benchmark for Video Matting", BMVC 2015 (dtSSD), in the form that the evaluation
of Robust Video Matting (Lin et al., WACV 2022) uses.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError, optional

GRAD_SIGMA = 1.4
CONN_STEP = 0.1
CONN_TOLERANCE = 0.15


def mad(alpha: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference over all pixels, x 1000.

    Example:
        >>> mad(torch.full((2, 1, 4, 4), 0.25), torch.zeros(2, 1, 4, 4))
        tensor([250., 250.], dtype=torch.float64)
    """
    return 1e3 * (alpha.double() - truth.double()).abs().mean(dim=(1, 2, 3))


def soft_mad(alpha: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference where the truth is soft, 0.05 < alpha < 0.95, x 1000: hair, blur, edges.

    NaN for a frame without such pixels.
    """
    soft = (truth > 0.05) & (truth < 0.95)
    difference = (alpha.double() - truth.double()).abs() * soft
    return 1e3 * difference.sum(dim=(1, 2, 3)) / soft.sum(dim=(1, 2, 3))


def mse(alpha: Tensor, truth: Tensor) -> Tensor:
    """Mean squared difference over all pixels, x 1000."""
    return 1e3 * (alpha.double() - truth.double()).square().mean(dim=(1, 2, 3))


def iou(alpha: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of both mattes, with a threshold of 0.5. 1 is best, and also the value if both are empty.

    Example:
        >>> iou(torch.tensor([[[[1.0, 1.0, 0.0]]]]), torch.tensor([[[[0.9, 0.0, 0.1]]]]))
        tensor([0.5000], dtype=torch.float64)
    """
    found, wanted = alpha > 0.5, truth > 0.5
    both, either = (part.double().sum(dim=(1, 2, 3)) for part in (found & wanted, found | wanted))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def grad(alpha: Tensor, truth: Tensor, *, normalised: bool = False) -> Tensor:
    """Summed squared difference of gradient magnitudes, / 1000.

    Gradients are first-order Gaussian derivatives of sigma 1.4. More pixels give a larger sum: compare at one size.

    Args:
        alpha: ``[T, 1, H, W]``.
        truth: ``[T, 1, H, W]``.
        normalised: Stretch both mattes to 0..1 first, each by its own minimum and maximum. The usual low-resolution
            (512x288) tables do so; the high-resolution (1080p) tables do not.
    """
    values = alpha.double(), truth.double()
    if normalised:
        values = tuple(stretch(value) for value in values)
    difference = gradient_magnitude(values[0]) - gradient_magnitude(values[1])
    return difference.square().sum(dim=(1, 2, 3)) / 1e3


def stretch(alpha: Tensor) -> Tensor:
    """Scale every frame so that its minimum becomes 0 and its maximum 1; a flat frame becomes 0."""
    low, high = alpha.amin(dim=(1, 2, 3), keepdim=True), alpha.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(high > low, (alpha - low) / (high - low).clamp(min=1e-300), 0.0)


def gradient_magnitude(alpha: Tensor) -> Tensor:
    """Length of the Gaussian-derivative gradient of ``[T, 1, H, W]``, borders replicated."""
    half = math.ceil(GRAD_SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * GRAD_SIGMA * 0.01)))
    x = torch.arange(-half, half + 1, dtype=alpha.dtype, device=alpha.device)
    smooth = torch.exp(-x.square() / (2 * GRAD_SIGMA**2)) / (GRAD_SIGMA * math.sqrt(2 * math.pi))
    slope = -x * smooth / GRAD_SIGMA**2
    norm = torch.outer(smooth, slope).norm()  # the kernel is their outer product, so two short filters are enough
    padded = F.pad(alpha, (half,) * 4, mode="replicate")
    across = correlate(correlate(padded, slope / norm, dim=3), smooth, dim=2)
    down = correlate(correlate(padded, smooth, dim=3), slope / norm, dim=2)
    return (across.square() + down.square()).sqrt()


def correlate(values: Tensor, taps: Tensor, dim: int) -> Tensor:
    """Correlate ``values`` with ``taps`` along ``dim``, unpadded. Torch's own takes eight times as long in float64."""
    length = values.shape[dim] - len(taps) + 1
    total = values.narrow(dim, 0, length) * taps[0]
    for index in range(1, len(taps)):
        total.add_(values.narrow(dim, index, length), alpha=float(taps[index]))
    return total


def conn(alpha: Tensor, truth: Tensor) -> Tensor:
    """Connectivity: opacity that is not connected to the largest common region, summed, / 1000.

    For each of ten thresholds, take the largest 4-connected region where both mattes reach it. A pixel's level is the
    last threshold at which it was still inside that region. Needs SciPy.
    """
    pairs = zip(alpha.double().cpu()[:, 0].numpy(), truth.double().cpu()[:, 0].numpy(), strict=True)
    return torch.tensor([frame_conn(*pair) for pair in pairs], dtype=torch.float64)


def frame_conn(alpha: np.ndarray, truth: np.ndarray) -> float:
    """`conn` of one frame ``[H, W]``."""
    label = optional("scipy.ndimage", "scipy").label
    thresholds = CONN_STEP * np.arange(11)
    common = np.minimum(alpha, truth)  # both reach a threshold where the lower one does
    level = np.ones_like(common)
    belongs = np.ones(common.shape, bool)
    for below, threshold in pairwise(thresholds):
        regions, count = label(common >= threshold)
        sizes = np.bincount(regions.ravel(), minlength=2)
        largest = regions == 1 + sizes[1:].argmax() if count else np.zeros_like(belongs)
        level[belongs & ~largest] = below
        belongs &= largest
    phi = [1 - apart * (apart >= CONN_TOLERANCE) for apart in (alpha - level, truth - level)]
    return float(np.abs(phi[0] - phi[1]).sum() / 1e3)


def dtssd(alpha: Tensor, truth: Tensor) -> Tensor:
    """Root mean square difference between the two mattes' changes from the frame before, x 100.

    The first frame has no frame before it. It counts as 0 and is part of the mean, as in the published tables (the
    scripts of Robust Video Matting). To leave it out of a clip's mean, multiply the mean by ``T / (T - 1)``.
    """
    change = (alpha.double() - truth.double()).diff(dim=0).square().mean(dim=(1, 2, 3)).sqrt()
    return 1e2 * torch.cat([change.new_zeros(1), change])[: len(alpha)]


def seam_score(change: Tensor, joins: Tensor) -> float:
    """Mean change at window joins, divided by the mean change elsewhere. 1 means that no seam shows.

    Args:
        change: ``[T - 1]``: the change from each frame to the next, such as the mean absolute change of the error.
        joins: ``[T - 1]`` bool: which of these steps cross a window's edge (`WindowPlan.joins`).

    Returns:
        The ratio; NaN if there is no join, no other step, or no change at all.

    Example:
        >>> seam_score(torch.tensor([1.0, 3.0, 1.0]), torch.tensor([False, True, False]))
        3.0
    """
    return float(change[joins].mean() / change[~joins].mean())


def flicker(alpha: Tensor, images: Tensor) -> Tensor:
    """Mean change of alpha that motion does not explain, x 1000; 0 for the first frame. Needs no truth.

    Dense optical flow between the frames moves each matte to the next frame. Pixels where the moved picture does not
    match (uncovered background, changed light) do not count. Needs scikit-image.

    Args:
        alpha: ``[T, 1, H, W]`` in 0..1.
        images: The frames, ``[T, 3, H, W]``, sRGB 0..1.
    """
    values = [0.0]
    for before, now in pairwise(range(len(alpha))):
        moved, steady = carried(images[before], images[now], alpha[before])
        change = (moved - alpha[now].float().cpu()).abs()
        values.append(1e3 * float((change * steady).sum() / steady.sum().clamp(min=1)))
    return torch.tensor(values[: len(alpha)], dtype=torch.float64)


def carried(before: Tensor, now: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Move a matte by the motion of the picture, and say where the result can be trusted.

    Uses dense optical flow (Le Besnerais and Champagnat's iterative Lucas-Kanade). Needs scikit-image.

    Args:
        before: The earlier frame ``[3, H, W]``, sRGB 0..1.
        now: The later frame.
        alpha: The matte of the earlier frame, ``[1, H, W]``, 0..1.

    Returns:
        The expected matte of the later frame, ``[1, H, W]``, and a mask of the same shape. The mask is False where the
        moved picture does not match the later frame: uncovered background, changed light.
    """
    optical_flow_ilk = optional("skimage.registration", "scikit-image").optical_flow_ilk
    grey = [frame.float().mean(dim=0, keepdim=True).cpu() for frame in (before, now)]
    flow = torch.from_numpy(np.asarray(optical_flow_ilk(grey[1][0].numpy(), grey[0][0].numpy(), radius=5)))
    layers = warp(torch.cat([alpha.float().cpu(), grey[0]]), flow.float())
    return layers[:1], (layers[1:] - grey[1]).abs() < 0.05


def warp(layers: Tensor, flow: Tensor) -> Tensor:
    """Read ``layers`` ``[C, H, W]`` at each pixel's position plus ``flow`` ``[2, H, W]`` (rows, columns), in pixels."""
    height, width = layers.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y = (rows + flow[0]) * 2 / max(height - 1, 1) - 1
    x = (columns + flow[1]) * 2 / max(width - 1, 1) - 1
    grid = torch.stack([x, y], dim=-1)[None].to(layers.dtype)
    return F.grid_sample(layers[None], grid, padding_mode="border", align_corners=True)[0]


@dataclass(frozen=True)
class MatteScore:
    """The measures of one clip, each the mean over its frames. Lower is better; `iou` and `seam` are best at 1.

    Attributes:
        mad: See `mad`.
        mse: See `mse`.
        grad: See `grad`, not normalised.
        grad_normalised: See `grad`, normalised.
        conn: See `conn`.
        dtssd: See `dtssd`.
        soft_mad: See `soft_mad`; the mean over frames with soft pixels.
        iou: See `iou`.
        seam: The `seam_score` of the change of the error; NaN for a clip of one window.
    """

    mad: float
    mse: float
    grad: float
    grad_normalised: float
    conn: float
    dtssd: float
    soft_mad: float
    iou: float
    seam: float = math.nan

    def as_dict(self) -> dict[str, float]:
        """The measures by name."""
        return asdict(self)


class MatteScorer:
    """Scores a matte against the truth clip by clip. It keeps one frame of each.

    Example:
        >>> scorer = MatteScorer()
        >>> for _ in range(2):
        ...     scorer.add(torch.full((2, 1, 8, 8), 0.5), torch.zeros(2, 1, 8, 8))
        >>> score = scorer.score()
        >>> score.mad, score.mse, score.dtssd
        (500.0, 250.0, 0.0)
    """

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}
        self.change: list[Tensor] = []
        self.last: tuple[Tensor, Tensor] | None = None

    def add(self, alpha: Tensor, truth: Tensor) -> None:
        """Add the next frames of both, ``[T, 1, H, W]`` in 0..1, at least one.

        Raises:
            InputError: If their shapes differ.
        """
        if alpha.shape != truth.shape or not len(alpha):
            raise InputError(f"a matte {list(alpha.shape)} cannot be scored against a truth {list(truth.shape)}")
        alpha, truth = alpha.detach().cpu(), truth.detach().cpu()
        new = {
            "mad": mad(alpha, truth),
            "mse": mse(alpha, truth),
            "grad": grad(alpha, truth),
            "grad_normalised": grad(alpha, truth, normalised=True),
            "conn": conn(alpha, truth),
            "soft_mad": soft_mad(alpha, truth),
            "iou": iou(alpha, truth),
        }
        if self.last is not None:
            alpha, truth = (torch.cat(pair) for pair in zip(self.last, (alpha, truth), strict=True))
        new["dtssd"] = dtssd(alpha, truth)[self.last is not None :]
        for name, value in new.items():
            self.values.setdefault(name, []).append(value)
        self.change.append((alpha - truth).diff(dim=0).abs().mean(dim=(1, 2, 3)).double())
        self.last = alpha[-1:], truth[-1:]

    def per_frame(self) -> dict[str, list[float]]:
        """Every measure for every frame so far."""
        return {name: torch.cat(values).tolist() for name, values in self.values.items()}

    def score(self, joins: Tensor | None = None) -> MatteScore:
        """The mean over the frames so far.

        Args:
            joins: Which steps cross a window's edge, for the seam score: ``[T - 1]`` bool, from `WindowPlan.joins`.

        Raises:
            InputError: If no frame was added.
        """
        if not self.values:
            raise InputError("there is nothing to score: no frame was added")
        means = {name: float(torch.cat(values).nanmean()) for name, values in self.values.items()}
        seam = math.nan if joins is None else seam_score(torch.cat(self.change), joins)
        return MatteScore(**means, seam=seam)
