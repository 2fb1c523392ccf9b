"""Labelled image data sets, read from their distributed files (not downloaded).

MNIST and Fashion-MNIST as idx files, CIFAR-10 as Python or binary batches or as JPEG
bytes in .npz, all three as prepared by TFDS, and scikit-learn's digits.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import itertools
import pathlib
import pickle
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from jax_scadn.runtime import errors

_NUMERALS = tuple("0123456789")
CLASSES = {
    "mnist": _NUMERALS,
    "digits": _NUMERALS,
    "fashion_mnist": (
        "T-shirt", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer",
        "dog", "frog", "horse", "ship", "truck",
    ),
}  # fmt: skip
_TFDS = ("mnist", "fashion_mnist", "cifar10")

_IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_CIFAR_HINT = (
    "set --config.data.path to the directory cifar-10-batches-py or "
    "cifar-10-batches-bin (from https://www.cs.toronto.edu/~kriz/cifar.html), or to "
    "its parent"
)
_CIFAR_SHAPE = (3, 32, 32)
_DIGITS_TRAIN = (
    1200  # the first of 1797, in scikit-learn's order; the rest are the test
)


@dataclasses.dataclass(frozen=True)
class Part:
    """One split.

    Attributes:
      images: arrays as in `images.from_array`, or the bytes of image files.
      labels: (n,) class indices.
    """

    images: Sequence[np.ndarray] | Sequence[bytes]
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A data set whose images have classes, with its original splits."""

    name: str
    classes: tuple[str, ...]
    train: Part
    test: Part


def name(source: str, path: str, dataset: str) -> str:
    """The key of `CLASSES` for the settings `config.data.*`.

    The idx files of MNIST and Fashion-MNIST have the same names: `dataset`
    distinguishes them, or else the word 'fashion' in the last part of the path.

    Raises:
      errors.UserError: unknown data set.
    """
    if source in ("digits", "cifar10"):
        return source
    if source == "idx":
        hint = dataset or pathlib.Path(path).expanduser().resolve().name
        return "fashion_mnist" if "fashion" in hint.lower() else "mnist"
    if dataset in _TFDS:
        return dataset
    raise errors.UserError(
        f"--config.data.dataset={dataset} must be one of: {', '.join(_TFDS)}"
    )


def source(title: str, path: pathlib.Path) -> str | None:
    """The `config.data.source` that reads a data set from a folder; None if none does.

    Args:
      title: a key of `CLASSES`.
      path: a folder.
    """
    if any(path.glob(f"{title}/*/dataset_info.json")):
        return "tfds"
    if title == "cifar10":
        return title if _cifar10_files(path) else None
    files = itertools.chain(*_IDX_FILES.values())
    there = all((path / f).is_file() or (path / f"{f}.gz").is_file() for f in files)
    return "idx" if there and name("idx", str(path), "") == title else None


def load(source: str, path: str, dataset: str) -> Labelled:
    """Reads the data set of `config.data.source`, `.path` and `.dataset`.

    Raises:
      errors.UserError: it is missing, incomplete or damaged.
    """
    title = name(source, path, dataset)
    if source == "digits":
        train, test = _digits()
    elif source == "idx":
        train, test = (_idx(path, split) for split in ("train", "test"))
    elif source == "cifar10":
        train, test = _cifar10(path)
    else:
        train, test = (_tfds(title, path, split) for split in ("train", "test"))
    classes = CLASSES[title]
    for part in (train, test):
        labels = np.asarray(part.labels)
        if len(part.images) != len(labels) or not (labels < len(classes)).all():
            raise errors.UserError(
                f"{path}: {len(part.images)} images and {len(labels)} labels up to "
                f"{labels.max(initial=0)} are not {title}; set --config.data.path to it"
            )
    return Labelled(title, classes, train, test)


def _digits() -> tuple[Part, Part]:
    from sklearn import datasets  # slow to import, and only needed here

    digits = datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    train, test = slice(_DIGITS_TRAIN), slice(_DIGITS_TRAIN, None)
    return (
        Part(images[train], digits.target[train]),
        Part(images[test], digits.target[test]),
    )


def _idx(path: str, split: str) -> Part:
    return Part(*(_read_idx(path, file) for file in _IDX_FILES[split]))


def _read_idx(path: str, name: str) -> np.ndarray:
    """Reads an idx file of bytes: 0, 0, type 8, rank, big-endian sizes, values."""
    folder = pathlib.Path(path).expanduser()
    file = folder / f"{name}.gz"
    if (folder / name).is_file():  # unpacked
        file = folder / name
    if not path or not file.is_file():
        raise errors.UserError(
            f"{file.name} is not in --config.data.path={path}: set it to a directory "
            f"with the four idx .gz files of MNIST (http://yann.lecun.com/exdb/mnist) "
            f"or Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist)"
        )
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        magic, kind, rank = struct.unpack(">HBB", data[:4])
        if (magic, kind) != (0, 8):
            raise ValueError("not an idx file of bytes")
        shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
        return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise errors.UserError(
            f"{file} is damaged ({error}): download it again"
        ) from error


def _cifar10(path: str) -> tuple[Part, Part]:
    root = pathlib.Path(path).expanduser()
    if not path or not root.is_dir():
        raise errors.UserError(
            f"--config.data.path={path} is not a directory: {_CIFAR_HINT}"
        )
    if (existing := _cifar10_files(root)) is None:
        raise errors.UserError(
            f"{root} contains no CIFAR-10 in a known format: {_CIFAR_HINT}"
        )
    files, read = existing
    # Damaged pickles and archives raise nearly any kind of exception.
    try:
        return read(files[:-1]), read(files[-1:])
    except Exception as error:
        raise errors.UserError(
            f"the CIFAR-10 files in {files[0].parent} are damaged or not genuine "
            f"({error}): download them again"
        ) from error


def _cifar10_files(root: pathlib.Path):
    """The files of CIFAR-10, the test split's last, and what reads them; or None."""
    batches = [f"data_batch_{number}" for number in range(1, 6)]
    formats = (
        (batches, "test_batch", _read_python_batches),
        ([f"{batch}.bin" for batch in batches], "test_batch.bin", _read_binary_batches),
        (["train.npz"], "test.npz", _read_jpegs),
    )
    for folder in (root, root / "cifar-10-batches-py", root / "cifar-10-batches-bin"):
        for train, test, read in formats:
            files = [folder / file for file in (*train, test)]
            if all(file.is_file() for file in files):
                return files, read
    return None


class _ArraysOnly(pickle.Unpickler):
    """Unpickles built-in values and NumPy arrays only; other types could run code."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ):
            return np.empty(0).__reduce__()[0]  # avoids the private module
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")


def _read_python_batches(files: Sequence[pathlib.Path]) -> Part:
    batches = [
        _ArraysOnly(io.BytesIO(file.read_bytes()), encoding="bytes").load()
        for file in files
    ]
    planes = np.concatenate([batch[b"data"] for batch in batches])
    return _from_planes(planes, np.concatenate([batch[b"labels"] for batch in batches]))


def _read_binary_batches(files: Sequence[pathlib.Path]) -> Part:
    data = np.frombuffer(b"".join(file.read_bytes() for file in files), np.uint8)
    rows = data.reshape(-1, 1 + int(np.prod(_CIFAR_SHAPE)))
    return _from_planes(rows[:, 1:], rows[:, 0])


def _from_planes(planes: np.ndarray, labels: np.ndarray) -> Part:
    return Part(planes.reshape(-1, *_CIFAR_SHAPE).transpose(0, 2, 3, 1), labels)


def _read_jpegs(files: Sequence[pathlib.Path]) -> Part:
    """Files with `jpeg` (all bytes in a row), `offsets` (n + 1) and `labels` (n)."""
    with np.load(files[0], allow_pickle=False) as arrays:
        data, offsets = arrays["jpeg"].tobytes(), arrays["offsets"].tolist()
        jpegs = [data[a:b] for a, b in itertools.pairwise(offsets)]
        return Part(jpegs, arrays["labels"])


def _tfds(name: str, path: str, split: str) -> Part:
    # Imported here: it is slow, and only this source needs it.
    import tensorflow_datasets as tfds

    argument = f", data_dir={path!r}" if path else ""
    try:
        source = tfds.data_source(
            name,
            split=split,
            data_dir=path or None,
            download=False,
            decoders={"image": tfds.decode.SkipDecoding()},
        )
    # The exception for missing data depends on what else is installed.
    except Exception as error:
        raise errors.UserError(
            f"TFDS has no prepared {name} ({type(error).__name__}): with TensorFlow "
            f"installed, run tfds.builder({name!r}, "
            f"file_format='array_record'{argument}).download_and_prepare() and set "
            f"--config.data.path to its data_dir, or read local files with "
            f"--config.data.source={'cifar10' if name == 'cifar10' else 'idx'} "
            f"--config.data.path=FOLDER"
        ) from error
    examples = [source[index] for index in range(len(source))]
    return Part(
        [example["image"] for example in examples],
        np.array([example["label"] for example in examples]),
    )
