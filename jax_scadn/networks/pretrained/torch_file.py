"""PyTorch state dicts, read without PyTorch: .pth of both kinds, and .safetensors.

A .pth is a pickle, which may call any function there is as it is read. Here it may name
ordered dicts, tensors and the types of their numbers, for which placeholders that do
nothing take their place; a file that names anything else is refused.
"""

from __future__ import annotations

import collections
import io
import json
import math
import pathlib
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

from jax_scadn.runtime import errors

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")

_STORAGES = {
    "DoubleStorage": np.dtype("float64"),
    "FloatStorage": np.dtype("float32"),
    "HalfStorage": np.dtype("float16"),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype("int64"),
    "IntStorage": np.dtype("int32"),
    "ShortStorage": np.dtype("int16"),
    "CharStorage": np.dtype("int8"),
    "ByteStorage": np.dtype("uint8"),
    "BoolStorage": np.dtype("bool"),
}
_SAFETENSORS = {
    "F64": np.dtype("float64"),
    "F32": np.dtype("float32"),
    "F16": np.dtype("float16"),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype("int64"),
    "I32": np.dtype("int32"),
    "I16": np.dtype("int16"),
    "I8": np.dtype("int8"),
    "U8": np.dtype("uint8"),
    "BOOL": np.dtype("bool"),
}
# The first two pickles of a file from before PyTorch 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

# Far more than a state dict refers back to; pickle asks for memory by the number.
_MOST_REFERENCES = 10**6
# Under which checkpoints keep the state dict, if they contain more than that.
_INSIDE = ("state_dict", "model")


class _BadFileError(Exception):
    """The file is damaged or something else; the message says in what."""


class _RefusedError(Exception):
    """The pickle names what no state dict needs; the message is that name."""


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    count: int


class _Tensor(NamedTuple):
    """Where an array lies in a storage; offset and strides in numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, raw: bytes) -> np.ndarray:
        """The array, which NumPy checks to lie within `raw`."""
        size = self.storage.dtype.itemsize
        return np.ndarray(
            self.shape,
            self.storage.dtype.newbyteorder("<"),
            raw,
            self.offset * size,
            tuple(stride * size for stride in self.strides),
        )


def load(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict, by their names in PyTorch.

    Args:
      path: of a .safetensors file, or of a .pth, .pt or .bin from any `torch.save`
        since PyTorch 0.4. Where that is a checkpoint, its entry `state_dict` or
        `model` is taken, and what is no tensor is left out.

    Returns:
      Read-only arrays; bfloat16 is ml_dtypes'.

    Raises:
      errors.UserError: no such file, a pickle that names anything but arrays, or
        another content.
    """
    path = pathlib.Path(path)
    read = _read_safetensors if path.suffix == ".safetensors" else _read_pth
    try:
        with path.open("rb") as file:
            return read(file)
    except FileNotFoundError:
        raise errors.UserError(f"{path} does not exist") from None
    except _RefusedError as error:
        raise errors.UserError(
            f"{path} is not read, as its pickle names {error}, which no state dict "
            "needs and which may run code: save the plain state_dict() of the network"
        ) from None
    except Exception as error:  # unpickling damaged files raises nearly anything
        reason = " ".join(f"{error or type(error).__name__}".split())[:200]
        raise errors.UserError(
            f"{path} is damaged, or not a PyTorch state dict: {reason}"
        ) from error


def _read_pth(file: BinaryIO) -> dict[str, np.ndarray]:
    is_zip = file.read(4) == b"PK\x03\x04"
    file.seek(0)
    return _read_zip(file) if is_zip else _read_legacy(io.BytesIO(file.read()))


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _BadFileError(f"it has {len(pickles)} entries data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            _check_little(archive.read(f"{folder}byteorder") == b"little")
        tensors = _tensors(_next_pickle(io.BytesIO(archive.read(pickles[0]))).load())
        keys = {tensor.storage.key for tensor in tensors.values()}
        raw = {key: archive.read(f"{folder}data/{key}") for key in keys}
    return {name: x.view(raw[x.storage.key]) for name, x in tensors.items()}


def _read_legacy(file: io.BytesIO) -> dict[str, np.ndarray]:
    """Five pickles after each other, and then the storages: count and numbers."""
    if _next_pickle(file).load() != _LEGACY_MAGIC:
        raise _BadFileError("it does not begin as torch.save does")
    if _next_pickle(file).load() != _LEGACY_PROTOCOL:
        raise _BadFileError("it is of another version")
    _check_little(_next_pickle(file).load()["little_endian"])
    unpickler = _next_pickle(file)
    tensors = _tensors(unpickler.load())
    raw = {}
    for key in _next_pickle(file).load():
        storage = unpickler.storages[key]
        if int.from_bytes(_exactly(file, 8), "little") != storage.count:
            raise _BadFileError(f"storage {key} has another size than its tensor")
        raw[key] = _exactly(file, storage.count * storage.dtype.itemsize)
    return {name: x.view(raw[x.storage.key]) for name, x in tensors.items()}


def _read_safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """Eight bytes with the header's length, the header as JSON, the numbers."""
    content = io.BytesIO(file.read())
    length = int.from_bytes(_exactly(content, 8), "little")
    header = json.loads(_exactly(content, length))
    header.pop("__metadata__", None)
    raw = content.read()
    arrays = {}
    for name, entry in header.items():
        if entry["dtype"] not in _SAFETENSORS:
            continue  # a network that needs it will miss it by its name
        dtype = _SAFETENSORS[entry["dtype"]].newbyteorder("<")
        shape, (start, stop) = tuple(entry["shape"]), entry["data_offsets"]
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise _BadFileError(f"{name} has another size than its shape {shape}")
        arrays[name] = np.ndarray(shape, dtype, raw, start)
    return arrays


def _next_pickle(content: io.BytesIO) -> _Unpickler:
    """An unpickler of the pickle that begins here; leaves `content` at its end.

    What a damaged length would make pickle allocate is seen by reading it once before.
    """
    start = content.tell()
    for opcode, argument, _ in pickletools.genops(content):
        if "PUT" in opcode.name and argument > _MOST_REFERENCES:
            raise _BadFileError(f"it refers back to object {argument}")
    stop = content.tell()
    content.seek(start)
    return _Unpickler(io.BytesIO(content.read(stop - start)))


class _Unpickler(pickle.Unpickler):
    """Reads ordered dicts and descriptions of tensors, and calls nothing of torch."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            return name  # only text: nothing can be called or changed by it
        raise _RefusedError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, count, *view = pid
        if kind != "storage" or any(part is not None for part in view):
            raise _BadFileError("it has storages of an unknown kind")
        self.storages[key] = _Storage(key, _STORAGES[storage], count)
        return self.storages[key]


def _tensor(storage, offset, shape, strides, *_) -> _Tensor:
    """Takes the place of `torch._utils._rebuild_tensor_v2`."""
    if not isinstance(storage, _Storage):
        raise _BadFileError("it has a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _tensors(loaded: Any) -> dict[str, _Tensor]:
    for key in _INSIDE:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise _BadFileError(f"it is a {type(loaded).__name__}, not a dict of tensors")
    return {name: x for name, x in loaded.items() if isinstance(x, _Tensor)}


def _check_little(is_little: bool) -> None:
    if not is_little:
        raise _BadFileError("its numbers are big-endian")


def _exactly(content: io.BytesIO, count: int) -> bytes:
    data = content.read(count)
    if len(data) != count:
        raise _BadFileError(f"it ends {count - len(data)} bytes too early")
    return data
