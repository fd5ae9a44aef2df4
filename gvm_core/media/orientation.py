"""How a stored picture must be turned or mirrored to be upright: display matrices of videos, EXIF tags of pictures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    import av

log = logging.getLogger(__name__)

Matrix = tuple[int, int, int, int]
"""``a, b, c, d``: the stored pixel ``(x, y)`` is shown at ``(a * x + c * y, b * x + d * y)``, up to a shift."""

UPRIGHT: Matrix = (1, 0, 0, 1)
TURNS: tuple[Matrix, ...] = (UPRIGHT, (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))
"""By quarter turns to the left."""
EXIF: tuple[Matrix, ...] = (
    *(UPRIGHT, (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1)),
    *((0, 1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0), (0, -1, 1, 0)),
)
"""By EXIF's orientation, from 1 on."""
ORIENTATION = 0x112
WITH_EXIF = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}


def upright(picture: Tensor, frame: av.VideoFrame, path: Path) -> Tensor:
    """Turn and mirror ``picture`` ``[C, H, W]`` of the decoded ``frame`` of the file ``path`` as its tags say."""
    a, b, c, d = display_matrix(frame, path)
    turned = is_turned((a, b, c, d))
    picture = picture.transpose(1, 2) if turned else picture
    across, down = (c, b) if turned else (a, d)
    mirrored = [axis for axis, sign in ((2, across), (1, down)) if sign < 0]
    return picture.flip(mirrored).contiguous() if mirrored else picture.contiguous()


def is_turned(matrix: Matrix) -> bool:
    """Whether rows become columns."""
    return abs(matrix[1]) > abs(matrix[0])


def upright_size(frame: av.VideoFrame, path: Path) -> tuple[int, int]:
    """Height and width of the decoded ``frame`` of the file ``path`` when it is upright."""
    turned = is_turned(display_matrix(frame, path))
    return (frame.width, frame.height) if turned else (frame.height, frame.width)


def display_matrix(frame: av.VideoFrame, path: Path) -> Matrix:
    """The matrix of a frame's tags.

    FFmpeg reads EXIF of some formats only, and PyAV 18 cannot hand on what FFmpeg 8 reads, so Pillow reads it if it is
    installed.
    """
    picture = path.suffix.lower() in WITH_EXIF
    if picture and (tag := exif_orientation(path)) is not None:
        return EXIF[tag - 1] if 1 <= tag <= len(EXIF) else UPRIGHT
    try:
        found = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # a kind of side data that this PyAV does not know
        found = None
        if picture:
            log.warning("%s: to read a mirrored orientation this needs Pillow: pip install pillow", path)
    if found is None:
        return TURNS[round(getattr(frame, "rotation", 0) / 90) % 4]
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(bytes(found), "<i4"))
    return a, b, c, d


def exif_orientation(path: Path) -> int | None:
    """EXIF's orientation of a picture, 1 to 8; 1 if it has none, None if Pillow is missing or cannot read the file."""
    try:
        from PIL import Image
    except ImportError:
        return None
    try:
        with Image.open(path) as picture:
            return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001  Pillow's errors have no base class of their own, and FFmpeg reads the picture
        return None
