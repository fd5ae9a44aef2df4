"""Between the published weights and those of our networks, in which everything constant is folded.

Knows names and numbers, not what is computed with them. Folding keeps outputs to rounding: within 1e-5 of their size in float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]

BLEND, LAST = ".time_mixer.mix_factor", ".temporal_res_block.conv2"
TEXT = (".attn2.", ".norm2.")
"""Names of the attention to a text or picture that SVD has and matting has no use for."""


def is_text(name: str) -> bool:
    """Whether the weight or layer of this name belongs to the attention to a text.

    Example:
        >>> is_text("mid_block.attentions.0.transformer_blocks.0.attn2.to_q"), is_text("mid_block.resnets.0.norm2")
        (True, False)
    """
    return "transformer_blocks." in name and any(part in f"{name}." for part in TEXT)


def fold(published: Weights, *, mixes_in_time: bool) -> tuple[Weights, dict[str, float]]:
    """The published weights of a UNet or a VAE as our networks hold them.

    - Attention to a single token of zeros gives the bias of its output, whatever asks. That bias goes to the attention
      before it; the rest of it goes away.
    - A resnet over time adds a change to its input. To blend input and output is to add a part of that change, so its
      last layer is scaled by that part.

    Args:
        published: Tensors by their published names.
        mixes_in_time: The sigmoid of a mix factor is the share of the result over time, as in the VAE. In the UNet it is
            the share of the result over space.

    Returns:
        The weights, and for each scaled layer its share, by the layer's name.
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
    """The way back: weights in the published layout that `fold` turns into ``weights`` again, to the bit.

    Args:
        weights: Of one of our networks.
        text_channels: The configuration's ``cross_attention_dim``, for a UNet.
    """
    published = {name: 2 * value if f"{LAST}." in name else value for name, value in weights.items()}  # an even blend
    like = next(iter(weights.values()))
    for name, (shape, constant) in left_out({name: value.shape for name, value in weights.items()}, text_channels):
        published[name] = like.new_full(shape, constant)
    return published


def left_out(shapes: dict[str, torch.Size], text_channels: int) -> Iterator[tuple[str, tuple[tuple[int, ...], float]]]:
    """What the published layout has beside our weights: names, shapes, and a constant that changes nothing."""
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
    """Names and shapes of the published weights of one of our networks, whose own may be on torch's meta device."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    more = {name: shape for name, (shape, _) in left_out(shapes, text_channels(network))}
    return {**{name: tuple(shape) for name, shape in shapes.items()}, **more}


def published_weights(network: nn.Module) -> Weights:
    """The weights of one of our networks in the published layout."""
    return publish(network.state_dict(), text_channels(network))


def text_channels(network: nn.Module) -> int:
    """How wide the text is that the published layout of a UNet provides for."""
    return int(getattr(network, "cross_attention_dim", 0))
