"""Real networks at toy size, and clips to feed them."""

from __future__ import annotations

import json
import math
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

TINY_UNET = {
    "_class_name": "UNetSpatioTemporalConditionModel",
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": [
        "CrossAttnDownBlockSpatioTemporal",
        "CrossAttnDownBlockSpatioTemporal",
        "DownBlockSpatioTemporal",
    ],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "block_out_channels": [32, 64, 96],
    "layers_per_block": [1, 2, 1],
    "transformer_layers_per_block": [1, 2, 1],
    "num_attention_heads": [2, 4, 3],
    "cross_attention_dim": 16,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "num_frames": 8,
    "class_embed_type": None,
    "num_class_embeds": None,
    "act_fn": "silu",
}
TINY_VAE = {
    "_class_name": "AutoencoderKLTemporalDecoder",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "block_out_channels": [32, 64, 96],
    "layers_per_block": 1,
    "scaling_factor": 0.5,
    "force_upcast": True,
}
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": False,
}

SAME = 1e-10
"""How far results in double precision may differ that are the same but for the order of sums."""
SAME_STORED = 2e-6
"""The same for mattes, which are handed on in float32 from stage to stage."""


def tiny_weights(seed: int = 0, unet=TINY_UNET, vae=TINY_VAE) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random weights of a UNet and a VAE in the published layout, exact in half precision; the same on any machine.

    Nothing in them is zero or one, which would hide mistakes, and outputs are as large as a trained model's.
    """
    from gvm_core.models.fold import published_shapes
    from gvm_core.models.unet import MattingUNet
    from gvm_core.models.vae import TemporalVAE

    louder = {"unet.conv_out.weight": 3, "vae.quant_conv.weight": 8, "vae.decoder.conv_out.weight": 12}
    both = []
    for prefix, kind, config in (("unet", MattingUNet, unet), ("vae", TemporalVAE, vae)):
        with torch.device("meta"):
            shapes = published_shapes(kind(config))
        weights = {}
        for number, (name, shape) in enumerate(sorted(shapes.items())):
            values = np.random.RandomState([seed, number]).standard_normal(shape)  # whose numbers never change
            if name.endswith("mix_factor"):
                values = 0.5 + values
            elif len(shape) > 1:
                values *= louder.get(f"{prefix}.{name}", 1) / math.sqrt(3 * math.prod(shape[1:]))
            else:
                values = 0.1 * values + float("norm" in name and name.endswith("weight"))
            weights[name] = torch.from_numpy(values.astype(np.float16)).float()
        both.append(weights)
    return both[0], both[1]


def stock_networks(seed: int = 0):
    """diffusers' own networks with those weights: the UNet with its camera embedding silenced, and the VAE.

    With that embedding at zero the pair computes exactly what GVM does, so it is the oracle for our networks.
    """
    import pytest

    pytest.importorskip("diffusers")
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

    dead = ("class_embed_type", "num_class_embeds", "act_fn", "_class_name")
    unet = UNetSpatioTemporalConditionModel(**{k: v for k, v in TINY_UNET.items() if k not in dead})
    vae = AutoencoderKLTemporalDecoder(**{k: v for k, v in TINY_VAE.items() if k != "_class_name"})
    for network, weights in zip((unet, vae), tiny_weights(seed), strict=True):
        unknown = network.load_state_dict(weights, strict=False)
        assert not unknown.unexpected_keys and all("add_embedding" in key for key in unknown.missing_keys)
    with torch.no_grad():
        for parameter in unet.add_embedding.linear_2.parameters():
            parameter.zero_()
    return unet.eval(), vae.eval()


def our_networks(seed: int = 0, dtype: torch.dtype = torch.float32):
    """Our networks with those weights, folded as on loading."""
    from gvm_core.models.fold import fold
    from gvm_core.models.unet import MattingUNet
    from gvm_core.models.vae import TemporalVAE

    ours = MattingUNet(TINY_UNET), TemporalVAE(TINY_VAE)
    for network, weights, in_time in zip(ours, tiny_weights(seed), (False, True), strict=True):
        folded, _ = fold({name: value.to(dtype) for name, value in weights.items()}, mixes_in_time=in_time)
        network.to(dtype).load_state_dict(folded)
        network.requires_grad_(False).eval()
    return ours


def assert_rounds_like(found, float32, exact):
    """``found`` may stray from the exact result as float32 itself strays, on this processor and in this run.

    Random networks amplify rounding, each processor's in its own way, so no fixed number would do.

    Args:
        found: What is tested, in float32.
        float32: The same, computed in float32 in the plainest way.
        exact: The same in double precision.
    """
    strays = lambda values: float((values.double() - exact.double()).abs().max())  # noqa: E731
    allowed = 4 * strays(float32) + 2e-7 * float(exact.abs().max())
    assert strays(found) <= allowed, f"strays by {strays(found):.1e} where float32 strays by {strays(float32):.1e}"


def write_tiny_model(
    folder: Path, seed: int = 0, dtype: torch.dtype = torch.float32, unet=TINY_UNET, vae=TINY_VAE
) -> Path:
    """A model folder in the published layout with random weights at toy size."""
    from safetensors.torch import save_file

    for name, weights, config in zip(("unet", "vae"), tiny_weights(seed, unet, vae), (unet, vae), strict=True):
        (folder / name).mkdir(parents=True)
        half = {key: value.to(dtype) for key, value in weights.items()}
        save_file(half, folder / name / "diffusion_pytorch_model.safetensors")
        (folder / name / "config.json").write_text(json.dumps(config))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    return folder


def own_size(**changes):
    """Settings under which the network sees frames at their own size, unless ``changes`` say otherwise."""
    from gvm_core import MatteSettings

    return MatteSettings(**{"short_edge": "own", "max_edge": "own", **changes})


def moving_clip(frames: int, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    """Smooth random pictures that drift sideways, ``[T, 3, H, W]``."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 12, generator=generator)
    canvas = torch.nn.functional.interpolate(coarse, (height, width + frames), mode="bilinear")[0]
    return torch.stack([canvas[:, :, i : i + width] for i in range(frames)])


def shown(picture, matrix):
    """``picture`` ``[C, H, W]`` where a display matrix puts its pixels, pixel by pixel."""
    a, b, c, d = matrix
    _, height, width = picture.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = a * columns + c * rows, b * columns + d * rows
    result = picture.new_zeros(len(picture), *((width, height) if b else (height, width)))
    result[:, y - y.min(), x - x.min()] = picture
    return result


def with_matrix(path, matrix):
    """Write a display matrix into the track header of an .mp4 or .mov."""
    content = bytearray(path.read_bytes())
    at = content.find(b"tkhd") + 8 + 20 + 16
    a, b, c, d = (value * 65536 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def write_video(path, frames, codec="libx264", pixels="yuv444p", rate=Fraction(30000, 1001), **options):
    """Encode ``[T, 3, H, W]`` as a video."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "1", **options})
        stream.height, stream.width = frames.shape[-2:]
        stream.pix_fmt = pixels
        for picture in frames:
            levels = (picture.movedim(0, -1).numpy() * 65535).astype(np.uint16)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="rgb48le")))
        container.mux(stream.encode(None))
    return path


def tags_of(container):
    """The tags of an opened file, of its data tracks and of its film, by their names in lower case."""
    tags = {}
    for each in (container, *container.streams.data, container.streams.video[0]):
        tags.update({key.lower(): value for key, value in each.metadata.items()})
    return tags


def write_film(path, times, time_base=Fraction(1, 30000), sound="aac", layout="stereo"):
    """A small video with frames at ``times``, B-frames, colour tags and a second of sound more than pictures."""
    import av

    frames = (moving_clip(len(times), 32, 48).movedim(1, -1).numpy() * 255).astype(np.uint8)
    options = {"movie_timescale": str(time_base.denominator)} if path.suffix != ".mkv" else {}
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("libx264", rate=Fraction(30000, 1001))
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        video.time_base = video.codec_context.time_base = time_base
        for name in ("color_primaries", "color_trc", "colorspace"):
            setattr(video.codec_context, name, 1)
        audio = container.add_stream(sound, rate=48000, layout=layout)
        for levels, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(levels, format="rgb24")
            frame.pts, frame.time_base = time, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        count = round(48000 * (times[-1] * time_base + 1))
        wave = (np.sin(np.arange(count) * 0.05) * 8000).astype(np.int16)
        for start in range(0, count, 1024):
            both = np.repeat(wave[start : start + 1024], audio.layout.nb_channels)[None]
            frame = av.AudioFrame.from_ndarray(both, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def write_picture(path, picture, pixels="rgb48be", **options):
    """Encode ``[3, H, W]`` as a single picture, the codec by its suffix."""
    import av

    codec = {".png": "png", ".exr": "exr", ".jpg": "mjpeg"}[path.suffix]
    encoder = av.CodecContext.create(codec, "w")
    encoder.options = options
    if pixels == "gbrpf32le":
        frame = av.VideoFrame.from_ndarray(picture.movedim(0, -1).contiguous().numpy(), format="gbrpf32le")
    else:
        levels = (picture.movedim(0, -1).numpy() * 65535).astype(np.uint16)
        frame = av.VideoFrame.from_ndarray(levels, format="rgb48le").reformat(format=pixels)
    encoder.height, encoder.width = picture.shape[-2:]
    encoder.pix_fmt, encoder.time_base = pixels, Fraction(1)
    path.write_bytes(b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)]))
    return path


def write_exr(path, channels, corner=(0, 0), display=None):
    """Channels ``[H, W]`` as an uncompressed EXR file, whose pixels begin at ``corner`` of the box ``display``."""
    height, width = next(iter(channels.values())).shape
    left, top = corner
    box = (left, top, left + width - 1, top + height - 1)
    listed = b"".join(name.encode() + b"\0" + struct.pack("<4i", 2, 0, 1, 1) for name in sorted(channels)) + b"\0"
    attributes = [
        *(("channels", "chlist", listed), ("compression", "compression", b"\0"), ("lineOrder", "lineOrder", b"\0")),
        *(("dataWindow", "box2i", struct.pack("<4i", *box)), ("pixelAspectRatio", "float", struct.pack("<f", 1))),
        ("displayWindow", "box2i", struct.pack("<4i", *(display or box))),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ]
    header = struct.pack("<2i", 20000630, 2)
    for name, kind, value in attributes:
        header += name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
    header += b"\0"
    rows = []
    for row in range(height):
        line = b"".join(channels[name][row].astype("<f4").tobytes() for name in sorted(channels))
        rows.append(struct.pack("<2i", top + row, len(line)) + line)
    starts = [len(header) + 8 * height + sum(map(len, rows[:row])) for row in range(height)]
    path.write_bytes(header + struct.pack(f"<{height}Q", *starts) + b"".join(rows))
    return path


def read_levels(path):
    """Every frame of a file as 16-bit grey levels."""
    import av

    from gvm_core.media.pixels import convert

    with av.open(str(path)) as container:
        return [convert(frame, format="gray16le").to_ndarray() for frame in container.decode(video=0)]
