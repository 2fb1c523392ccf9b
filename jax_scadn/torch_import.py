"""PyTorch state dicts of the authors' SCADN -> Flax variables.

    python -m jax_scadn.torch_import --generator=best_gen.pth \\
        --config=configs/mvtec.py:bottle --workdir=runs/imported

turns a trained generator into a detector for evaluate and predict; mu, threshold and
colours come from the normal images of the settings. PyTorch's kernels are (out, in,
height, width), Flax's (height, width, in, out).
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import flax
import ml_collections
import numpy as np
from absl import flags

from jax_scadn import cli, errors, experiment

FlatTree = dict[str, Any]  # 'block_0/conv_1/conv/kernel' -> array

_ENCODER = (1, 4, 7, 10)  # positions in PyTorch's nn.Sequential
_RESIDUAL = (1, 5)
_DECODER = (1, 5, 9, 13)


def flatten(tree) -> FlatTree:
    """A tree of variables as one dict with slashes in its names."""
    return flax.traverse_util.flatten_dict(flax.core.unfreeze(tree), sep="/")


def unflatten(flat: FlatTree):
    """The opposite of `flatten`."""
    return flax.traverse_util.unflatten_dict(flat, sep="/")


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


def to_flax(array: np.ndarray) -> np.ndarray:
    """A parameter in Flax's axis order."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The PyTorch shape of a Flax parameter."""
    if len(shape) != 4:
        return shape
    height, width, inputs, outputs = shape
    return (outputs, inputs, height, width)


def generator_params(arrays: Mapping[str, np.ndarray]):
    """The generator's Flax parameters.

    Args:
      arrays: PyTorch's state dict, or one with the prefix `generator.`; the number
        of residual blocks is read off its names.

    Raises:
      errors.UserError: a parameter is missing or one is left over.
    """
    arrays = _without_prefix(arrays, "generator.")
    blocks = len({name.split(".")[1] for name in arrays if name.startswith("middle.")})
    return unflatten(_renamed(arrays, generator_names(blocks), "generator"))


def discriminator_variables(arrays: Mapping[str, np.ndarray]):
    """The discriminator's Flax variables {'params': ..., 'spectral': ...}.

    Args:
      arrays: PyTorch's state dict, or one with the prefix `discriminator.`; the
        names under `features.` are aliases of `conv1.` and are passed over.

    Raises:
      errors.UserError: a parameter is missing or one is left over.
    """
    arrays = _without_prefix(arrays, "discriminator.")
    arrays = {k: v for k, v in arrays.items() if not k.startswith("features.")}
    return unflatten(_renamed(arrays, discriminator_names(), "discriminator"))


def _without_prefix(arrays: Mapping[str, np.ndarray], prefix: str):
    for lead in ("module.", prefix):
        arrays = {name.removeprefix(lead): value for name, value in arrays.items()}
    return arrays


def _renamed(arrays, names: dict[str, str], network: str) -> FlatTree:
    missing = sorted(set(names) - set(arrays))
    if missing:
        raise errors.UserError(
            f"this is no state dict of SCADN's {network}: {missing[0]} is missing "
            f"({len(missing)} of {len(names)} parameters are)"
        )
    extra = sorted(set(arrays) - set(names))
    if extra:
        raise errors.UserError(
            f"the {network}'s state dict holds {extra[0]}, which SCADN does not have"
        )
    return {flax_name: to_flax(arrays[name]) for name, flax_name in names.items()}


def load(path: str | pathlib.Path, network: str) -> dict[str, np.ndarray]:
    """The arrays of a .pth file, or of an .npz file with the same names.

    Args:
      path: of the file. A .pth needs PyTorch and is read with `weights_only=True`.
      network: 'generator' or 'discriminator'; where the file holds a dict of state
        dicts, as the authors' code writes it, the one of that name is taken.

    Raises:
      errors.UserError: no such file, no PyTorch, or another content.
    """
    try:
        if str(path).endswith(".npz"):
            return dict(np.load(path))
        import torch  # an extra: nothing else needs it

        loaded = torch.load(path, map_location="cpu", weights_only=True)
        loaded = loaded.get(network, loaded)
        return {name: tensor.numpy() for name, tensor in loaded.items()}
    except ImportError:
        raise errors.UserError(
            f"PyTorch is needed to read {path}: pip install 'jax_scadn[torch]'"
        ) from None
    except FileNotFoundError:
        raise errors.UserError(f"{path} does not exist") from None
    except Exception as error:  # unpickling damaged files raises nearly anything
        reason = " ".join(str(error).split())[:200]
        raise errors.UserError(f"{path} is no state dict: {reason}") from error


def settings_for(
    params, config: ml_collections.ConfigDict
) -> ml_collections.ConfigDict:
    """The settings with the width, blocks and channels that the weights have."""
    config = config.copy_and_resolve_references()
    config.model.width = params["encoder_0"]["conv"]["kernel"].shape[-1]
    config.model.blocks = sum(name.startswith("block_") for name in params)
    config.data.channels = params["decoder_3"]["conv"]["bias"].shape[0]
    return config


def main(_) -> None:
    params = generator_params(load(_GENERATOR.value, "generator"))
    config = settings_for(params, cli.config())
    workdir = _WORKDIR.value or experiment.default_workdir(config)
    experiment.import_detector(config, params, pathlib.Path(workdir))


if __name__ == "__main__":
    cli.config_flag()
    _GENERATOR = flags.DEFINE_string("generator", None, "A ..._gen.pth or .npz file.")
    _WORKDIR = flags.DEFINE_string("workdir", "", "Where the detector is written.")
    flags.mark_flag_as_required("generator")
    cli.run(main)
