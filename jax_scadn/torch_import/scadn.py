"""State dicts of the authors' SCADN code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from jax_scadn.networks.pretrained import state_dict

NETWORKS = ("generator",)  # whose state dicts make up a detector

_ENCODER = (1, 4, 7, 10)  # positions in PyTorch's nn.Sequential
_RESIDUAL = (1, 5)
_DECODER = (1, 5, 9, 13)


def generator_names(blocks: int) -> dict[str, str]:
    """PyTorch name -> Flax name of every parameter of the generator."""
    layers = {f"encoder.{p}": f"encoder_{i}" for i, p in enumerate(_ENCODER)}
    layers |= {
        f"middle.{b}.conv_block.{p}": f"block_{b}/conv_{i}"
        for b in range(blocks)
        for i, p in enumerate(_RESIDUAL)
    }
    layers |= {f"decoder.{p}": f"decoder_{i}" for i, p in enumerate(_DECODER)}
    names = {}
    for torch_name, flax_name in layers.items():
        names[f"{torch_name}.weight"] = f"{flax_name}/conv/kernel"
        names[f"{torch_name}.bias"] = f"{flax_name}/conv/bias"
    return names


def discriminator_names() -> dict[str, str]:
    """PyTorch name -> Flax name, with its collection, of the discriminator."""
    names = {}
    for i in range(5):
        names[f"conv{i + 1}.0.weight_orig"] = f"params/conv_{i}/kernel"
        names[f"conv{i + 1}.0.weight_u"] = f"spectral/conv_{i}/u"
        names[f"conv{i + 1}.0.weight_v"] = f"spectral/conv_{i}/v"
    return names


def generator_params(arrays: Mapping[str, np.ndarray]):
    """The generator's Flax parameters.

    Args:
      arrays: PyTorch's state dict, or one with the prefix `generator.`; the number
        of residual blocks is inferred from its names.

    Raises:
      errors.UserError: a parameter is missing or unexpected.
    """
    arrays = state_dict.without_prefix(arrays, "generator.")
    blocks = len({name.split(".")[1] for name in arrays if name.startswith("middle.")})
    return state_dict.to_flax_tree(arrays, generator_names(blocks), "SCADN's generator")


def discriminator_variables(arrays: Mapping[str, np.ndarray]):
    """The discriminator's Flax variables {'params': ..., 'spectral': ...}.

    Args:
      arrays: PyTorch's state dict, or one with the prefix `discriminator.`; the
        names under `features.` are aliases of `conv1.` and are ignored.

    Raises:
      errors.UserError: a parameter is missing or unexpected.
    """
    arrays = state_dict.without_prefix(arrays, "discriminator.")
    arrays = {k: v for k, v in arrays.items() if not k.startswith("features.")}
    return state_dict.to_flax_tree(
        arrays, discriminator_names(), "SCADN's discriminator"
    )


def trained(
    config: ml_collections.ConfigDict, arrays: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[ml_collections.ConfigDict, dict[str, Any]]:
    """The settings with the sizes of the weights, and the results of the stages.

    Args:
      config: resolved settings.
      arrays: state dict of each of `NETWORKS`.
    """
    params = generator_params(arrays["generator"])
    config = config.copy_and_resolve_references()
    config.model.width = params["encoder_0"]["conv"]["kernel"].shape[-1]
    config.model.blocks = sum(name.startswith("block_") for name in params)
    config.data.channels = params["decoder_3"]["conv"]["bias"].shape[0]
    return config, {"inpainting": params}
