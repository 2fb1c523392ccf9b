"""Reads, resizes and crops images.

Images are returned as integers, uint8 or uint16 as they were stored, and `as_float`
scales them to [0, 1] on the device.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from jax_scadn.data import decoding, fitting, tiff
from jax_scadn.runtime import errors

Array = TypeVar("Array")  # a NumPy or a JAX array

# Pillow's modes of more than 8 bit; its convert("RGB") would clip them to 255.
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
WHITE = 65535  # of images of more than 8 bit
_EIGHT_TO_SIXTEEN = 257  # 255 * 257 = 65535
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as in Pillow
_MOST_CLASSES = 32  # a mask whose values are no larger numbers kinds of defects


class UnreadableImage(errors.UserError):
    """A file that is not an image or is damaged.

    Attributes:
      path: of the file, or another name of the image.
    """

    def __init__(self, path: str, reason: str):
        shown = " ".join(path.splitlines())
        super().__init__(f"{shown} cannot be read as an image: {reason}")
        self.path = path


def read(
    path: str | pathlib.Path,
    size: int,
    channels: int,
    white: int = WHITE,
    fit: str = "crop",
) -> np.ndarray:
    """Reads an image file.

    All modes of Pillow are supported. Alpha is dropped, as in PyTorch loaders:
    compositing would add a background that the camera did not see. EXIF orientation
    is applied. 16-bit grey and RGB keep their 16 bits. Of several pages or frames the
    first is read, see `pages`.

    Args:
      path: of the file.
      size: sides of the result, pixels.
      channels: 1 grey or 3 RGB.
      white: the value in files of more than 8 bit that becomes the largest one; less
        where a camera has fewer bits than its files. Floats are in [0, 1] always.
      fit: how an image becomes square, see `fitting.fit`.

    Returns:
      (size, size, channels) uint8, or uint16 for images of more than 8 bit.

    Raises:
      UnreadableImage: the file is missing, not an image, damaged, of a kind that is not
        read right, or has values above `white`.
    """
    return decode(_bytes(path), str(path), size, channels, white, fit)


def decode(
    data: bytes,
    name: str,
    size: int,
    channels: int,
    white: int = WHITE,
    fit: str = "crop",
) -> np.ndarray:
    """`read`, for the bytes of a file; `name` is its name in errors."""
    # Damaged bytes make Pillow raise nearly any kind of exception.
    try:
        image = decoding.decode(data)
        if isinstance(image, tiff.Deep):
            values = _without_alpha_channel(image.values)
            values = _scaled(values, image.white or white)
            return _finish_deep(values, size, channels, fit)
        return _from_pillow(image, size, channels, white, fit)
    except Exception as error:
        raise _unreadable(name, error) from error


def read_mask(path: str | pathlib.Path, size: int, fit: str = "crop") -> np.ndarray:
    """Reads a ground-truth mask, with the geometry of `read`, by nearest neighbour.

    What 'pad' adds is normal. A defect that is smaller than the distance of the pixels
    taken keeps those that it touches.

    Returns:
      (size, size) bool, True where anomalous, see `anomalous_pixels`.

    Raises:
      UnreadableImage: the file is missing, not an image, or damaged.
    """
    anomalous = anomalous_pixels(path)
    binary = Image.fromarray(anomalous.astype(np.uint8) * 255)
    pad = "zeros" if fit == "pad" else fit
    fitted = np.asarray(fitting.fit(binary, size, Image.Resampling.NEAREST, pad)) != 0
    if anomalous.any() and not fitted.any():
        fitted = np.asarray(fitting.fit(binary, size, Image.Resampling.BOX, pad)) != 0
    return fitted


def anomalous_pixels(path: str | pathlib.Path) -> np.ndarray:
    """The pixels of a ground-truth mask that are anomalous, in the file's own size.

    Of many grey levels, as JPEG and smoothed edges have, those from half of the
    largest. Up to 32 they are numbers of classes, and all but 0 are anomalous, as are
    all colours of a palette but black. Where only the alpha channel varies, it is the
    mask; otherwise what is transparent is normal.

    Returns:
      (height, width) bool.

    Raises:
      UnreadableImage: the file is missing, not an image, or damaged.
    """
    data = _bytes(path)
    try:
        image = decoding.decode(data)
        palette = False
        if isinstance(image, tiff.Deep):
            planes = image.values
        elif image.mode in _DEEP_MODES:
            planes = np.asarray(image)[..., None]
        else:
            palette = image.mode == "P"
            planes = np.asarray(image.convert("RGBA"))
        values = _without_alpha_channel(planes).max(axis=2)
        if planes.shape[2] in (2, 4):
            alpha = planes[..., -1]
            if values.min() == values.max() and alpha.min() < alpha.max():
                return _anomalous(alpha)
            values = np.where(alpha > 0, values, 0)
        return values > 0 if palette else _anomalous(values)
    except Exception as error:
        raise _unreadable(str(path), error) from error


def _anomalous(values: np.ndarray) -> np.ndarray:
    largest = values.max()
    if largest <= _MOST_CLASSES:
        return values > 0
    return values >= largest / 2


def dimensions(path: str | pathlib.Path) -> tuple[int, int]:
    """Width and height in pixels, as `read` uses them, from the header of the file.

    Raises:
      UnreadableImage: the file is missing or not an image.
    """
    try:
        return decoding.dimensions(path)
    except Exception as error:
        raise _unreadable(str(path), error) from error


def pages(path: str | pathlib.Path) -> int:
    """How many pages or frames a file has, from its headers; `read` reads the first.

    Raises:
      UnreadableImage: the file is missing or not an image.
    """
    try:
        return decoding.pages(path)
    except Exception as error:
        raise _unreadable(str(path), error) from error


def brightest(path: str | pathlib.Path) -> int | None:
    """The largest value of a file whose white `read` is told; None for others.

    Raises:
      UnreadableImage: the file is missing, not an image, or damaged.
    """
    data = _bytes(path)
    try:
        image = decoding.decode(data)
        if isinstance(image, tiff.Deep):
            values = _without_alpha_channel(image.values)
            told = image.white is None
        else:
            values, told = np.asarray(image), image.mode in _DEEP_MODES
        return int(values.max()) if told and values.dtype.kind in "iu" else None
    except Exception as error:
        raise _unreadable(str(path), error) from error


def allow(megapixels: int) -> None:
    """Sets how many megapixels an image file may have, in this process."""
    decoding.allow(megapixels)


def from_array(
    array: np.ndarray | Image.Image,
    size: int,
    channels: int,
    white: int = WHITE,
    fit: str = "crop",
) -> np.ndarray:
    """Resizes, crops and converts an image in memory, as `read` does.

    Args:
      array: (height, width) or (height, width, 1, 3 or 4), uint8, uint16, or float
        in [0, 1]; a fourth channel, alpha, is dropped. Or an image of Pillow, in any
        mode that `read` takes.
      size: sides of the result, pixels.
      channels: 1 grey or 3 RGB.
      white: see `read`; for uint16, and images of Pillow of more than 8 bit.
      fit: see `read`.

    Returns:
      (size, size, channels) uint8 for uint8, else uint16.

    Raises:
      errors.UserError: another shape or type, floats outside [0, 1], or values above
        `white`.
    """
    if isinstance(array, Image.Image):
        try:
            image = ImageOps.exif_transpose(array)
            return _from_pillow(image, size, channels, white, fit)
        except ValueError as error:
            raise errors.UserError(f"an image cannot be used: {error}") from error
    array = np.asarray(array)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise errors.UserError(
            f"an image must have shape (height, width) or (height, width, 1 or 3 or "
            f"4), not {array.shape}"
        )
    array = array[..., :3]
    if array.dtype == np.uint8:
        single = array.shape[2] == 1
        image = Image.fromarray(
            np.ascontiguousarray(array[..., 0] if single else array)
        )
        return _finish(image, size, channels, fit)
    if np.issubdtype(array.dtype, np.floating):
        # This form refuses NaN, too.
        if not (array.min() >= 0 and array.max() <= 1):
            raise errors.UserError(
                f"a float image must have values in [0, 1], "
                f"not in [{array.min()}, {array.max()}]"
            )
        values = array.astype(np.float32) * WHITE
        return _finish_deep(values, size, channels, fit)
    if array.dtype != np.uint16:
        raise errors.UserError(
            f"an image must be uint8, uint16 or float in [0, 1], not {array.dtype}"
        )
    try:
        return _finish_deep(_scaled(array, white), size, channels, fit)
    except ValueError as error:
        raise errors.UserError(f"an image cannot be used: {error}") from error


def as_float(images: Array) -> Array:
    """Converts to float32: uint8 / 255, uint16 / 65535, floats unscaled.

    For NumPy and JAX arrays, also under `jit`.

    Raises:
      TypeError: another type.
    """
    if images.dtype in (np.uint8, np.uint16):
        return images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max)
    if images.dtype.kind in "iub":
        raise TypeError(f"images must be uint8, uint16 or float, not {images.dtype}")
    return images.astype(np.float32)


def stack(images: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks images; among 16-bit images, 8-bit ones become 16-bit, equally bright.

    Returns:
      (n, size, size, channels), uint8 if all are, else uint16.
    """
    if len({image.dtype for image in images}) > 1:
        images = [as_sixteen_bit(image) for image in images]
    return np.stack(images)


def as_sixteen_bit(image: np.ndarray) -> np.ndarray:
    """Converts uint8 to uint16 of the same brightness; other types are unchanged."""
    if image.dtype == np.uint8:
        return image.astype(np.uint16) * _EIGHT_TO_SIXTEEN
    return image


def _from_pillow(
    image: Image.Image, size: int, channels: int, white: int, fit: str
) -> np.ndarray:
    if image.mode in _DEEP_MODES:
        values = _scaled(np.asarray(image), white)[..., None]
        return _finish_deep(values, size, channels, fit)
    return _finish(image, size, channels, fit)


def _bytes(path: str | pathlib.Path) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _unreadable(path: str, error: Exception) -> UnreadableImage:
    return UnreadableImage(path, decoding.reason(error))


def _without_alpha_channel(values: np.ndarray) -> np.ndarray:
    """1 or 3 of 1 to 4 channels."""
    return values[..., : 3 if values.shape[2] > 2 else 1]


def _without_alpha(image: Image.Image, mode: str) -> Image.Image:
    if "transparency" in image.info:
        # Converting a palette whose entries have alpha values would warn.
        image = image.copy()
        del image.info["transparency"]
    return image.convert(mode)


def _scaled(stored: np.ndarray, white: int) -> np.ndarray:
    """The values of an image of more than 8 bit as float32 in [0, 65535]."""
    values = stored.astype(np.float32)
    is_float = stored.dtype.kind == "f"
    # Float files have no standard white level; [0, 1] is the common range.
    white = 1 if is_float else white
    if not (values.min() >= 0 and values.max() <= white):
        setting = "" if is_float else ", see --config.data.white"
        raise ValueError(
            f"values from {values.min():g} to {values.max():g}, outside [0, {white}]"
            f"{setting}"
        )
    return values * (WHITE / white)


def _finish(image: Image.Image, size: int, channels: int, fit: str) -> np.ndarray:
    image = _without_alpha(image, "L" if channels == 1 else "RGB")
    array = np.asarray(fitting.fit(image, size, Image.Resampling.BILINEAR, fit))
    return array.reshape(size, size, channels)


def _finish_deep(values: np.ndarray, size: int, channels: int, fit: str) -> np.ndarray:
    """`_finish` in float, for (height, width, 1 or 3) float32 in [0, 65535]."""
    if values.shape[2] > channels:
        values = (values @ _LUMINANCE)[..., None]
    planes = [
        np.asarray(
            fitting.fit(Image.fromarray(plane), size, Image.Resampling.BILINEAR, fit)
        )
        for plane in np.ascontiguousarray(np.moveaxis(values, 2, 0))
    ]
    array = np.rint(np.stack(planes, axis=2)).clip(0, WHITE).astype(np.uint16)
    return np.broadcast_to(array, (size, size, channels)).copy()
