"""Panoramas of 360 degrees, seen through a camera that can turn anywhere."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import MediaError
from ..media.sequence import read_picture
from ..post.color import linear_to_srgb, srgb_to_linear

BRIGHTEST = 24.0
"""The largest light that is kept; middle grey is 0.18. Lamps and the sun stay white in any exposure."""


class Panorama:
    """Light from every direction, equirectangular.

    Args:
        light: ``[3, h, 2h]``, linear light; its geometric mean is brought to 0.18, a photographer's grey.
    """

    def __init__(self, light: Tensor) -> None:
        grey = light.mean(dim=0).clamp(min=1e-4).log().mean().exp()
        light = (light * (0.18 / grey)).clamp(0, BRIGHTEST)
        self.levels = [light, F.avg_pool2d(light, 2), F.avg_pool2d(light, 4)]

    def view(self, directions: Tensor, exposure: float = 1.0) -> Tensor:
        """The panorama seen along ``directions``.

        Args:
            directions: ``[T, H, W, 3]`` of any length: right, down, forward.
            exposure: Factor on the light.

        Returns:
            ``[T, 3, H, W]``, sRGB 0..1.
        """
        right, down, forward = directions.unbind(-1)
        across = torch.atan2(right, forward) / math.pi  # -1..1 all around
        high = torch.atan2(down, torch.hypot(right, forward)) / (math.pi / 2)
        middle = directions.shape[2] // 2
        step = (across[:, :, middle] - across[:, :, middle - 1]).abs()
        pixels = float(step.minimum(2 - step).median()) * self.levels[0].shape[-1] / 2  # of the panorama in one here
        level = min(max(round(math.log2(max(pixels, 1e-3))), 0), len(self.levels) - 1)
        light = F.pad(self.levels[level][None], (1, 1, 0, 0), mode="circular").expand(len(directions), -1, -1, -1)
        width = light.shape[-1] - 2
        grid = torch.stack([across * width / (width + 2), high], dim=-1)
        seen = F.grid_sample(light, grid, padding_mode="border", align_corners=False)
        return film(seen * exposure)


def film(light: Tensor) -> Tensor:
    """Linear light as a picture, sRGB 0..1: unchanged where dark, compressed towards white, which it reaches at 8.

    The extended curve of Reinhard et al., Photographic Tone Reproduction for Digital Images (2002).
    """
    return linear_to_srgb((light * (1 + light / 64) / (1 + light)).clamp(0, 1))


def camera_directions(yaw: Tensor, pitch: Tensor, roll: Tensor, field: Tensor, size: int) -> Tensor:
    """The direction of each pixel of square frames: ``[T, size, size, 3]``, right, down, forward.

    Args:
        yaw: ``[T]``, radians to the right.
        pitch: ``[T]``, radians up.
        roll: ``[T]``, radians.
        field: ``[T]``, the angle that the frame's edge spans.
        size: Pixels.
    """
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    down, right = torch.meshgrid(at, at, indexing="ij")
    reach = (field / 2).tan()[:, None, None]
    x, y, z = reach * right, reach * down, torch.ones(len(field), size, size)
    turned = [angle[:, None, None] for angle in (roll, pitch, yaw)]
    (cr, cp, cy), (sr, sp, sy) = [angle.cos() for angle in turned], [angle.sin() for angle in turned]
    x, y = cr * x - sr * y, sr * x + cr * y
    y, z = cp * y - sp * z, sp * y + cp * z
    x, z = cy * x + sy * z, cy * z - sy * x
    return torch.stack([x, y, z], dim=-1)


def read_panorama(path: Path, height: int = 512) -> Panorama:
    """A panorama from a Radiance ``.hdr`` file or a picture twice as wide as high."""
    light = (
        torch.from_numpy(read_hdr(path)) if path.suffix.lower() == ".hdr" else srgb_to_linear(read_picture(path)[:3])
    )
    if light.shape[-1] != 2 * light.shape[-2]:
        raise MediaError(f"{path} is no panorama: it should be twice as wide as high, and is {list(light.shape[-2:])}")
    if light.shape[-2] > height:
        light = F.interpolate(light[None], (height, 2 * height), mode="area")[0]
    return Panorama(light)


def read_hdr(path: Path) -> np.ndarray:
    """The light in a Radiance picture file, ``[3, H, W]`` float32 (Ward, Real Pixels, Graphics Gems II, 1991)."""
    header, _, rest = path.read_bytes().partition(b"\n\n")
    size, _, body = rest.partition(b"\n")
    try:
        if not header.startswith(b"#?") or b"32-bit_rle_rgbe" not in header:
            raise ValueError("it does not begin as one")
        down, height, across, width = size.split()
        if (down, across) != (b"-Y", b"+X"):
            raise ValueError("its rows do not run from the top left")
        pixels = decode_rows(body, int(height), int(width))
    except (ValueError, IndexError) as error:
        raise MediaError(f"{path} is no Radiance picture that can be read: {error}") from error
    scale = np.ldexp(np.float32(1), pixels[:, 3].astype(np.int32) - 136) * (pixels[:, 3] > 0)
    return (pixels[:, :3] * scale[:, None]).astype(np.float32).transpose(1, 0, 2)


def decode_rows(body: bytes, height: int, width: int) -> np.ndarray:
    """The run-length encoded rows of such a file: red, green, blue and exponent, ``[H, 4, W]`` bytes."""
    rows = np.empty((height, 4, width), np.uint8)
    at = 0
    for row in rows:
        if body[at : at + 2] != b"\x02\x02":
            raise ValueError("its rows are not encoded by runs")
        at += 4
        for channel in row:
            filled = 0
            while filled < width:
                count = body[at]
                if count > 128:
                    channel[filled : filled + count - 128] = body[at + 1]
                    filled, at = filled + count - 128, at + 2
                else:
                    channel[filled : filled + count] = np.frombuffer(body, np.uint8, count, at + 1)
                    filled, at = filled + count, at + 1 + count
    return rows
