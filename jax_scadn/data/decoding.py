"""Opens image files with Pillow, and refuses those that it would decode wrong.

A picture that is damaged, cut off, or of a kind that Pillow misreads is an error, never
a picture that looks a little different.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import pathlib
import warnings
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from jax_scadn.data import tiff

DEFAULT_MEGAPIXELS = 179
_EXIF_ORIENTATION = 0x0112
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_LAYERED = ("PSD",)  # what Pillow counts there are layers of one picture
# The other bytes of colours of 16 bit, of which Pillow keeps one each.
_OTHER_BYTES = {"16B": "16L", "16N": "16B"}
# Pillow goes on after these.
_DAMAGE = (
    ".*[Cc]orrupt EXIF",
    "Truncated File Read",
    "Tag data larger than file",
    "Tag offset too large",
    "Invalid APNG",
    "Image appears to be a malformed MPO file",
    "Image was not the expected size",
)

# The filters of `warnings` belong to all threads, so they cannot be set for one read.
for _message in _DAMAGE:
    warnings.filterwarnings("error", _message, UserWarning, r"PIL\.")
warnings.filterwarnings("ignore", "Metadata Warning", UserWarning, r"PIL\.")
# Pillow's limit is an error at the double of MAX_IMAGE_PIXELS, and a warning before.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, append=True)

# libtiff writes its errors to standard error, without the file's name; Pillow raises
# them as well.
with contextlib.suppress(OSError, AttributeError):
    _set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
    _set_handler.argtypes, _set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    _set_handler(None)


def allow(megapixels: int) -> None:
    """Sets how many megapixels an image may have; for all threads.

    Pillow refuses larger ones, whose files may be small and fill the memory.
    """
    Image.MAX_IMAGE_PIXELS = megapixels * 1_000_000 // 2


def decode(data: bytes) -> Image.Image | tiff.Deep:
    """Decodes the first picture in the bytes of a file, upright.

    Returns:
      `Deep` for RGB of 16 bit and for TIFFs that Pillow does not read right.

    Raises:
      Exception: of nearly any kind, as Pillow does, at what is damaged or not known.
    """
    if not data:
        raise ValueError("the file is empty")
    _check_end(data)
    if tiff.is_tiff(data):
        width, height = tiff.dimensions(io.BytesIO(data))
        _check_size(width * height)
        if deep := tiff.read(data):
            return deep
    image = _opened(io.BytesIO(data))
    rawmode = _rawmode(image)
    if rawmode.startswith(("RGB", "LA")) and ";16" in rawmode:
        return tiff.Deep(_sixteen_bit_colours(data, image, rawmode), None)
    image.load()
    return ImageOps.exif_transpose(image)


def dimensions(path: str | pathlib.Path) -> tuple[int, int]:
    """Width and height in pixels of the upright picture, from the file's header."""
    with pathlib.Path(path).open("rb") as file:
        if _is_tiff(file):
            return tiff.dimensions(file)
        with _opened(file) as image:
            transposed = image.getexif().get(_EXIF_ORIENTATION) in tiff.TURNED
            return image.size[::-1] if transposed else image.size


def pages(path: str | pathlib.Path) -> int:
    """How many pages or frames a file has, from its headers."""
    with pathlib.Path(path).open("rb") as file:
        if _is_tiff(file):
            return tiff.pages(file)
        with _opened(file) as image:
            return 1 if image.format in _LAYERED else getattr(image, "n_frames", 1)


def reason(error: Exception) -> str:
    """One line that says why a file could not be decoded."""
    if isinstance(error, Image.DecompressionBombError):
        limit = Image.MAX_IMAGE_PIXELS * 2 / 1e6
        return (
            f"it has more than {limit:g} megapixels: raise "
            "--config.data.max_megapixels if that is meant"
        )
    if isinstance(error, OSError) and str(error).startswith("decoder error"):
        return f"damaged pixels ({error})"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def _check_size(pixels: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > 2 * limit:
        raise Image.DecompressionBombError


def _is_tiff(file: BinaryIO) -> bool:
    """Looks at the beginning of a file, and goes back to it."""
    start = file.read(4)
    file.seek(0)
    return tiff.is_tiff(start)


def _opened(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file)
    except Image.UnidentifiedImageError:
        # Pillow's own message names the buffer in memory.
        file.seek(0)
        if _is_tiff(file):
            raise ValueError(f"a TIFF of {tiff.NOT_READ}") from None
        raise ValueError("not an image format known to Pillow") from None


def _check_end(data: bytes) -> None:
    """Raises ValueError where a file is cut or changed and Pillow would not say so."""
    if data.startswith(_PNG):
        _check_png(data)
    elif data.startswith(_JPEG) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        # Neither marker occurs within the compressed pixels.
        raise ValueError("the JPEG file is truncated: its end is missing")


def _check_png(data: bytes) -> None:
    view, position = memoryview(data), len(_PNG)
    while position + 12 <= len(data):
        length = int.from_bytes(view[position : position + 4], "big")
        kind = bytes(view[position + 4 : position + 8])
        end = position + 8 + length
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(
            view[end : end + 4], "big"
        ):
            raise ValueError("the PNG file is truncated or damaged: a wrong checksum")
        if kind == b"IEND":
            return
        position = end + 4
    raise ValueError("the PNG file is truncated: its end is missing")


def _rawmode(image: Image.Image) -> str:
    """How Pillow will unpack the pixels of an image; '' if unknown."""
    if image.format not in ("PNG", "TIFF") or not image.tile:
        return ""
    arguments = image.tile[0][3]
    rawmode = arguments[0] if isinstance(arguments, tuple) else arguments
    return rawmode if isinstance(rawmode, str) else ""


def _sixteen_bit_colours(data: bytes, image: Image.Image, rawmode: str) -> np.ndarray:
    """(height, width, channels) uint16; Pillow would keep the high bytes only."""
    if rawmode.startswith("LA"):
        # Four bytes a pixel, taken as four channels.
        _set_rawmode(image, "RGBA")
        planes = np.asarray(_loaded(image)).astype(np.uint16)
        return planes[..., 0::2] << 8 | planes[..., 1::2]
    low = _opened(io.BytesIO(data))
    kept, order = rawmode.split(";")
    _set_rawmode(low, f"{kept};{_OTHER_BYTES[order]}")
    high, low = np.asarray(_loaded(image)), np.asarray(_loaded(low))
    return high.astype(np.uint16) << 8 | low


def _set_rawmode(image: Image.Image, rawmode: str) -> None:
    (tile,) = image.tile
    others = tile[3][1:] if isinstance(tile[3], tuple) else None
    arguments = rawmode if others is None else (rawmode, *others)
    image.tile = [tile._replace(args=arguments)]


def _loaded(image: Image.Image) -> Image.Image:
    # Pillow makes transparent what has this colour, in 8 bits; alpha is dropped anyway.
    image.info.pop("transparency", None)
    image.load()
    image.info.pop("transparency", None)
    return ImageOps.exif_transpose(image)
