"""Real networks at toy size, and clips to feed them."""

from __future__ import annotations

import json
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
    "block_out_channels": [32, 32, 32],
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [2, 2, 4],
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
    "block_out_channels": [32, 32, 32],
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


def stock_networks(seed: int = 0):
    """diffusers' own networks with random weights: the UNet with its camera embedding silenced, and the VAE.

    With that embedding at zero the pair computes exactly what GVM does, so it is the oracle for our networks.
    """
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

    dead = ("class_embed_type", "num_class_embeds", "act_fn", "_class_name")
    torch.manual_seed(seed)
    unet = UNetSpatioTemporalConditionModel(**{k: v for k, v in TINY_UNET.items() if k not in dead})
    vae = AutoencoderKLTemporalDecoder(**{k: v for k, v in TINY_VAE.items() if k != "_class_name"})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for network in (unet, vae):
            for name, parameter in network.named_parameters():
                if parameter.ndim < 2:  # norms, biases and mix factors start as constants, which would hide mistakes
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
                if name.endswith("mix_factor"):
                    parameter.add_(torch.randn(parameter.shape, generator=generator))
        # Outputs as large as a trained model's, or comparisons would pass whatever came out.
        unet.conv_out.weight.mul_(3)
        vae.quant_conv.weight.mul_(8)
        vae.decoder.conv_out.weight.mul_(12)
        for parameter in [*unet.parameters(), *vae.parameters()]:
            parameter.copy_(parameter.half().float())
        for parameter in unet.add_embedding.linear_2.parameters():
            parameter.zero_()
    return unet.eval(), vae.eval()


def write_tiny_model(folder: Path, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """A model folder in the published layout with random weights at toy size."""
    from safetensors.torch import save_file

    unet, vae = stock_networks(seed)
    for name, network, config in (("unet", unet, TINY_UNET), ("vae", vae, TINY_VAE)):
        (folder / name).mkdir(parents=True)
        weights = {
            key: value.to(dtype).contiguous()
            for key, value in network.state_dict().items()
            if not key.startswith("add_embedding.")
        }
        save_file(weights, folder / name / "diffusion_pytorch_model.safetensors")
        (folder / name / "config.json").write_text(json.dumps(config))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    return folder


def moving_clip(frames: int, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    """Smooth random pictures that drift sideways, ``[T, 3, H, W]``."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 12, generator=generator)
    canvas = torch.nn.functional.interpolate(coarse, (height, width + frames), mode="bilinear")[0]
    return torch.stack([canvas[:, :, i : i + width] for i in range(frames)])


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


def read_levels(path):
    """Every frame of a file as 16-bit grey levels."""
    import av

    from gvm_core.media.video import convert

    with av.open(str(path)) as container:
        return [convert(frame, format="gray16le").to_ndarray() for frame in container.decode(video=0)]
