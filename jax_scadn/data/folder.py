"""Directories of image files: the MVTec AD layout, and plain directories.

The layout, which LaceAD also follows:

    <category>/train/good/*.png
    <category>/test/good/*.png  <category>/test/<defect>/*.png
    <category>/ground_truth/<defect>/*_mask.png
"""

from __future__ import annotations

import collections
import functools
import pathlib
from typing import NamedTuple

from jax_scadn.data import images, records, walk
from jax_scadn.runtime import errors

WHERE_TO_GET = (
    "MVTec AD is at https://www.mvtec.com/company/research/datasets/mvtec-ad, "
    "LaceAD is available from the authors of SCADN"
)
MASK_SUFFIX = "_mask"
TRAIN_GOOD = pathlib.PurePath("train", records.GOOD)
# Names of folders of normal images, in any case and between spaces.
_NORMAL = (records.GOOD, "ok", "normal")

_Key = tuple[str, str]  # directory relative to its split, and stem


class Listing(NamedTuple):
    """The images of a category, not read yet.

    Attributes:
      train: items of `train/good`, sorted.
      test: items, sorted.
      unpaired_masks: files without an image.
      notes: a line for each thing that was not taken as it lies there.
    """

    train: list[records.Item]
    test: list[records.Item]
    unpaired_masks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def is_normal(name: str) -> bool:
    """Whether a folder of that name has normal images: 'good', 'OK', 'Normal'."""
    return name.strip().casefold() in _NORMAL


def incomplete(path: str) -> list[str]:
    """Names of folders with test images but without normal ones to train on."""
    root = pathlib.Path(path).expanduser()
    return sorted(
        folder.name
        for folder in root.iterdir()
        if not walk.is_hidden(folder.name)
        and ((folder / "train").is_dir() or (folder / "test").is_dir())
        and _train_good(folder) is None
    )


def _train_good(category: pathlib.Path) -> pathlib.Path | None:
    """The folder of normal training images of a category."""
    if (category / TRAIN_GOOD).is_dir():
        return category / TRAIN_GOOD
    train = category / TRAIN_GOOD.parent
    folders = sorted(train.iterdir()) if train.is_dir() else []
    return next((f for f in folders if is_normal(f.name) and f.is_dir()), None)


def categories(path: str) -> tuple[str, ...]:
    """Names of the categories in `path`, sorted; ('',) if it is a category itself.

    Raises:
      errors.UserError: no path, not a directory, or no category in it.
    """
    layout = f"a directory in the MVTec AD layout ({WHERE_TO_GET})"
    root = _existing(path, "path", layout)
    if _train_good(root):
        return ("",)
    names = sorted(
        folder.name
        for folder in root.iterdir()
        if not walk.is_hidden(folder.name) and _train_good(folder)
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


def items(category: pathlib.Path, size: int, channels: int, **reading) -> Listing:
    """Lists the images of one category in the MVTec AD layout, and their masks.

    A mask belongs to the image with the same relative directory and stem:
    `test/hole/a/7.JPG` and `ground_truth/hole/a/7_mask.png` (or `a/7.png`).

    Args:
      category: the directory that contains `train` and `test`.
      size, channels, **reading: arguments of `images.read`.

    Raises:
      errors.UserError: no images in `train/good`.
    """
    good = _train_good(category) or category / TRAIN_GOOD
    notes = _Notes()
    train = notes.images(good)
    if not train:
        raise errors.UserError(
            f"{good} contains no images (png, jpg, tiff, ...): put normal images there "
            "or change --config.data.path or --config.data.category"
        )
    truth, tests = category / "ground_truth", category / "test"
    masks = {_key(path, truth): path for path in reversed(notes.images(truth))}
    masks = {(folder, _without_case(stem)): p for (folder, stem), p in masks.items()}
    item = functools.partial(_item, size=size, channels=channels, **reading)
    test_items, used = [], collections.Counter()
    test = notes.images(tests)
    for path in test:
        folder, stem = _key(path, tests)
        if folder == ".":
            continue
        mask = masks.get((folder, stem + MASK_SUFFIX), masks.get((folder, stem)))
        test_items.append(item(path, pathlib.PurePath(folder).parts[0], mask=mask))
        used[test_items[-1].mask_path] += 1
    notes.direct(tests, [path for path in test if path.parent == tests])
    notes.normal({one.path: one.label for one in test_items}, good, tests)
    for mask, count in used.items():
        if mask and count > 1:
            notes.add(f"{mask} belongs to {count} images of the same name")
    keys = {_key(path, tests) for path in test}
    unpaired = sorted(
        str(path)
        for (folder, stem), path in masks.items()
        if not {(folder, stem), (folder, stem.removesuffix(MASK_SUFFIX))} & keys
    )
    train_items = [item(path, records.GOOD) for path in train]
    return Listing(train_items, test_items, tuple(unpaired), notes.lines)


class _Notes:
    """Collects what is worth a line while folders are listed."""

    def __init__(self):
        self._lines: list[str] = []

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)

    def add(self, line: str) -> None:
        self._lines.append(line)

    def images(self, folder: pathlib.Path, recursive: bool = True):
        """The images of a folder, none if it does not exist; notes the rest."""
        if not folder.is_dir():
            return []
        found = walk.walk(folder, recursive)
        if line := walk.note(found.passed_over, folder):
            self.add(line)
        return found.images

    def direct(self, folder: pathlib.Path, images: list[pathlib.Path]) -> None:
        if images:
            self.add(
                f"{len(images)} images directly in {folder} are not taken: no folder "
                f"names their defect ({images[0].name}, ...)"
            )

    def normal(self, labels: dict[str, int], good: pathlib.Path, tests) -> None:
        """Notes folders that are taken as normal although they have another name."""
        folders = {
            tests / pathlib.Path(path).relative_to(tests).parts[0]
            for path, label in labels.items()
            if label == records.NORMAL
        }
        for folder in sorted({good, *folders}):
            if folder.name != records.GOOD:
                self.add(f"{folder} is taken as normal images")


def plain_items(
    path: str, test_path: str, size: int, channels: int, **reading
) -> Listing:
    """Lists the images of plain directories.

    Args:
      path: directory of good images; subdirectories are ignored, since they may
        contain other images.
      test_path: '' or a directory of test images. Subdirectories name the defect,
        `good` the normal images. Images directly in it are anomalous, with its name
        as their defect, unless that name is `good`.
      size, channels, **reading: arguments of `images.read`.

    Raises:
      errors.UserError: a directory is missing or contains no images.
    """
    good = _existing(path, "path", "a directory of good images")
    notes = _Notes()
    train = notes.images(good, recursive=False)
    if not train:
        raise errors.UserError(
            f"{good} contains no images directly in it: point --config.data.path to "
            f"the directory of good images itself, or set --config.data.source=folder "
            f"for the MVTec AD layout"
        )
    item = functools.partial(_item, size=size, channels=channels, **reading)
    train_items = [item(file, records.GOOD) for file in train]
    if not test_path:
        return Listing(train_items, [], notes=notes.lines)
    folder = _existing(test_path, "test_path", "a directory of test images, or to ''")
    test_items = []
    for file in notes.images(folder):
        parts = file.relative_to(folder).parts
        defect = parts[0] if len(parts) > 1 else folder.absolute().name
        test_items.append(item(file, defect))
    if not test_items:
        raise errors.UserError(
            f"{folder} contains no images: set --config.data.test_path to test images "
            f"or leave it empty"
        )
    return Listing(train_items, test_items, notes=notes.lines)


def _item(
    path: pathlib.Path,
    defect: str,
    size: int,
    channels: int,
    mask: pathlib.Path | None = None,
    fit: str = "crop",
    **reading,
) -> records.Item:
    normal = is_normal(defect)
    if normal:
        defect = records.GOOD
        mask = None  # normal images have no anomalous pixels
    return records.Item(
        path=str(path),
        label=records.NORMAL if normal else records.ANOMALOUS,
        defect=defect,
        read_image=functools.partial(
            images.read, path, size, channels, fit=fit, **reading
        ),
        read_mask=functools.partial(images.read_mask, mask, size, fit)
        if mask
        else None,
        mask_path=str(mask) if mask else None,
    )


def _key(path: pathlib.Path, root: pathlib.Path) -> _Key:
    relative = path.relative_to(root)
    return str(relative.parent), relative.stem


def _without_case(stem: str) -> str:
    """The stem of a mask with the usual suffix, whatever its case."""
    if stem.lower().endswith(MASK_SUFFIX):
        return stem[: -len(MASK_SUFFIX)] + MASK_SUFFIX
    return stem


def _existing(path: str, setting: str, what: str) -> pathlib.Path:
    if not path:
        raise errors.UserError(f"--config.data.{setting} is empty: set it to {what}")
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        raise errors.UserError(
            f"{folder} is not a directory: set --config.data.{setting} to {what}"
        )
    return folder
