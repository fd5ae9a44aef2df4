"""What the numbers of a picture mean: its light (a transfer curve) and its primaries. Converts them for a screen.

Curves decode a signal in 0..1 to linear light, in which 1 is diffuse white, or a white surface in the scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .color import linear_to_srgb, srgb_to_linear

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""CIE x and y of red, green, blue and white."""
D65 = (0.3127, 0.3290)
BT709: Chromaticities = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *D65)
BT2020: Chromaticities = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65)
P3: Chromaticities = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65)
AP1: Chromaticities = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
SGAMUT3: Chromaticities = (0.730, 0.280, 0.140, 0.855, 0.100, -0.050, *D65)
SGAMUT3_CINE: Chromaticities = (0.766, 0.275, 0.225, 0.800, 0.089, -0.087, *D65)
ARRI3: Chromaticities = (0.6840, 0.3130, 0.2210, 0.8480, 0.0861, -0.1020, *D65)
ARRI4: Chromaticities = (0.7347, 0.2653, 0.1424, 0.8576, 0.0991, -0.0308, *D65)
VGAMUT: Chromaticities = (0.730, 0.280, 0.165, 0.840, 0.100, -0.030, *D65)
CINEMA_GAMUT: Chromaticities = (0.740, 0.270, 0.170, 1.140, 0.080, -0.100, *D65)
REDWIDE: Chromaticities = (0.780308, 0.304253, 0.121595, 1.493994, 0.095612, -0.084589, *D65)

WHITE = 203.0
"""Nits of diffuse white in HDR (ITU-R BT.2408)."""
PEAK = 1000.0
"""Nits of the display that HLG is made for (ITU-R BT.2100)."""
KNEE = 0.8
"""Light up to this share of white is not changed by tone mapping."""
FLAT, GREY = (0.07, 0.8), 0.12
"""Between which values almost all of log footage is, and how far its channels are apart on average, at most."""
LUMA = (0.2627, 0.6780, 0.0593)


@dataclass(frozen=True, slots=True)
class Light:
    """The light of a picture.

    Attributes:
        transfer: Name of the curve, one of `CURVES`.
        primaries: The colours that red, green and blue stand for.

    Example:
        >>> grey = torch.full((3, 1, 1), 0.18)
        >>> round(LIGHTS["linear"].to_srgb(grey)[0].item(), 3), LIGHTS["srgb"].to_srgb(grey) is grey
        (0.461, True)
    """

    transfer: str = "srgb"
    primaries: Chromaticities = BT709

    @classmethod
    def tagged(cls, transfer: int, primaries: int) -> Light:
        """The light that a file says with its numbers of ITU-T H.273, tables 3 and 2. Anything else counts as sRGB."""
        return cls(TRANSFERS.get(transfer, "srgb"), PRIMARIES.get(primaries, BT709))

    @property
    def is_display(self) -> bool:
        """Whether the numbers are those of an ordinary screen, 0..1, with no light beyond white."""
        return self.transfer == "srgb"

    def to_linear(self, picture: Tensor) -> Tensor:
        """``[3, H, W]``, or ``[4, H, W]`` with alpha, which is kept, in linear light of the same primaries, unclamped."""
        if self.transfer == "linear":
            return picture
        return torch.cat([CURVES[self.transfer](picture[:3]), picture[3:]])

    def to_srgb(self, picture: Tensor) -> Tensor:
        """A picture as a screen shows it, sRGB 0..1: light beyond white is tone-mapped, wide colours are converted.

        Args:
            picture: ``[3, H, W]``, or ``[4, H, W]`` with alpha, which is kept.

        Returns:
            The picture. If it has the light of a screen already, it is returned as it is.
        """
        if self.is_display and self.primaries == BT709:
            return picture
        light = self.to_linear(picture[:3])
        if self.primaries != BT709:
            light = torch.einsum("ij,jhw->ihw", conversion(self.primaries, BT709).to(light), light)
        light = light.clamp(min=0)
        shown = linear_to_srgb(light if self.is_display else tone_mapped(light))
        return torch.cat([shown.clamp(0, 1), picture[3:]])


def conversion(primaries: Chromaticities, wanted: Chromaticities) -> Tensor:
    """The matrix ``[3, 3]`` from linear light of ``primaries`` to ``wanted``, white to white (Bradford's adaptation)."""
    bradford = torch.tensor(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]], dtype=torch.float64
    )
    here, there = (bradford @ xyz_of(each) for each in (primaries, wanted))
    adapted = torch.diag(there.sum(dim=1) / here.sum(dim=1))
    return (torch.linalg.inv(there) @ adapted @ here).float()


def xyz_of(primaries: Chromaticities) -> Tensor:
    """The matrix ``[3, 3]`` from linear light to CIE XYZ (SMPTE RP 177)."""
    pairs = torch.tensor(primaries, dtype=torch.float64).view(4, 2)
    columns = torch.stack([pairs[:, 0] / pairs[:, 1], torch.ones(4).double(), (1 - pairs.sum(dim=1)) / pairs[:, 1]])
    return columns[:, :3] * torch.linalg.solve(columns[:, :3], columns[:, 3])


def pq(signal: Tensor) -> Tensor:
    """SMPTE ST 2084: 0..1 to 0..10,000 nits, as shares of `WHITE`."""
    root = signal.clamp(0, 1) ** (32 / 2523)
    nits = 10_000 * ((root - 3424 / 4096).clamp(min=0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610)
    return nits / WHITE


def hlg(signal: Tensor) -> Tensor:
    """ARIB STD-B67 ``[3, H, W]`` on a display of `PEAK` nits with its gamma of 1.2 (ITU-R BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    signal = signal.clamp(0, 1)
    scene = torch.where(signal <= 0.5, signal.square() / 3, (torch.exp((signal - c) / a) + b) / 12)
    luminance = torch.einsum("j,jhw->hw", scene.new_tensor(LUMA), scene).clamp(min=1e-6)
    return PEAK / WHITE * luminance**0.2 * scene


def slog3(signal: Tensor) -> Tensor:
    """Sony S-Log3 (technical summary, 2014)."""
    code = 1023 * signal
    return torch.where(
        code >= 171.2102946929, 10 ** ((code - 420) / 261.5) * 0.19 - 0.01, (code - 95) * (0.01125 / 76.2102946929)
    )


def logc3(signal: Tensor) -> Tensor:
    """ARRI LogC3 at exposure index 800 (Log C Curve: Usage in VFX, 2012)."""
    return torch.where(
        signal > 0.149659,
        (10 ** ((signal - 0.385537) / 0.247190) - 0.052272) / 5.555556,
        (signal - 0.092809) / 5.367655,
    )


def logc4(signal: Tensor) -> Tensor:
    """ARRI LogC4 (specification, 2022)."""
    a, b, c = (2**18 - 16) / 117.45, 928 / 1023, 95 / 1023
    slope, offset = 7 * math.log(2) * 2 ** (7 - 14 * c / b) / (a * b), (2 ** (6 - 14 * c / b) - 64) / a
    return torch.where(signal >= 0, (2 ** (14 * (signal - c) / b + 6) - 64) / a, signal * slope + offset)


def vlog(signal: Tensor) -> Tensor:
    """Panasonic V-Log (reference manual, 2014)."""
    return torch.where(signal < 0.181, (signal - 0.125) / 5.6, 10 ** ((signal - 0.598206) / 0.241514) - 0.00873)


def clog3(signal: Tensor) -> Tensor:
    """Canon Log 3 in shares of the video range (white paper, 2018); its 0.9 is a white surface."""
    low = -(10 ** ((0.069886632 - signal) / 0.42889912) - 1) / 14.98325
    high = (10 ** ((signal - 0.069886632) / 0.42889912) - 1) / 14.98325
    middle = (signal - 0.073059361) / 2.3069815
    return 0.9 * torch.where(signal < 0.04076162, low, torch.where(signal <= 0.105357102, middle, high))


def log3g10(signal: Tensor) -> Tensor:
    """RED Log3G10 (white paper, 2017)."""
    return torch.where(signal >= 0, (10 ** (signal / 0.224282) - 1) / 155.975327, signal / 15.1927) - 0.01


def acescct(signal: Tensor) -> Tensor:
    """ACEScct (Academy S-2016-001)."""
    return torch.where(
        signal > 0.155251141552511, 2 ** (17.52 * signal - 9.72), (signal - 0.0729055341958355) / 10.5402377416545
    )


def linear(signal: Tensor) -> Tensor:
    """Linear light as it is."""
    return signal


CURVES: dict[str, Callable[[Tensor], Tensor]] = {
    "srgb": srgb_to_linear, "linear": linear, "pq": pq, "hlg": hlg, "slog3": slog3, "logc3": logc3, "logc4": logc4,
    "vlog": vlog, "clog3": clog3, "log3g10": log3g10, "acescct": acescct,
}  # fmt: skip
"""Each decodes a signal ``[3, H, W]`` to linear light ``[3, H, W]``, unclamped."""
TRANSFERS = {8: "linear", 16: "pq", 18: "hlg"}
PRIMARIES = {9: BT2020, 12: P3}

LIGHTS = {
    "srgb": Light(), "linear": Light("linear"), "acescg": Light("linear", AP1), "acescct": Light("acescct", AP1),
    "pq": Light("pq", BT2020), "hlg": Light("hlg", BT2020), "slog3": Light("slog3", SGAMUT3),
    "slog3-cine": Light("slog3", SGAMUT3_CINE), "logc3": Light("logc3", ARRI3), "logc4": Light("logc4", ARRI4),
    "vlog": Light("vlog", VGAMUT), "clog3": Light("clog3", CINEMA_GAMUT), "log3g10": Light("log3g10", REDWIDE),
}  # fmt: skip
"""The lights that a user can name, for files that do not say it."""


def tone_mapped(light: Tensor) -> Tensor:
    """Linear light ``[3, H, W]`` with 1 for white, bent below 1 by its strongest channel, so that hues stay.

    Example:
        >>> light = torch.tensor([0.5, 1.0, 5.0]).view(1, 1, 3).expand(3, 1, 3)
        >>> [f"{float(value):.2f}" for value in tone_mapped(light)[0, 0]]
        ['0.50', '0.93', '1.00']
    """
    strongest = light.amax(dim=0, keepdim=True).clamp(min=1e-6)
    bent = KNEE + (1 - KNEE) * (1 - torch.exp((KNEE - strongest) / (1 - KNEE)))
    return light * torch.where(strongest > KNEE, bent / strongest, torch.ones_like(strongest))


def looks_like_log(frame: Tensor) -> bool:
    """Whether a frame ``[3, H, W]`` is as grey and flat as log footage: neither black nor white, and hardly any colour.

    Example:
        >>> ramp = torch.linspace(0, 1, 100).view(1, 1, 100).expand(3, 1, 100)
        >>> looks_like_log(ramp), looks_like_log(0.2 + 0.4 * ramp)
        (False, True)
    """
    luma = frame.mean(dim=0).flatten()
    low, high = luma.kthvalue(len(luma) // 100 + 1).values, luma.kthvalue(len(luma) - len(luma) // 100).values
    colour = (frame.amax(dim=0) - frame.amin(dim=0)).mean()
    return bool(low > FLAT[0] and high < FLAT[1] and high - low > 0.1 and colour < GREY)
