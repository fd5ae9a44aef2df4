"""Converts published weights to those of our networks and back. Our networks have all constant parts folded in.

Folding changes outputs only by rounding: by at most 1e-5 of their size in float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]

BLEND, LAST = ".time_mixer.mix_factor", ".temporal_res_block.conv2"
TEXT = (".attn2.", ".norm2.")
"""Parts of the names of SVD's attention to a text or picture, which matting does not use."""


def is_text(name: str) -> bool:
    """Whether the weight or layer ``name`` belongs to the attention to a text.

    Example:
        >>> is_text("mid_block.attentions.0.transformer_blocks.0.attn2.to_q"), is_text("mid_block.resnets.0.norm2")
        (True, False)
    """
    return "transformer_blocks." in name and any(part in f"{name}." for part in TEXT)


def fold(published: Weights, *, mixes_in_time: bool) -> tuple[Weights, dict[str, float]]:
    """Convert the published weights of a UNet or a VAE to the weights of our networks.

    - Attention to a single token of zeros gives the bias of its output layer, whatever the query is. That bias is added
      to the self-attention before it; the other weights of the attention are removed.
    - A resnet over time adds a change to its input. Blending the input with the output adds a share of that change. So
      the resnet's last layer is scaled by the share.

    Args:
        published: Tensors by their published names.
        mixes_in_time: True if the sigmoid of a mix factor is the share of the result over time, as in the VAE. In the
            UNet it is the share of the result over space.

    Returns:
        The weights, and the share of each scaled layer by the layer's name.
    """
    weights, shares = {**published}, {}
    for name, value in published.items():
        block = name.removesuffix(BLEND)
        if is_text(name):
            del weights[name]
            if name.endswith("attn2.to_out.0.bias"):
                before = name.replace("attn2", "attn1")
                weights[before] = weights[before] + value
        elif name != block and f"{block}{LAST}.weight" in published:
            precise = torch.promote_types(value.dtype, torch.float32)
            share = torch.sigmoid(weights.pop(name).to(precise))
            share = share if mixes_in_time else 1 - share
            shares[f"{block}{LAST}"] = float(share)
            for part in (f"{block}{LAST}.weight", f"{block}{LAST}.bias"):
                weights[part] = (published[part].to(precise) * share).to(published[part])
    return weights, shares


def publish(weights: Weights, text_channels: int = 0) -> Weights:
    """The inverse of `fold`: weights in the published layout. `fold` turns them into exactly ``weights`` again.

    Args:
        weights: The weights of one of our networks.
        text_channels: For a UNet, the configuration's ``cross_attention_dim``.
    """
    # `left_out` sets every mix factor to 0, a share of one half
    published = {name: 2 * value if f"{LAST}." in name else value for name, value in weights.items()}
    like = next(iter(weights.values()))
    for name, (shape, constant) in left_out({name: value.shape for name, value in weights.items()}, text_channels):
        published[name] = like.new_full(shape, constant)
    return published


def left_out(shapes: dict[str, torch.Size], text_channels: int) -> Iterator[tuple[str, tuple[tuple[int, ...], float]]]:
    """Names and shapes of published weights that our networks lack, each with the constant that `publish` fills in."""
    for name, shape in shapes.items():
        block, found, _ = name.partition(f"{LAST}.weight")
        if found:
            yield f"{block}{BLEND}", ((1,), 0.0)
        block, found, _ = name.partition(".attn1.to_out.0.bias")
        if found and "transformer_blocks." in name:
            (width,) = shape
            inputs = {"to_q": width, "to_k": text_channels, "to_v": text_channels, "to_out.0": width}
            yield from ((f"{block}.attn2.{layer}.weight", ((width, n), 0.0)) for layer, n in inputs.items())
            yield f"{block}.attn2.to_out.0.bias", ((width,), 0.0)
            yield from ((f"{block}.norm2.{part}", ((width,), float(part == "weight"))) for part in ("weight", "bias"))


def published_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's weights in the published layout. The network may be on torch's meta device."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    more = {name: shape for name, (shape, _) in left_out(shapes, text_channels(network))}
    return {**{name: tuple(shape) for name, shape in shapes.items()}, **more}


def published_weights(network: nn.Module) -> Weights:
    """A network's weights in the published layout."""
    return publish(network.state_dict(), text_channels(network))


def text_channels(network: nn.Module) -> int:
    """Width of the text embedding in the published layout of a UNet; 0 for a VAE."""
    return int(getattr(network, "cross_attention_dim", 0))
