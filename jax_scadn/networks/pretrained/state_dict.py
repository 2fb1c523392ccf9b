"""PyTorch state dicts: reading, renaming, and conversion to Flax's axis order.

PyTorch's kernels are (out, in, height, width) and (out, in), Flax's are
(height, width, in, out) and (in, out).
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import flax
import numpy as np

from jax_scadn.runtime import errors

FlatTree = dict[str, Any]  # 'block_0/conv_1/conv/kernel' -> array


def flatten(tree) -> FlatTree:
    """A tree of variables as a flat dict whose keys are joined by slashes."""
    return flax.traverse_util.flatten_dict(flax.core.unfreeze(tree), sep="/")


def unflatten(flat: FlatTree):
    """The inverse of `flatten`."""
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def to_flax(array: np.ndarray) -> np.ndarray:
    """A parameter in Flax's axis order."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The PyTorch shape of a Flax parameter."""
    if len(shape) < 2:
        return shape
    *kernel, inputs, outputs = shape
    return (outputs, inputs, *kernel)


def without_prefix(
    arrays: Mapping[str, np.ndarray], prefix: str
) -> dict[str, np.ndarray]:
    """The arrays with 'module.', which DataParallel adds, and `prefix` removed."""
    for lead in ("module.", prefix):
        arrays = {name.removeprefix(lead): value for name, value in arrays.items()}
    return arrays


def to_flax_tree(
    arrays: Mapping[str, np.ndarray], names: Mapping[str, str], network: str
):
    """The Flax variables of a state dict.

    Args:
      arrays: the state dict, without prefixes.
      names: PyTorch name -> Flax name of every parameter of the network.
      network: its name in the error, such as "SCADN's generator".

    Raises:
      errors.UserError: a parameter is missing or unexpected.
    """
    missing = sorted(set(names) - set(arrays))
    if missing:
        raise errors.UserError(
            f"not a state dict of {network}: {missing[0]} is missing "
            f"({len(missing)} of {len(names)} parameters are)"
        )
    extra = sorted(set(arrays) - set(names))
    if extra:
        raise errors.UserError(
            f"not a state dict of {network}, which does not have {extra[0]}"
        )
    return unflatten({ours: to_flax(arrays[name]) for name, ours in names.items()})


def load(path: str | pathlib.Path, network: str) -> dict[str, np.ndarray]:
    """The arrays of a .pth file, or of an .npz file with the same names.

    Args:
      path: of the file. A .pth needs PyTorch and is read with `weights_only=True`.
      network: such as 'generator'; if the file is a dict of state dicts, as the
        authors' code writes it, the one of this name is used.

    Raises:
      errors.UserError: the file or PyTorch is missing, or it is not a state dict.
    """
    try:
        if str(path).endswith(".npz"):
            return dict(np.load(path))
        import torch  # an extra, only needed here

        loaded = torch.load(path, map_location="cpu", weights_only=True)
        loaded = loaded.get(network, loaded)
        return {name: tensor.detach().numpy() for name, tensor in loaded.items()}
    except ImportError:
        raise errors.UserError(
            f"PyTorch is needed to read {path}: pip install 'jax_scadn[torch]'"
        ) from None
    except FileNotFoundError:
        raise errors.UserError(f"{path} does not exist") from None
    except Exception as error:  # unpickling damaged files raises nearly anything
        reason = " ".join(str(error).split())[:200]
        raise errors.UserError(f"{path} is not a state dict: {reason}") from error
