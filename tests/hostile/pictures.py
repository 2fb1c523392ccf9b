"""Image files of many formats, whole and damaged, as bytes."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

# (ending, format of Pillow, options, modes that it takes)
FORMATS = (
    ("png", "PNG", {}, ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    ("jpg", "JPEG", {}, ("L", "RGB", "CMYK")),
    ("bmp", "BMP", {}, ("1", "L", "P", "RGB", "RGBA")),
    ("gif", "GIF", {}, ("L", "P")),
    ("webp", "WEBP", {}, ("RGB", "RGBA")),
    ("jp2", "JPEG2000", {}, ("L", "RGB")),
    ("ppm", "PPM", {}, ("1", "L", "RGB", "I;16")),
    ("tga", "TGA", {}, ("L", "P", "RGB")),
    ("tif", "TIFF", {}, ("1", "L", "P", "RGB", "RGBA", "I;16", "F", "I")),
    ("tif", "TIFF", {"compression": "tiff_lzw"}, ("L", "RGB", "I;16")),
    ("tif", "TIFF", {"compression": "tiff_adobe_deflate"}, ("L", "RGB", "I;16")),
    ("tif", "TIFF", {"compression": "jpeg"}, ("L", "RGB")),
)
SIZE = (48, 40)  # width and height


def picture(rng, mode):
    """A smooth image with noise, in a mode of Pillow."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    values = 128 + 80 * np.sin(x / 5) * np.sin(y / 7) + rng.normal(0, 8, x.shape)
    values = values.clip(0, 255).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(values.astype(np.uint16) * 257)
    if mode in ("I", "F"):
        scaled = values.astype(np.float32) / 255
        return Image.fromarray(
            scaled if mode == "F" else (scaled * 60000).astype(np.int32)
        )
    return Image.fromarray(np.stack([values] * 3, axis=-1)).convert(mode)


def whole(rng):
    """An ending, and the bytes of an image file of some format and mode."""
    ending, name, options, modes = FORMATS[rng.integers(len(FORMATS))]
    file = io.BytesIO()
    picture(rng, modes[rng.integers(len(modes))]).save(file, name, **options)
    return ending, file.getvalue()


def cut(rng, data):
    return data[: rng.integers(len(data))]


def changed(rng, data):
    array = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(len(array), size=rng.integers(1, 33))
    array[places] = rng.integers(256, size=len(places))
    return array.tobytes()


def zeroed(rng, data):
    start, end = np.sort(rng.integers(len(data) + 1, size=2))
    return data[:start] + bytes(end - start) + data[end:]


def appended(rng, data):
    return data + rng.bytes(int(rng.integers(1, 2000)))


def another_beginning(rng, data):
    return rng.bytes(int(rng.integers(1, 64))) + data


def lying_size(rng, data):
    """The same data under a header that promises another size."""
    sides = [int(rng.choice([0, 1, 7, 4000, 70000, 2**31 - 1])) for _ in range(2)]
    if data[:4] == b"\x89PNG":
        header = b"IHDR" + struct.pack(">II", *sides) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    if data[:2] == b"BM":
        return data[:18] + struct.pack("<ii", *sides) + data[26:]
    if data[:3] == b"GIF":
        return data[:6] + struct.pack("<HH", *(s % 65536 for s in sides)) + data[10:]
    if data[:2] == b"II":
        return _tiff(data, sides)
    return changed(rng, data[:64]) + data[64:]


def _tiff(data, sides):
    """Replaces width and height in the first directory of a little-endian TIFF."""
    array = bytearray(data)
    (first,) = struct.unpack_from("<I", array, 4)
    (count,) = struct.unpack_from("<H", array, first)
    for entry in range(first + 2, first + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", array, entry)
        if tag in (256, 257):
            struct.pack_into("<HHII", array, entry, tag, 4, 1, sides[tag - 256])
    return bytes(array)


DAMAGES = (cut, changed, zeroed, appended, another_beginning, lying_size)


def some(rng):
    """An ending and bytes: one file in four is whole, one in twelve has another's."""
    ending, data = whole(rng)
    if rng.random() < 0.75:
        data = DAMAGES[rng.integers(len(DAMAGES))](rng, data)
    if rng.random() < 1 / 12:
        ending = FORMATS[rng.integers(len(FORMATS))][0]
    return ending, data
