"""Directories of image files: the MVTec AD layout, and plain directories.

The layout, which LaceAD also follows:

    <category>/train/good/*.png
    <category>/test/good/*.png  <category>/test/<defect>/*.png
    <category>/ground_truth/<defect>/*_mask.png
"""

from __future__ import annotations

import functools
import pathlib

from jax_scadn.data import images, records
from jax_scadn.runtime import errors

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")  # in any case
WHERE_TO_GET = (
    "MVTec AD is at https://www.mvtec.com/company/research/datasets/mvtec-ad, "
    "LaceAD is available from the authors of SCADN"
)
MASK_SUFFIX = "_mask"
TRAIN_GOOD = pathlib.PurePath("train", records.GOOD)

_Key = tuple[str, str]  # directory relative to its split, and stem


def find_images(folder: pathlib.Path, recursive: bool = True) -> list[pathlib.Path]:
    """Image files by their suffix, sorted by name; other files are ignored.

    So are files whose name starts with a dot, which macOS writes for each file.
    """
    paths = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_ENDINGS
        and not path.name.startswith(".")
        and path.is_file()
    )


def categories(path: str) -> tuple[str, ...]:
    """Names of the categories in `path`, sorted; ('',) if it is a category itself.

    Raises:
      errors.UserError: no path, not a directory, or no category in it.
    """
    layout = f"a directory in the MVTec AD layout ({WHERE_TO_GET})"
    root = _existing(path, "path", layout)
    if (root / TRAIN_GOOD).is_dir():
        return ("",)
    names = sorted(
        folder.name for folder in root.iterdir() if (folder / TRAIN_GOOD).is_dir()
    )
    if not names:
        raise errors.UserError(
            f"{root} contains no category, a directory with {TRAIN_GOOD} in it: point "
            f"--config.data.path to data in the MVTec AD layout ({WHERE_TO_GET})"
        )
    return tuple(names)


def locate(path: str, category: str) -> pathlib.Path:
    """The directory of a category; '' selects the only one.

    Raises:
      errors.UserError: as `categories`, an unknown category, or several for ''.
    """
    names = categories(path)
    root = pathlib.Path(path).expanduser()
    if names == ("",) and category in ("", root.absolute().name):
        return root
    if category in names:
        return root / category
    if not category and len(names) == 1:
        return root / names[0]
    known = ", ".join(names) if names != ("",) else root.absolute().name
    problem = f"has no category {category!r}" if category else "has several categories"
    raise errors.UserError(
        f"{root} {problem}: set --config.data.category to one of: {known}"
    )


def items(
    category: pathlib.Path, size: int, channels: int
) -> tuple[list[records.Item], list[records.Item], tuple[str, ...]]:
    """Lists the images of one category in the MVTec AD layout, and their masks.

    A mask belongs to the image with the same relative directory and stem:
    `test/hole/a/7.JPG` and `ground_truth/hole/a/7_mask.png` (or `a/7.png`).

    Args:
      category: the directory that contains `train` and `test`.
      size, channels: see `images.read`.

    Returns:
      (training items, test items, masks without an image), each sorted.

    Raises:
      errors.UserError: no images in `train/good`.
    """
    train = find_images(category / TRAIN_GOOD)
    if not train:
        raise errors.UserError(
            f"{category / TRAIN_GOOD} contains no images "
            f"({' '.join(ending[1:] for ending in IMAGE_ENDINGS)}): put normal images "
            f"there or change --config.data.path or --config.data.category"
        )
    truth = category / "ground_truth"
    masks = {_key(path, truth): path for path in reversed(find_images(truth))}
    test = find_images(category / "test")
    keys = [_key(path, category / "test") for path in test]
    test_items = []
    for path, (folder, stem) in zip(test, keys, strict=True):
        if folder == ".":  # not in a directory that names its defect
            continue
        mask = masks.get((folder, stem + MASK_SUFFIX), masks.get((folder, stem)))
        defect = pathlib.PurePath(folder).parts[0]
        test_items.append(_item(path, defect, size, channels, mask))
    unpaired = sorted(
        str(path)
        for (folder, stem), path in masks.items()
        if not {(folder, stem), (folder, stem.removesuffix(MASK_SUFFIX))} & set(keys)
    )
    train_items = [_item(path, records.GOOD, size, channels) for path in train]
    return train_items, test_items, tuple(unpaired)


def plain_items(
    path: str, test_path: str, size: int, channels: int
) -> tuple[list[records.Item], list[records.Item]]:
    """Lists the images of plain directories.

    Args:
      path: directory of good images; subdirectories are ignored, since they may
        contain other images.
      test_path: '' or a directory of test images. Subdirectories name the defect,
        `good` the normal images. Images directly in it are anomalous, with its name
        as their defect, unless that name is `good`.
      size, channels: see `images.read`.

    Returns:
      (training items, test items), each sorted; there are no masks.

    Raises:
      errors.UserError: a directory is missing or contains no images.
    """
    good = _existing(path, "path", "a directory of good images")
    train = find_images(good, recursive=False)
    if not train:
        raise errors.UserError(
            f"{good} contains no images directly in it: point --config.data.path to "
            f"the directory of good images itself, or set --config.data.source=folder "
            f"for the MVTec AD layout"
        )
    train_items = [_item(file, records.GOOD, size, channels) for file in train]
    if not test_path:
        return train_items, []
    folder = _existing(test_path, "test_path", "a directory of test images, or to ''")
    test_items = []
    for file in find_images(folder):
        parts = file.relative_to(folder).parts
        defect = parts[0] if len(parts) > 1 else folder.absolute().name
        test_items.append(_item(file, defect, size, channels))
    if not test_items:
        raise errors.UserError(
            f"{folder} contains no images: set --config.data.test_path to test images "
            f"or leave it empty"
        )
    return train_items, test_items


def _item(
    path: pathlib.Path,
    defect: str,
    size: int,
    channels: int,
    mask: pathlib.Path | None = None,
) -> records.Item:
    normal = defect == records.GOOD
    if normal:
        mask = None  # normal images have no anomalous pixels
    return records.Item(
        path=str(path),
        label=records.NORMAL if normal else records.ANOMALOUS,
        defect=defect,
        read_image=functools.partial(images.read, path, size, channels),
        read_mask=functools.partial(images.read_mask, mask, size) if mask else None,
        mask_path=str(mask) if mask else None,
    )


def _key(path: pathlib.Path, root: pathlib.Path) -> _Key:
    relative = path.relative_to(root)
    return str(relative.parent), relative.stem


def _existing(path: str, setting: str, what: str) -> pathlib.Path:
    if not path:
        raise errors.UserError(f"--config.data.{setting} is empty: set it to {what}")
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        raise errors.UserError(
            f"{folder} is not a directory: set --config.data.{setting} to {what}"
        )
    return folder
