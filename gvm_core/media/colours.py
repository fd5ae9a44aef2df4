"""Which colours the numbers of a file stand for: its colour tags, as files hold them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..post import light

RGB, BT709, UNSPECIFIED, SMPTE170M, SRGB = 0, 1, 2, 6, 13
BT2020, LINEAR, PQ, HLG = 9, 8, 16, 18
"""Numbers of ITU-T H.273: the same in FFmpeg, .mov, .mp4, Matroska and PNG."""
MATRICES = {BT709, 4, 5, SMPTE170M, 7, BT2020}
"""Matrices that pictures are written with, as they are."""
VIDEO_RANGE, FULL_RANGE = 1, 2
"""FFmpeg's numbers of the range of levels."""
ATTRIBUTES = {"primaries": "color_primaries", "transfer": "color_trc", "matrix": "colorspace"}
"""What PyAV calls these tags of a frame or an encoder."""

PRIMARIES = {
    BT709: light.BT709,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, 0.3127, 0.3290),
    SMPTE170M: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, 0.3127, 0.3290),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, 0.3127, 0.3290),
    BT2020: light.BT2020,
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: light.P3,
}
"""x and y of red, green, blue and white (H.273, table 2), as EXR's ``chromaticities`` hold them."""
TRANSFERS = {SRGB: "srgb", LINEAR: "linear", PQ: "pq", HLG: "hlg"}
"""The names of transfer curves, as in `post.light`."""
CLOSE = 0.002
"""How far an x or y may be from those."""
NAMES = {
    "primaries": {BT709: "BT.709", 5: "BT.601 (625)", SMPTE170M: "BT.601 (525)", BT2020: "BT.2020", 12: "P3"},
    "transfer": {BT709: "BT.709", LINEAR: "linear", SRGB: "sRGB", 14: "BT.2020", PQ: "PQ", HLG: "HLG"},
}


@dataclass(frozen=True, slots=True)
class ColourTags:
    """Colour tags, by the numbers of ITU-T H.273.

    Attributes:
        primaries: The colours of red, green, blue and white.
        transfer: The light of the numbers: BT.709, PQ, HLG and so on.
        matrix: How luma and chroma are made of red, green and blue; 0 for RGB itself.

    Example:
        >>> str(ColourTags()), str(ColourTags(9, 16, 9))
        ('BT.709', 'BT.2020 PQ')
    """

    primaries: int = BT709
    transfer: int = BT709
    matrix: int = BT709

    @property
    def is_plain(self) -> bool:
        """Whether these are the colours of every picture that says nothing: BT.709 or sRGB."""
        return self.primaries in (BT709, UNSPECIFIED) and self.transfer in (BT709, UNSPECIFIED, SMPTE170M, SRGB)

    def written(self, *, rgb: bool) -> ColourTags:
        """The tags of a file with these colours, whose pixels are RGB or luma and chroma.

        Where the matrix cannot be written (unspecified, constant luminance, YCgCo), it becomes that of the primaries.

        Example:
            >>> ColourTags(9, 18, 0).written(rgb=False).matrix, ColourTags(2, 2, 2).written(rgb=False).matrix
            (9, 1)
        """
        own = self.matrix if self.matrix in MATRICES else BT2020 if self.primaries == BT2020 else BT709
        return replace(self, matrix=RGB if rgb else own)

    def __str__(self) -> str:
        words = [NAMES[name].get(value := getattr(self, name), f"{name} {value}") for name in NAMES]
        return " ".join(dict.fromkeys(words))


def primaries_of(chromaticities: tuple[float, ...]) -> int:
    """The number of these primaries (as in `PRIMARIES`); "unspecified" if they are others.

    Example:
        >>> primaries_of((0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329))
        9
    """
    for number, known in PRIMARIES.items():
        if all(abs(a - b) < CLOSE for a, b in zip(known, chromaticities, strict=True)):
            return number
    return UNSPECIFIED
