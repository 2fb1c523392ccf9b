"""State dicts of the authors' UTAD code.

Names are mapped to Flax names that start with the collection, 'params' or
'batch_stats'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from jax_scadn.networks.pretrained import state_dict

NETWORKS = ("ie_net", "gen_i", "gen_m")  # whose state dicts make up a detector

# Branches of an inception block: PyTorch's name, the index of the convolution in its
# nn.Sequential, which the batch norm follows, and our name.
_BRANCHES = (
    ("block1x1", 0, "1x1"),
    ("block3x3", 0, "3x3"),
    ("block5x5", 0, "5x5"),
    ("block_mp", 1, "pool"),
)


def ie_net_names(encoder_blocks: int = 4, decoder_blocks: int = 4) -> dict[str, str]:
    """PyTorch name -> Flax name of IE-Net's variables."""
    blocks = {f"encoder_f.{2 * i}": f"encoder_{i}" for i in range(encoder_blocks)}
    blocks |= {f"decoder.{2 * i}": f"decoder_{i}" for i in range(decoder_blocks)}
    names = {}
    for torch_block, flax_block in blocks.items():
        for torch_branch, index, branch in _BRANCHES:
            conv = f"{torch_block}.{torch_branch}.{index}"
            norm = f"{torch_block}.{torch_branch}.{index + 1}"
            flax_norm = f"{flax_block}/norm_{branch}"
            names |= {
                f"{conv}.weight": f"params/{flax_block}/conv_{branch}/conv/kernel",
                f"{norm}.weight": f"params/{flax_norm}/scale",
                f"{norm}.bias": f"params/{flax_norm}/bias",
                f"{norm}.running_mean": f"batch_stats/{flax_norm}/mean",
                f"{norm}.running_var": f"batch_stats/{flax_norm}/var",
            }
    output = f"params/decoder_{decoder_blocks}/conv/kernel"
    names[f"decoder.{2 * decoder_blocks}.weight"] = output
    layers = {
        "encoder_g.0": "head_0/conv",
        "encoder_g.2": "head_1/conv",
        "encoder_mean": "mean",
        "encoder_log_var": "log_var",
    }
    return names | _with_bias(layers)


def expert_net_names(blocks: int = 2) -> dict[str, str]:
    """PyTorch name -> Flax name of the parameters of one AdaIN autoencoder."""
    layers = {
        f"enc_detail.model.{i}.conv": f"detail_encoder/conv_{i}/conv" for i in range(5)
    }
    layers["enc_detail.model.6"] = "detail_encoder/output/conv"
    layers |= {
        f"enc.model.{i}.conv": f"content_encoder/conv_{i}/conv" for i in (0, 1, 2)
    }
    for block in range(blocks):
        for i in (0, 1):
            residual = f"model.{block}.model.{i}.conv"
            conv = f"block_{block}_conv_{i}/conv"
            layers[f"enc.model.3.{residual}"] = f"content_encoder/{conv}"
            layers[f"dec.model.0.{residual}"] = f"decoder/{conv}"
    layers |= {
        "dec.model.2.conv": "decoder/upsampled_0/conv",
        "dec.model.4.conv": "decoder/upsampled_1/conv",
        "dec.model.5.conv": "decoder/output/conv",
    }
    layers |= {f"mlp.model.{i}.fc": f"decoder/mlp_{i}" for i in (0, 1, 2)}
    norms = {
        "dec.model.2.norm.gamma": "params/decoder/norm_0/scale",
        "dec.model.2.norm.beta": "params/decoder/norm_0/bias",
        "dec.model.4.norm.gamma": "params/decoder/norm_1/scale",
        "dec.model.4.norm.beta": "params/decoder/norm_1/bias",
    }
    return _with_bias(layers) | norms


def image_discriminator_names(scales: int = 3) -> dict[str, str]:
    """PyTorch name -> Flax name of the image discriminator's parameters."""
    return _with_bias(
        {
            f"cnns.{scale}.{index}": f"scale_{scale}/conv_{i}/conv"
            for scale in range(scales)
            for i, index in enumerate((0, 2, 5, 8))
        }
    )


def latent_discriminator_names() -> dict[str, str]:
    """PyTorch name -> Flax name of the latent discriminator's parameters."""
    return _with_bias({f"model.{2 * i}": f"linear_{i}" for i in range(4)})


def _with_bias(layers: Mapping[str, str]) -> dict[str, str]:
    names = {}
    for torch_name, flax_name in layers.items():
        names[f"{torch_name}.weight"] = f"params/{flax_name}/kernel"
        names[f"{torch_name}.bias"] = f"params/{flax_name}/bias"
    return names


def ie_net_variables(arrays: Mapping[str, np.ndarray]):
    """IE-Net's Flax variables {'params': ..., 'batch_stats': ...}.

    Args:
      arrays: PyTorch's state dict, or one with the prefix `ie_net.`; the numbers of
        blocks are inferred from its names; PyTorch's counts of batches are ignored.

    Raises:
      errors.UserError: a parameter is missing or unexpected.
    """
    arrays = state_dict.without_prefix(arrays, "ie_net.")
    arrays = {k: v for k, v in arrays.items() if not k.endswith(".num_batches_tracked")}
    names = ie_net_names(
        _count(r"encoder_f\.(\d+)\.block", arrays),
        _count(r"decoder\.(\d+)\.block", arrays),
    )
    return state_dict.to_flax_tree(arrays, names, "UTAD's IE-Net")


def expert_net_variables(arrays: Mapping[str, np.ndarray]):
    """One AdaIN autoencoder's Flax variables {'params': ...}.

    Args:
      arrays: PyTorch's state dict, or one with the prefix `gen_i.` or `gen_m.`; the
        number of residual blocks is inferred from its names. PyTorch's AdaIN has
        running means and variances that it never uses; they are ignored.

    Raises:
      errors.UserError: a parameter is missing or unexpected.
    """
    for prefix in ("gen_i.", "gen_m."):
        arrays = state_dict.without_prefix(arrays, prefix)
    unused = re.compile(r"dec\.model\.0\..*\.norm\.running_(mean|var)")
    arrays = {k: v for k, v in arrays.items() if not unused.fullmatch(k)}
    names = expert_net_names(_count(r"dec\.model\.0\.model\.(\d+)\.", arrays))
    return state_dict.to_flax_tree(arrays, names, "UTAD's Expert-Net")


def trained(
    config: ml_collections.ConfigDict, arrays: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[ml_collections.ConfigDict, dict[str, Any]]:
    """The settings with the sizes of the weights, and the results of the stages.

    Pools and upsamplings cannot be inferred from the weights: they are those of the
    settings.

    Args:
      config: resolved settings.
      arrays: state dict of each of `NETWORKS`.
    """
    ie_net = ie_net_variables(arrays["ie_net"])
    experts = {
        domain: expert_net_variables(arrays[network])["params"]
        for domain, network in (("image", "gen_i"), ("impression", "gen_m"))
    }
    config = config.copy_and_resolve_references()
    params, expert = ie_net["params"], experts["image"]
    impression = config.impression
    impression.features = _features(params, "encoder_")
    impression.decoder_features = _features(params, "decoder_")
    impression.head_features, impression.latent = (
        params["head_0"]["conv"]["bias"].size,
        params["mean"]["bias"].size,
    )
    encoder = expert["content_encoder"]
    config.expert.width = encoder["conv_0"]["conv"]["bias"].size
    config.expert.blocks = sum(name.endswith("_conv_1") for name in encoder)
    config.expert.detail = expert["detail_encoder"]["output"]["conv"]["bias"].size
    config.expert.mlp_width = expert["decoder"]["mlp_0"]["bias"].size
    config.data.channels = expert["decoder"]["output"]["conv"]["bias"].size
    return config, {"impression": ie_net, "expert": experts}


def _features(params: Mapping[str, Any], prefix: str) -> tuple[int, ...]:
    """Channels per branch of each inception block."""
    blocks = sorted(
        (name for name in params if name.startswith(prefix)),
        key=lambda name: int(name.removeprefix(prefix)),
    )
    return tuple(
        params[name]["conv_1x1"]["conv"]["kernel"].shape[-1]
        for name in blocks
        if "conv_1x1" in params[name]
    )


def _count(pattern: str, arrays: Mapping[str, np.ndarray]) -> int:
    """Number of distinct matches of the pattern's group."""
    matches = (re.match(pattern, name) for name in arrays)
    return len({match[1] for match in matches if match})
