"""Folders of image files: the MVTec AD layout, and folders without a layout.

The layout, which LaceAD follows too:

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
    "LaceAD is given out by the authors of SCADN"
)
MASK_SUFFIX = "_mask"
TRAIN_GOOD = pathlib.PurePath("train", records.GOOD)

_Key = tuple[str, str]  # folder below its split, and stem


def find_images(folder: pathlib.Path, recursive: bool = True) -> list[pathlib.Path]:
    """Image files by their ending, sorted by name; everything else is passed over.

    Files whose name starts with a dot are no images: macOS writes such beside each.
    """
    found = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path
        for path in found
        if path.suffix.lower() in IMAGE_ENDINGS
        and not path.name.startswith(".")
        and path.is_file()
    )


def categories(path: str) -> tuple[str, ...]:
    """Names of the categories below `path`, sorted; ('',) if it is one itself.

    Raises:
      errors.UserError: no path, no such folder, or no category in it.
    """
    root = _existing(path, "path", f"a folder in the MVTec AD layout ({WHERE_TO_GET})")
    if (root / TRAIN_GOOD).is_dir():
        return ("",)
    found = sorted(
        folder.name for folder in root.iterdir() if (folder / TRAIN_GOOD).is_dir()
    )
    if not found:
        raise errors.UserError(
            f"{root} holds no category, a folder with {TRAIN_GOOD} in it: point "
            f"--config.data.path to data in the MVTec AD layout ({WHERE_TO_GET})"
        )
    return tuple(found)


def locate(path: str, category: str) -> pathlib.Path:
    """The folder of a category; '' is the one that is there, if there is only one.

    Raises:
      errors.UserError: as `categories`, or no such category, or several for ''.
    """
    found = categories(path)
    root = pathlib.Path(path).expanduser()
    if found == ("",) and category in ("", root.absolute().name):
        return root
    if category in found:
        return root / category
    if not category and len(found) == 1:
        return root / found[0]
    known = ", ".join(found) if found != ("",) else root.absolute().name
    problem = f"holds no category {category!r}" if category else "holds several"
    raise errors.UserError(
        f"{root} {problem}: set --config.data.category to one of: {known}"
    )


def items(
    category: pathlib.Path, size: int, channels: int
) -> tuple[list[records.Item], list[records.Item], tuple[str, ...]]:
    """Lists the images of one category in the MVTec AD layout, and their masks.

    A mask belongs to the image at the same place below its folder with the same stem:
    `test/hole/a/7.JPG` and `ground_truth/hole/a/7_mask.png` (or `a/7.png`).

    Args:
      category: the folder that holds `train` and `test`.
      size, channels: see `images.read`.

    Returns:
      (training items, test items, masks that belong to no image), each sorted.

    Raises:
      errors.UserError: no images in `train/good`.
    """
    train = find_images(category / TRAIN_GOOD)
    if not train:
        raise errors.UserError(
            f"{category / TRAIN_GOOD} holds no images "
            f"({' '.join(ending[1:] for ending in IMAGE_ENDINGS)}): put normal images "
            f"there or change --config.data.path or --config.data.category"
        )
    truth = category / "ground_truth"
    masks = {_key(path, truth): path for path in reversed(find_images(truth))}
    tested = find_images(category / "test")
    keys = [_key(path, category / "test") for path in tested]
    test_items = []
    for path, (folder, stem) in zip(tested, keys, strict=True):
        if folder == ".":  # in no defect's folder, so nobody knows what it is
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
    """Lists images of folders without a layout.

    Args:
      path: folder of good images; its sub-folders are passed over, since nobody knows
        whether they are good.
      test_path: '' or a folder of test images. Sub-folders name the defect, `good` the
        normal ones. Images directly in it count as anomalous, with the folder's name
        as their defect, unless that name is `good`.
      size, channels: see `images.read`.

    Returns:
      (training items, test items), each sorted; there are no masks.

    Raises:
      errors.UserError: a folder is missing or holds no images.
    """
    good = _existing(path, "path", "a folder of good images")
    train = find_images(good, recursive=False)
    if not train:
        raise errors.UserError(
            f"{good} holds no images directly in it: point --config.data.path to the "
            f"folder of good images itself, or set --config.data.source=folder for "
            f"the MVTec AD layout"
        )
    train_items = [_item(file, records.GOOD, size, channels) for file in train]
    if not test_path:
        return train_items, []
    folder = _existing(test_path, "test_path", "a folder of test images, or nothing")
    test_items = []
    for file in find_images(folder):
        parts = file.relative_to(folder).parts
        defect = parts[0] if len(parts) > 1 else folder.absolute().name
        test_items.append(_item(file, defect, size, channels))
    if not test_items:
        raise errors.UserError(
            f"{folder} holds no images: point --config.data.test_path to test images "
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
        mask = None  # a normal image has nothing to mark
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
            f"{folder} is no folder: set --config.data.{setting} to {what}"
        )
    return folder
