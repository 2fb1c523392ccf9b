"""Impressions of all training images: made once by stage 1, kept on disk for stage 2.

    <folder>/impressions.npy  (n, size, size, channels) uint16, round(65535 * value)
    <folder>/origin.json      what they were made from; written last

A folder without `origin.json` is not finished and is made again.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jax_scadn.data import pipeline, records
from jax_scadn.runtime import distributed, errors, files

FOLDER = "impressions"  # in the work directory

_VALUES = "impressions.npy"
_ORIGIN = "origin.json"
_LEVELS = 65535


class Impressions(Sequence):
    """Training images beside their impressions, with random access.

    Args:
      images: (size, size, channels) each, uint8 or uint16.
      impressions_nhwc: uint16, in the same order; may be mapped from a file.
    """

    def __init__(self, images: records.Split, impressions_nhwc: np.ndarray):
        if len(images) != len(impressions_nhwc):
            raise ValueError(f"{len(images)} images != {len(impressions_nhwc)}")
        self._images = images
        self._impressions = impressions_nhwc

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """{'image', 'impression'}, both (size, size, channels)."""
        return {
            "image": self._images[index].image,
            "impression": np.array(self._impressions[index]),
        }


def load_or_create(
    folder: pathlib.Path,
    images: records.Split,
    weights: Any,
    extract: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
    dependent_dir: pathlib.Path,
) -> Impressions:
    """The impressions in the folder; makes them where there are none.

    Args:
      folder: where they are kept.
      images: the training images.
      weights: those that `extract` works with.
      extract: the images of a batch, of which each process has its rows, uint8 or
        uint16, to impressions (batch_size, H, W, C), float in [0, 1].
      batch_size: images in a call of `extract`.
      dependent_dir: folder that a user who makes them again has to delete, too.

    Raises:
      errors.UserError: the folder holds impressions by other weights, or of other
        images.
    """
    origin = {
        "weights_sha256": weights_sha256(weights),
        "images_sha256": images_sha256(images),
    }
    if not distributed.broadcast_from_primary((folder / _ORIGIN).exists()):
        _make(folder, images, extract, batch_size)
        if distributed.is_primary():
            files.write_text(folder / _ORIGIN, json.dumps(origin, indent=2) + "\n")
        distributed.barrier()
    remedy = f"delete it and {dependent_dir} to make both again"
    try:
        found = json.loads((folder / _ORIGIN).read_text())
        if found["weights_sha256"] != origin["weights_sha256"]:
            raise errors.UserError(
                f"{folder} was made with other stage-1 weights: {remedy}"
            )
        if found["images_sha256"] != origin["images_sha256"]:
            raise errors.UserError(f"{folder} was made from other images: {remedy}")
        values = np.load(folder / _VALUES, mmap_mode="r")
        return Impressions(images, values)
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise errors.UserError(
            f"{folder} cannot be read as impressions ({error}): {remedy}"
        ) from error


def weights_sha256(weights: Any) -> str:
    """Of names, types, shapes and bytes of a tree's arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(weights)):
        digest.update(jax.tree_util.keystr(path).encode())
        _update(digest, leaf)
    return digest.hexdigest()


def images_sha256(images: records.Split) -> str:
    """Of types, shapes and bytes of the decoded images, in their order."""
    digest = hashlib.sha256()
    for record in images:
        _update(digest, record.image)
    return digest.hexdigest()


def _update(digest, array: np.ndarray) -> None:
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array))


def _make(folder: pathlib.Path, images: records.Split, extract, batch_size) -> None:
    print(f"writing the impressions of {len(images)} images to {folder}")
    batches = pipeline.padded_batches(images, batch_size)
    if not distributed.is_primary():
        for batch in batches:
            extract(batch["image"])
        return
    with files.replacing(folder / _VALUES) as part:
        values = np.lib.format.open_memmap(
            part, "w+", np.uint16, (len(images), *images[0].image.shape)
        )
        for batch in batches:
            impressions = np.asarray(extract(batch["image"]))
            # Padding repeats the last image: it writes the same values once more.
            values[batch["index"]] = np.round(_LEVELS * impressions)
        values.flush()
