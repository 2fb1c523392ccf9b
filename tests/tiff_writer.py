"""Writes small TIFFs of any kind, which Pillow does not write."""

import struct
import zlib

import numpy as np

COMPRESSIONS = {"none": 1, "lzw": 5, "deflate": 8, "packbits": 32773}
FORMATS = {"u": 1, "i": 2, "f": 3}


def write(
    values,
    bits,
    kind="u",
    order="<",
    planar=False,
    compression="none",
    predictor=1,
    photometric=1,
    extra=(),
    rows=5,
    tile=None,
    palette=None,
    fill_order=1,
    tags=(),
):
    """The bytes of a TIFF.

    Args:
      values: (height, width, samples), as they are to be stored.
      bits: of a sample.
      kind: 'u', 'i' or 'f', of `FORMATS`.
      order: '<' or '>'.
      planar: whether each channel is stored by itself.
      compression: of `COMPRESSIONS`.
      predictor: 1, 2 (differences of integers), 3 (of the bytes of floats).
      photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette.
      extra: kinds of the samples beyond the colours.
      rows: of a strip.
      tile: (width, height), multiples of 16; None: strips.
      palette: (2^bits, 3) of 16 bit.
      fill_order: 2: the bits of each byte are reversed.
      tags: (number, values of 16 bit) of further ones.
    """
    height, width, samples = values.shape
    planes = np.split(values, samples, axis=2) if planar else [values]
    if tile:
        across, down = -width % tile[0], -height % tile[1]
        planes = [np.pad(p, ((0, down), (0, across), (0, 0))) for p in planes]
    step = tile or (width, rows)
    parts = [
        plane[y : y + step[1], x : x + step[0]]
        for plane in planes
        for y in range(0, height, step[1])
        for x in range(0, width, step[0])
    ]
    strips = [
        _compressed(_strip(part, bits, kind, order, predictor), compression)
        for part in parts
    ]
    if fill_order == 2:
        reversed_bits = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
        strips = [strip.translate(reversed_bits) for strip in strips]
    body, offsets = b"", []
    for strip in strips:
        offsets.append(8 + len(body))
        body += strip + b"\0" * (len(strip) % 2)
    short, long = "H", "I"
    entries = {
        256: (short, [width]),
        257: (short, [height]),
        258: (short, [bits] * samples),
        259: (short, [COMPRESSIONS[compression]]),
        262: (short, [photometric]),
        273: (long, offsets),
        277: (short, [samples]),
        278: (short, [rows]),
        279: (long, [len(strip) for strip in strips]),
        284: (short, [2 if planar else 1]),
        317: (short, [predictor]),
        339: (short, [FORMATS[kind]] * samples),
    }
    if fill_order == 2:
        entries[266] = (short, [2])
    if tile:
        del entries[278]
        entries[322], entries[323] = (short, [tile[0]]), (short, [tile[1]])
        entries[324], entries[325] = entries.pop(273), entries.pop(279)
    if extra:
        entries[338] = (short, list(extra))
    if palette is not None:
        entries[320] = (short, palette.T.ravel().tolist())
    entries.update({number: (short, list(numbers)) for number, numbers in tags})
    return _assembled(body, entries, order)


def _assembled(body, entries, order):
    start = 8 + len(body)
    later = start + 2 + 12 * len(entries) + 4
    table, outside = struct.pack(order + "H", len(entries)), b""
    for number, (letter, numbers) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(packed) > 4:
            pointer = struct.pack(order + "I", later + len(outside))
            outside += packed + b"\0" * (len(packed) % 2)
        else:
            pointer = packed.ljust(4, b"\0")
        kind = 3 if letter == "H" else 4
        table += struct.pack(order + "HHI", number, kind, len(numbers)) + pointer
    magic = b"II*\0" if order == "<" else b"MM\0*"
    header = magic + struct.pack(order + "I", start)
    return header + body + table + b"\0" * 4 + outside


def _strip(values, bits, kind, order, predictor):
    rows, width, samples = values.shape
    if bits not in (8, 16, 32, 64):
        ones = values.astype(np.int64)[..., None] >> np.arange(bits)[::-1] & 1
        rows_of_ones = ones.reshape(rows, -1).astype(np.uint8)
        return np.packbits(rows_of_ones, axis=1).tobytes()
    values = values.astype(f"{kind}{bits // 8}")
    if predictor == 2:
        values = values.copy()
        values[:, 1:] -= values[:, :-1].copy()
    if predictor == 3:
        octets = values.astype(values.dtype.newbyteorder(">")).view(np.uint8)
        octets = octets.reshape(rows, width * samples, bits // 8).swapaxes(1, 2)
        octets = octets.reshape(rows, -1, samples).copy()
        octets[:, 1:] -= octets[:, :-1].copy()
        return octets.tobytes()
    return values.astype(values.dtype.newbyteorder(order)).tobytes()


def _compressed(data, compression):
    if compression == "deflate":
        return zlib.compress(data)
    if compression == "packbits":
        # A run where four bytes are equal, so that both kinds occur.
        parts = []
        for part in (data[i : i + 4] for i in range(0, len(data), 4)):
            equal = len(part) == 4 and len(set(part)) == 1
            parts.append(
                bytes([253, part[0]]) if equal else bytes([len(part) - 1]) + part
            )
        return b"\x80".join(parts)  # 128 means nothing
    if compression == "lzw":
        return _lzw(data)
    return data


def _lzw(data):
    """Without a dictionary: cleared so often that all codes have 9 bit."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    ones = np.array([*codes, 257])[:, None] >> np.arange(9)[::-1] & 1
    return np.packbits(ones.astype(np.uint8)).tobytes()
