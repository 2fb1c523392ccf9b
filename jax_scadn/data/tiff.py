"""TIFF files: refuses what Pillow decodes wrong, and reads itself what is simple.

Pillow looks a file up by some of its tags and takes the rest for granted. Here all tags
that change what a sample means are looked at, and the strips are counted.
"""

from __future__ import annotations

import io
import re
import zlib
from typing import NamedTuple

import numpy as np
from PIL import TiffImagePlugin

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
ORIENTATION, SAMPLES, ROWS, PLANES, PREDICTOR = 274, 277, 278, 284, 317
_SUBFILE, _FILL_ORDER, _EXTRA, _FORMAT = 254, 266, 338, 339
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325
_TILE_WIDTH, _TILE_HEIGHT, _INK_SET, _XMP = 322, 323, 332, 700
TURNED = (5, 6, 7, 8)  # orientations where rows become columns
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = 0, 1, 2, 3
_BASE = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}  # samples without the extra ones
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_KINDS = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "float"}
_NONE, _PACKBITS, _DEFLATE = 1, 32773, (8, 32946)
_DECOMPRESSED = (_NONE, _PACKBITS, *_DEFLATE)  # here
_REDUCED, _MASK = 1, 4  # kinds of pages
NOT_READ = "a kind that is not read: save it as grey or RGB of 8 or 16 bit"
_PREMULTIPLIED = 1  # kind of alpha
_MOST_SAMPLES = 64
_LARGEST_TILE = 1 << 24  # pixels, where it is larger than the image
_LZW, _CCITT = 5, (2, 3, 4)
_BITS_IN_ANY_ORDER = (*_DECOMPRESSED, _LZW, *_CCITT)  # by Pillow, up to 8 bit
# Bits of what is decoded here, by the format of the samples.
_DECODED = {
    _UNSIGNED: (10, 12, 14, 16, 32),
    _SIGNED: (16, 32),
    _FLOAT: (16, 32, 64),
}


class Deep(NamedTuple):
    """Values of more than 8 bit.

    Attributes:
      values: (height, width, channels), upright, as stored but for white-is-zero;
        1 grey or 3 RGB, and perhaps 1 of alpha.
      white: the value of white; None for 16 bits and more, where files do not tell it.
    """

    values: np.ndarray
    white: int | None


def is_tiff(start: bytes) -> bool:
    """Whether the first 4 bytes of a file are those of a TIFF."""
    return start[:4] in TiffImagePlugin.PREFIXES


def dimensions(file: io.BufferedIOBase) -> tuple[int, int]:
    """Width and height in pixels of the upright picture."""
    tags = _tags(file)
    size = int(tags[WIDTH]), int(tags[HEIGHT])
    return size[::-1] if _orientation(tags) in TURNED else size


def pages(file: io.BufferedIOBase) -> int:
    """How many pictures there are, without previews and masks of transparency."""
    count, seen = 0, set()
    tags = _tags(file)
    while True:
        count += not tags.get(_SUBFILE, 0) & (_REDUCED | _MASK)
        if not tags.next or tags.next in seen:
            return max(1, count)
        seen.add(tags.next)
        file.seek(tags.next)
        tags.load(file)


def read(data: bytes) -> Deep | None:
    """Checks a TIFF, and decodes what Pillow does not decode right.

    Returns:
      The values, or None where Pillow decodes them.

    Raises:
      ValueError: the file is damaged, or of a kind that nothing here reads right; the
        message says which.
    """
    tags = _tags(io.BytesIO(data))
    try:
        layout = _Layout(tags, data)
        layout.check()
        return None if layout.of_pillow() else layout.decode()
    except (KeyError, TypeError, IndexError) as error:
        raise _damaged(error) from None


def _tags(file: io.BufferedIOBase) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags of the first page; at least its size is there."""
    try:
        header = file.read(8)
        if header[2] == 43:  # BigTIFF has offsets of 8 bytes
            header += file.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        if int(tags[WIDTH]) < 1 or int(tags[HEIGHT]) < 1:
            raise ValueError("no pixels")
    except Exception as error:  # of nearly any kind, as Pillow does
        raise _damaged(error) from None
    return tags


def _damaged(error: Exception) -> ValueError:
    why = f"no tag {error}" if isinstance(error, KeyError) else error
    return ValueError(f"the TIFF is truncated or its tags are damaged: {why}")


def _orientation(tags) -> int:
    """As Pillow finds it: in the XMP data if there is no tag."""
    if ORIENTATION in tags or not isinstance(tags.get(_XMP), bytes):
        return tags.get(ORIENTATION, 1)
    found = re.search(rb'tiff:Orientation(?:="|>)([0-9])', tags[_XMP])
    return int(found[1]) if found else 1


def _many(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)


class _Layout:
    """What the tags of a file's first page say about its samples."""

    def __init__(self, tags, data: bytes):
        self.data = data
        self.order = "<" if tags.prefix == b"II" else ">"
        self.width, self.height = int(tags[WIDTH]), int(tags[HEIGHT])
        self.samples = tags.get(SAMPLES, 1)
        self.bits = sorted(set(_many(tags.get(BITS, 1))))
        self.formats = sorted(set(_many(tags.get(_FORMAT, _UNSIGNED))))
        self.photometric = tags.get(PHOTOMETRIC, _WHITE_IS_ZERO)
        self.compression = tags.get(COMPRESSION, _NONE)
        self.one_plane = tags.get(PLANES, 1) == 2 and self.samples == 1
        self.planar = tags.get(PLANES, 1) == 2 and self.samples > 1
        self.predictor = tags.get(PREDICTOR, 1)
        self.fill_order = tags.get(_FILL_ORDER, 1)
        self.extra = _many(tags.get(_EXTRA, ()))
        self.inks = tags.get(_INK_SET, 1)
        self.preview = bool(tags.get(_SUBFILE, 0) & _REDUCED)
        self.orientation = _orientation(tags)
        if _TILES in tags:
            self.box = tags[_TILE_WIDTH], tags[_TILE_HEIGHT]
            self.parts = _many(tags[_TILES]), _many(tags.get(_TILE_BYTES, ()))
        else:
            rows = min(tags.get(ROWS, self.height), self.height)
            self.box = self.width, rows
            self.parts = _many(tags[_STRIPS]), _many(tags.get(_STRIP_BYTES, ()))
        self.tiled = _TILES in tags
        largest = max(self.width * self.height, _LARGEST_TILE)
        if self.samples > _MOST_SAMPLES or self.box[0] * self.box[1] > largest:
            raise ValueError("the TIFF has tags that cannot be right")
        if min(self.samples, *self.box) < 1:
            raise ValueError("the TIFF has no samples or empty strips")

    def check(self) -> None:
        """Raises ValueError unless all parts are there and samples are of one kind."""
        across = -(-self.width // self.box[0])
        down = -(-self.height // self.box[1])
        wanted = across * down * (self.samples if self.planar else 1)
        offsets, sizes = self.parts
        if len(offsets) < wanted:
            raise ValueError(f"the TIFF has {len(offsets)} of its {wanted} strips")
        # Old writers leave the sizes out where there is one strip, not compressed.
        if len(sizes) < wanted and (wanted > 1 or self.compression != _NONE):
            raise ValueError(
                f"the TIFF tells {len(sizes)} of its {wanted} strips' size"
            )
        for offset, size in zip(offsets[:wanted], sizes[:wanted], strict=False):
            if not size or offset + size > len(self.data):
                raise ValueError("the TIFF lacks strips, or ends within one")
        if self.preview:
            raise ValueError("the first page of this TIFF is a preview")
        if len(self.bits) > 1 or len(self.formats) > 1:
            raise self._unknown("samples of several kinds")
        if self.photometric not in _BASE:
            raise self._unknown(f"photometric interpretation {self.photometric}")
        if self.inks != 1 and self.photometric == 5:
            raise self._unknown(f"ink set {self.inks}")
        if self.compression == _NONE and sizes:
            least = -(-self.width * self.bits[0] * self.samples // 8) * self.height
            if self.photometric != 6 and sum(sizes[:wanted]) < least:
                raise ValueError("the TIFF's strips are too short for its pixels")

    def of_pillow(self) -> bool:
        """Whether Pillow decodes this right; tests/data/tiff_test.py tries it.

        Raises:
          ValueError: neither it nor `decode` does.
        """
        base, bits = _BASE[self.photometric], self.bits[0]
        without_kind = not self.extra and (base, self.samples) == (3, 4)
        if self.samples != base + len(self.extra) and not without_kind:
            raise self._unknown(f"{self.samples} samples a pixel")
        if self.formats != [_UNSIGNED] or bits > 8:
            self._check_deep()
            return self.compression not in _DECOMPRESSED
        if bits not in (1, 2, 4, 8) or (bits < 8 and self.samples > 1):
            raise self._unknown()
        if self.fill_order != 1 and self.compression not in _BITS_IN_ANY_ORDER:
            raise self._unknown("its bits in reversed order")
        if self.planar and (self.photometric != _RGB or self.samples > 3):
            raise self._unknown()
        one_plane = self.one_plane and self.compression == _NONE
        if one_plane and (bits < 8 or self.photometric != _BLACK_IS_ZERO):
            # Pillow takes the first letter of the name of a kind of samples for it.
            raise self._unknown("in planes")
        return True

    def _check_deep(self) -> None:
        bits, kind = self.bits[0], self.formats[0]
        inverted = self.photometric == _WHITE_IS_ZERO
        if bits not in _DECODED.get(kind, ()):
            raise self._unknown()
        if self.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
            raise self._unknown(f"photometric interpretation {self.photometric}")
        if _PREMULTIPLIED in self.extra:
            raise self._unknown("colours multiplied by alpha")
        if self.fill_order != 1:
            raise self._unknown("its bits in reversed order")
        if inverted and (kind != _UNSIGNED or bits > 16):
            raise self._unknown("white as zero")
        if self.compression not in _DECOMPRESSED:
            # Pillow mistakes the byte order of what libtiff gives it, but for these.
            grey = self.photometric == _BLACK_IS_ZERO and self.samples == 1
            colours = self.photometric == _RGB and not self.planar
            if (kind, bits) == (_UNSIGNED, 16) and (grey or colours):
                return
            if bits < 16 or bits > 32 or self.order != "<" or not grey:
                raise self._unknown(self._compression())

    def decode(self) -> Deep:
        """The values; only where `of_pillow` is False."""
        bits = self.bits[0]
        values = self._values()
        if self.photometric == _WHITE_IS_ZERO:
            values[..., 0] = (2**bits - 1) - values[..., 0]
        white = 2**bits - 1 if bits < 16 else None
        channels = _BASE[self.photometric] + (len(self.extra) > 0)
        return Deep(_upright(values[..., :channels], self.orientation), white)

    def _values(self) -> np.ndarray:
        """(height, width, samples) of the file's type."""
        depth = 1 if self.planar else self.samples
        width, height = self.box
        planes = []
        parts = iter(zip(*self._parts(), strict=True))
        for _ in range(self.samples if self.planar else 1):
            plane = np.empty((self.height, self.width, depth), self._type())
            for top in range(0, self.height, height):
                rows = height if self.tiled else min(height, self.height - top)
                for left in range(0, self.width, width):
                    part = self._part(*next(parts), (rows, width, depth))
                    place = plane[top : top + height, left : left + width]
                    place[:] = part[: place.shape[0], : place.shape[1]]
            planes.append(plane)
        return np.concatenate(planes, axis=2)

    def _parts(self) -> tuple[tuple, tuple]:
        offsets, sizes = self.parts
        return offsets, sizes or (len(self.data) - offsets[0],)

    def _type(self) -> np.dtype:
        bits = 16 if self.bits[0] < 16 else self.bits[0]
        letter = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f"}[self.formats[0]]
        return np.dtype(f"{letter}{bits // 8}")

    def _part(self, offset: int, size: int, shape: tuple[int, int, int]) -> np.ndarray:
        """A strip or a tile."""
        rows, width, depth = shape
        bits = self.bits[0]
        row_bytes = -(-width * depth * bits // 8)
        data = _decompressed(
            self.data[offset : offset + size], self.compression, row_bytes * rows
        )
        if data is None:
            raise self._unknown(self._compression())
        if len(data) < row_bytes * rows:
            raise ValueError("a strip of the TIFF is damaged or too short")
        table = np.frombuffer(data, np.uint8, row_bytes * rows).reshape(rows, row_bytes)
        predictor = 1 if self.compression == _NONE else self.predictor
        if predictor == 3 and self.formats[0] == _FLOAT:
            # The bytes of a row: all most significant ones first, as differences.
            table = table.reshape(rows, -1, depth).cumsum(axis=1, dtype=np.uint8)
            table = table.reshape(rows, bits // 8, width * depth).swapaxes(1, 2)
            return table.copy().view(self._type().newbyteorder(">")).reshape(shape)
        if bits < 16:
            if predictor != 1:
                raise self._unknown(f"predictor {predictor}")
            return _unpacked(table, bits, width * depth).reshape(shape)
        stored = self._type().newbyteorder(self.order)
        values = table.view(stored).reshape(shape).astype(self._type())
        if predictor == 2 and self.formats[0] != _FLOAT:
            return values.cumsum(axis=1, dtype=values.dtype)
        if predictor != 1:
            raise self._unknown(f"predictor {predictor}")
        return values

    def _compression(self) -> str:
        names = TiffImagePlugin.COMPRESSION_INFO
        return f"compression {names.get(self.compression, self.compression)}"

    def _unknown(self, what: str = "") -> ValueError:
        kinds = "/".join(_KINDS.get(kind, "unknown") for kind in self.formats)
        bits = "/".join(map(str, self.bits))
        planes = "in planes" if self.planar else ""
        details = ", ".join(text for text in (planes, what) if text)
        return ValueError(
            f"a TIFF of {self.samples} x {bits} bit {kinds}"
            f"{f' ({details})' if details else ''} is of {NOT_READ}"
        )


def _decompressed(data: bytes, compression: int, size: int) -> bytes | None:
    """At least the first `size` bytes of a strip, if they are there; None: unknown."""
    if compression == _NONE:
        return data
    if compression in _DEFLATE:
        return _inflated(data, size)
    if compression == _PACKBITS:
        return _unpack_bits(data, size)
    return None


def _inflated(data: bytes, size: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, size)
        more = stream.decompress(stream.unconsumed_tail, 1)  # checks the checksum
    except zlib.error as error:
        raise ValueError(f"a strip of the TIFF is damaged: {error}") from None
    if not (more or stream.eof):
        raise ValueError("a strip of the TIFF is cut off")
    return text


def _unpack_bits(data: bytes, size: int) -> bytes:
    parts, position, length = [], 0, 0
    while position + 1 < len(data) and length < size:
        count = data[position]
        if count < 128:
            part = data[position + 1 : position + 2 + count]
            position += 2 + count
        else:
            part = data[position + 1 : position + 2] * (257 - count)
            # 128 means nothing.
            part, position = (
                (b"", position + 1) if count == 128 else (part, position + 2)
            )
        parts.append(part)
        length += len(part)
    return b"".join(parts)


def _unpacked(table: np.ndarray, bits: int, count: int) -> np.ndarray:
    """(rows, count) uint16 of (rows, bytes); each row starts with a new byte."""
    ones = np.unpackbits(table, axis=1)[:, : count * bits]
    ones = ones.reshape(len(table), count, bits)
    values = np.zeros(ones.shape[:2], np.uint16)
    for bit in range(bits):
        values = values << 1 | ones[..., bit]
    return values


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turns (height, width, c) as EXIF orientation says, like Pillow."""
    if orientation in TURNED:
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values
