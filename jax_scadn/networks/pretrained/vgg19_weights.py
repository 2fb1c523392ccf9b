"""ImageNet weights of VGG-19, downloaded once or from a file of the user.

`python -m jax_scadn.fetch_weights` downloads torchvision's file (548 MiB), checks its
SHA-256 and writes the layers that the distances need (9 MiB) to the cache,
`$XDG_CACHE_HOME/jax_scadn` or `~/.cache/jax_scadn`. The command needs PyTorch to read
that file; reading the cache does not. On a machine without network,
put `vgg19-dcbb9e9d.pth` into the cache and run it there, or name a file by
`--config.vgg_weights`:

    .pth   torchvision's state dict (needs PyTorch)
    .h5    Keras's weights with TensorFlow's kernels, with or without top (needs h5py)
    .npz   arrays `conv1_1/kernel` (height, width, in, out), `conv1_1/bias` and so on to
           conv3_4; an entry `source`, 'keras' (default) or 'torchvision', says how
           images are normalised
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import importlib.util
import pathlib
import re
import shutil
import urllib.request
from typing import Any

import numpy as np
import tqdm

from jax_scadn.networks.pretrained import state_dict, vgg19
from jax_scadn.runtime import cache_dir, errors, files

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"

Params = Any

_CONVERTED = "vgg19.npz"  # in the cache
_TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 16)  # convolutions in `vgg19().features`
_TIMEOUT = 60  # seconds without a byte


@dataclasses.dataclass(frozen=True)
class Source:
    """The preprocessing that weights expect.

    Attributes:
      mean, std: (image - mean) / std for the red, green and blue channel in [0, 1].
      bgr: the first kernel expects blue, green, red.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool


SOURCES = {
    # Oxford's own weights: values up to 255, minus ImageNet's mean colour.
    "keras": Source(
        mean=(123.68 / 255, 116.779 / 255, 103.939 / 255), std=(1 / 255,) * 3, bgr=True
    ),
    "torchvision": Source(
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), bgr=False
    ),
}


def load(path: str | pathlib.Path = "") -> Params:
    """The parameters of `vgg19.Features`, for any of its layers.

    Args:
      path: of a file as above; '' for the cached one.

    Raises:
      errors.UserError: no such file, or it cannot be read as VGG-19.
    """
    path = pathlib.Path(path) if path else _cached()
    if not path.is_file():
        raise errors.UserError(f"--config.vgg_weights={path} does not exist")
    arrays, source = _read(path)
    if source not in SOURCES:
        choices = ", ".join(SOURCES)
        raise errors.UserError(f"{path} has source {source!r}, not one of: {choices}")
    return _params(arrays, SOURCES[source], path)


def fetch(url: str = URL) -> pathlib.Path:
    """Downloads torchvision's weights into the cache, unless they are cached already.

    Args:
      url: of the .pth; its name ends in the first digits of its SHA-256.

    Returns:
      The cached .npz, which `load` reads.

    Raises:
      errors.UserError: PyTorch is missing, the download fails, or it is damaged.
    """
    converted = cache_dir.folder() / _CONVERTED
    if converted.exists():
        return converted
    if importlib.util.find_spec("torch") is None:
        raise errors.UserError(
            "PyTorch is needed once to read torchvision's weights: "
            "pip install 'jax_scadn[torch]'"
        )
    path = converted.with_name(url.rpartition("/")[2])
    if not path.exists():
        _download(url, path)
    arrays, source = _read(path)
    _params(arrays, SOURCES[source], path)  # raises where they are not VGG-19's
    with files.replacing(converted) as part:
        np.savez(part, source=source, **arrays)
    return converted


def _cached() -> pathlib.Path:
    for name in (_CONVERTED, URL.rpartition("/")[2]):
        if (cache_dir.folder() / name).is_file():
            return cache_dir.folder() / name
    raise errors.UserError(
        "this distance needs VGG-19's weights: download them with "
        "python -m jax_scadn.fetch_weights, or give --config.vgg_weights=FILE "
        "(.pth of torchvision, .h5 of Keras, or .npz)"
    )


def _download(url: str, target: pathlib.Path) -> None:
    with files.replacing(target) as part:
        try:
            with (
                urllib.request.urlopen(url, timeout=_TIMEOUT) as response,
                tqdm.tqdm.wrapattr(
                    response,
                    "read",
                    total=int(response.headers.get("Content-Length", 0)) or None,
                    desc=target.name,
                    disable=None,  # only shown on a terminal
                ) as counted,
                part.open("wb") as file,
            ):
                shutil.copyfileobj(counted, file)
        except (OSError, http.client.HTTPException) as error:
            raise errors.UserError(
                f"{url} cannot be downloaded ({error}); fetch it on another machine "
                f"and put it at {target}, or give --config.vgg_weights=FILE"
            ) from error
        _check_digest(part, target)


def _check_digest(file: pathlib.Path, named: pathlib.Path) -> None:
    """Compares the SHA-256 with the digits in the name, PyTorch's convention."""
    expected = re.search(r"-([0-9a-f]{8,})\.pth$", named.name)
    if expected is None:
        return
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if not digest.startswith(expected[1]):
        raise errors.UserError(
            f"{named} is damaged: its SHA-256 begins with {digest[:8]} and not with "
            f"{expected[1]}; download it again"
        )


def _read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], str]:
    """Arrays named 'conv1_1/kernel', in Flax's axis order, and their source."""
    if path.suffix == ".npz":
        arrays = state_dict.load(path, "vgg19")
        return arrays, str(arrays.pop("source", "keras"))
    if path.suffix == ".pth":
        _check_digest(path, path)
        return _from_torchvision(state_dict.load(path, "vgg19")), "torchvision"
    if path.suffix in (".h5", ".hdf5"):
        return _from_keras(path), "keras"
    raise errors.UserError(
        f"--config.vgg_weights={path}: give a .pth of torchvision, a .h5 of Keras or "
        f"an .npz"
    )


def _from_torchvision(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        f"{name}/{ours}": state_dict.to_flax(arrays[theirs])
        for name, position in zip(vgg19.CONVOLUTIONS, _TORCHVISION, strict=True)
        for ours, kind in (("kernel", "weight"), ("bias", "bias"))
        if (theirs := f"features.{position}.{kind}") in arrays
    }


def _from_keras(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        import h5py  # only needed here
    except ImportError:
        raise errors.UserError(
            f"h5py is needed to read {path}: pip install h5py"
        ) from None
    arrays = {}

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        layer = re.search(r"block(\d)_conv(\d)", name)
        if layer and isinstance(item, h5py.Dataset):
            kind = "kernel" if item.ndim == 4 else "bias"
            arrays[f"conv{layer[1]}_{layer[2]}/{kind}"] = item[()]

    try:
        with h5py.File(path) as file:
            file.visititems(collect)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise errors.UserError(f"{path} is not an HDF5 file: {reason}") from error
    return arrays


def _params(
    arrays: dict[str, np.ndarray], source: Source, path: pathlib.Path
) -> Params:
    params = {
        "mean": np.asarray(source.mean, np.float32),
        "std": np.asarray(source.std, np.float32),
    }
    inputs = 3
    for name, channels in vgg19.CONVOLUTIONS.items():
        shapes = {"kernel": (3, 3, inputs, channels), "bias": (channels,)}
        for kind, shape in shapes.items():
            array = arrays.get(f"{name}/{kind}")
            if array is None or array.shape != shape:
                problem = "is missing" if array is None else f"has shape {array.shape}"
                raise errors.UserError(
                    f"{path} is not a VGG-19 file: {name}/{kind} {problem} (expected "
                    f"{shape})"
                )
        conv = {kind: arrays[f"{name}/{kind}"].astype(np.float32) for kind in shapes}
        params[name] = {"conv": conv}
        inputs = channels
    if source.bgr:
        first = params["conv1_1"]["conv"]
        first["kernel"] = first["kernel"][:, :, ::-1]
    return params
